"""Log-likelihood of test tuples by importance sampling: how probable a model finds data that it has not seen, all modalities together.

    log p(x_1, .., x_M) = log E_q p(z) prod_m p(x_m given z) / q(z),    estimated as log 1/K sum_k w_k

Burda, Grosse and Salakhutdinov 2016 ("Importance Weighted Autoencoders", equation 8), as Wu and Goodman 2018 and Shi et al. 2019
evaluate theirs. The mean of the weights is unbiased, so its logarithm is a lower bound in expectation, which rises with K. Densities
of different likelihoods (of Laplace and Gaussian, or of two scales) are not comparable, nor are those of other values than [0, 1].
"""

import math

import torch
from torch import Tensor

from metrics.evaluation.one_pass import Pass
from metrics.images import as_float
from metrics.probe import probe_indices
from models.base import MultimodalModel, NotDefinedError

__all__ = ["SAMPLES", "TUPLES", "log_likelihood", "log_likelihoods"]

SAMPLES = 100  # K
TUPLES = 1_000  # random tuples of test items, at most
DECODED = 2_000  # latents at a time


def log_likelihoods(
    model: MultimodalModel, batch: dict[str, Tensor], samples: int, generator: torch.Generator
) -> Tensor:
    """(B,): the estimate for each of B items, in nats; NotDefinedError in a model without importance weights."""
    return torch.logsumexp(model.log_weights(batch, samples, generator).double(), 0) - math.log(samples)


def log_likelihood(run: Pass) -> None:
    """The mean over TUPLES random tuples, each the tuple of a test item of the first modality."""
    metric, columns = "log_likelihood", list(run.model.modalities)
    tuples = run.tuples[columns[0]]
    rows = tuples[probe_indices(len(tuples), TUPLES, run.protocol.evaluation_seed)]
    generator, found = run.generator(), []
    for part in rows.split(DECODED // SAMPLES):
        batch = {
            name: as_float(run.test[name][0][part[:, m]].to(run.device)) for m, name in enumerate(columns)
        }
        try:
            found.append(log_likelihoods(run.model, batch, SAMPLES, generator))
        except NotDefinedError as error:
            run.lack(metric, f"Not defined: {error}")
            return
        run.progress("log-likelihood", sum(map(len, found)), len(rows))
    value = float(torch.cat(found).mean())
    if math.isfinite(value):
        run.metrics[metric] = value
    else:
        run.lack(metric, "The densities of the model are not finite.")
