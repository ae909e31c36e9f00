"""A density of latents fitted after training, to draw from in place of the prior.

Ghosh, Sajjadi, Vergari, Black and Schoelkopf 2020, "From Variational to Deterministic Autoencoders", the
section on ex-post density estimation: a Gaussian mixture of ten components with full covariances, fitted to
the latents of train images.
"""

import warnings
from typing import NamedTuple

import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_limits
from torch import Tensor

__all__ = ["Mixture", "SamplerError", "draw", "fit_mixture"]

MAX_ITERATIONS = 1000


class SamplerError(Exception):
    """Latents to which no mixture can be fitted; the message is the reason."""


class Mixture(NamedTuple):
    """The density sum_k weights_k N(means_k, factors_k factors_k^T).

    Attributes:
        weights: (K,).
        means: (K, L).
        factors: (K, L, L), lower triangular. All are float64 on the CPU.
    """

    weights: Tensor
    means: Tensor
    factors: Tensor


def fit_mixture(latents: Tensor, components: int, seed: int) -> Mixture:
    """Fit by expectation-maximisation from one k-means start, with 1e-6 added to every variance.

    A function of its arguments on one machine, whatever the number of threads.

    Args:
        latents: (n, L).
        components: K.
        seed: of the start, of which the lowest 32 bits count.

    Raises:
        SamplerError: for latents that are not finite or too large to compute with, for fewer latents than
            components, and without convergence.
    """
    if not latents.isfinite().all():
        raise SamplerError("The latents of train images hold values that are not finite.")
    if len(latents) < components:
        raise SamplerError(
            f"There are {len(latents)} latents of train images, fewer than the {components} components of "
            "the mixture."
        )
    mixture = GaussianMixture(
        components, covariance_type="full", max_iter=MAX_ITERATIONS, random_state=seed % 2**32
    )
    # threads add up k-means in the order in which they come
    with warnings.catch_warnings(), threadpool_limits(1):
        # also of k-means, where latents repeat: what counts is asked below
        warnings.simplefilter("ignore", ConvergenceWarning)
        try:
            mixture.fit(latents.double().cpu().numpy())
        except ValueError:  # a covariance that is not positive definite in 64 bits
            raise SamplerError(
                "The mixture has no covariance that can be computed with: the latents are too large or too "
                "far apart."
            ) from None
    if not mixture.converged_:
        raise SamplerError(f"The mixture did not converge in {MAX_ITERATIONS:,} iterations.")
    weights, means, covariances = (
        torch.from_numpy(x) for x in (mixture.weights_, mixture.means_, mixture.covariances_)
    )
    return Mixture(weights, means, torch.linalg.cholesky(covariances))


def draw(mixture: Mixture, n: int, generator: torch.Generator) -> Tensor:
    """(n, L) float32 on the generator's device: draws from the mixture, all randomness from `generator`."""
    weights, means, factors = (x.to(generator.device, torch.float32) for x in mixture)
    which = torch.multinomial(weights, n, replacement=True, generator=generator)
    noise = torch.randn(n, means.shape[1], generator=generator, device=generator.device)
    # by component: (n, L, L) factors of every draw would be large
    by_component = torch.einsum("kij,nj->kni", factors, noise)
    return means[which] + by_component[which, torch.arange(n, device=which.device)]
