"""The Frechet distance between two sets of features, each taken as a Gaussian.

    d^2 = ||mu_a - mu_b||^2 + Tr(S_a + S_b - 2 (S_a S_b)^(1/2))

Dowson and Landau 1982, and as a measure of images Heusel et al. 2017. With S_b = F F^T, the matrix S_a S_b
has the same non-zero eigenvalues as the symmetric F^T S_a F, so the last trace is the sum of their square
roots: no square root of an unsymmetric matrix, and F is computed once for all models. F has one column per
direction in which the real features vary, so few real images cost neither time nor accuracy.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

__all__ = ["Statistics", "frechet_distance", "root", "statistics"]

CHUNK = 4096  # features centred at a time, so that the copy in float64 stays small


@dataclass(frozen=True, eq=False)
class Statistics:
    """Mean (d,) and covariance (d, d) of `count` features, in float64 on the CPU."""

    mean: Tensor
    covariance: Tensor
    count: int

    def arrays(self) -> dict[str, np.ndarray]:
        """What `numpy.savez` stores; `Statistics.restore` reads it back."""
        return {
            "mean": self.mean.numpy(),
            "covariance": self.covariance.numpy(),
            "count": np.array(self.count),
        }

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray]) -> "Statistics":
        return cls(
            torch.from_numpy(arrays["mean"]), torch.from_numpy(arrays["covariance"]), int(arrays["count"])
        )


def statistics(features: Tensor) -> Statistics:
    """Mean and covariance (with N - 1, as numpy.cov) of features (N, d), N >= 2, in two passes.

    Raises:
        ValueError: for fewer than two features.
    """
    if len(features) < 2:
        raise ValueError(f"a covariance needs two or more features, not {len(features)}")
    features = features.cpu()
    mean = features.mean(0, dtype=torch.float64)
    covariance = torch.zeros(len(mean), len(mean), dtype=torch.float64)
    for chunk in features.split(CHUNK):
        centred = chunk.double() - mean
        covariance.addmm_(centred.T, centred)
    return Statistics(mean, covariance / (len(features) - 1), len(features))


def root(covariance: Tensor) -> Tensor:
    """F (d, r) with F F^T = covariance (d, d) of rank r: eigenvectors times the roots of their eigenvalues.

    Eigenvalues within rounding of zero (d times the machine epsilon, relative to the largest) are left out.
    """
    values, vectors = torch.linalg.eigh(covariance)
    kept = values > values[-1] * len(values) * torch.finfo(values.dtype).eps
    return vectors[:, kept] * values[kept].sqrt()


def frechet_distance(generated: Statistics, real: Statistics, real_root: Tensor | None = None) -> float:
    """The squared distance d^2 above, which is what "FID" names: >= 0, in squared units of the features.

    Args:
        generated: statistics of one set; NaN is returned where they are not finite.
        real: statistics of the other.
        real_root: `root(real.covariance)`, where it is at hand.
    """
    if not all(x.isfinite().all() for x in (generated.mean, generated.covariance)):
        return math.nan
    factor = root(real.covariance) if real_root is None else real_root
    eigenvalues = torch.linalg.eigvalsh(factor.T @ generated.covariance @ factor)
    # Tr (S_a S_b)^(1/2); rounding can leave eigenvalues just below zero
    overlap = eigenvalues.clamp_min(0).sqrt().sum()
    gap = (generated.mean - real.mean).square().sum()
    return max(0.0, float(gap + generated.covariance.trace() + real.covariance.trace() - 2 * overlap))
