"""Log-likelihood by importance sampling: how probable a model finds data that it has not seen.

    log p(x_1, .., x_M) = log E_q p(z) prod_m p(x_m given z) / q(z),    estimated as log 1/K sum_k w_k

Burda, Grosse and Salakhutdinov 2016 ("Importance Weighted Autoencoders", equation 8), as Wu and Goodman 2018
and Shi et al. 2019 evaluate theirs. The mean of the weights is unbiased, so its logarithm is a lower bound in
expectation, which rises with K. Densities of different likelihoods (of Laplace and Gaussian, or of two
scales) are not comparable, nor are those of other values than [0, 1].
"""

import math

import torch
from torch import Tensor

__all__ = ["importance_weighted"]


def importance_weighted(log_weights: Tensor) -> Tensor:
    """(B,) float64: the estimate for each of B items, in nats, from log weights (K, B)."""
    return torch.logsumexp(log_weights.double(), 0) - math.log(len(log_weights))
