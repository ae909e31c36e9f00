"""Precision, recall, density and coverage: fidelity and variety apart, which a Frechet distance mixes.

A ball stands around every feature x of a set, as wide as the distance r_k(x) to the k-th nearest of the
others. Of real features x_i and generated y_j, N and M of them:

    precision = 1/M #{j: y_j is in the ball of some x_i}
    recall    = 1/N #{i: x_i is in the ball of some y_j}
    density   = 1/(k M) sum_j #{i: y_j is in the ball of x_i}
    coverage  = 1/N #{i: some y_j is in the ball of x_i}

The first two are of Kynkäänniemi et al. 2019 ("Improved Precision and Recall Metric for Assessing Generative
Models", equations 1 and 2), the others of Naeem et al. 2020 ("Reliable Fidelity and Diversity Metrics for
Generative Models", section 3).

Two sets of one distribution have an expected density of 1, which is no upper bound, and for N = M an expected
coverage of about 1 - 2^-k. A ball holds its surface: texts repeat, and of k + 1 equal ones the
balls are points.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["NEIGHBOURS", "PRDC", "prdc"]

NEIGHBOURS = 5  # k, of Naeem et al.
BLOCK = 500  # rows of distances at a time


class PRDC(NamedTuple):
    """Shares in [0, 1], but for the density, which may exceed 1."""

    precision: float
    recall: float
    density: float
    coverage: float


def prdc(
    real: Tensor,
    generated: Tensor,
    k: int = NEIGHBOURS,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> PRDC:
    """Compare features by their balls.

    Args:
        real, generated: (N, d) and (M, d), both more than k.
        k: which neighbour a ball reaches to.
        progress: called after every block with (rows done, rows of all passes).

    Raises:
        ValueError: for too few features.
    """
    if min(len(real), len(generated)) <= k:
        raise ValueError(
            f"balls to the neighbour of rank {k} need more features, not {len(real)} and {len(generated)}"
        )
    total = 2 * len(real) + len(generated)
    real_radii = _radii(real, k, lambda done: progress(done, total))
    generated_radii = _radii(generated, k, lambda done: progress(len(real) + done, total))
    recalled, covered, inside = [], [], torch.zeros(len(generated), dtype=torch.int64, device=real.device)
    for start in range(0, len(real), BLOCK):
        distances = _distances(real[start : start + BLOCK], generated)  # (b, M)
        in_real = distances <= real_radii[start : start + BLOCK, None]
        inside += in_real.sum(0)
        covered.append(in_real.any(1))
        recalled.append((distances <= generated_radii).any(1))
        progress(len(real) + len(generated) + min(start + BLOCK, len(real)), total)
    share = [float(flags.double().mean()) for flags in (inside > 0, torch.cat(recalled), torch.cat(covered))]
    return PRDC(share[0], share[1], float(inside.double().mean()) / k, share[2])


def _radii(x: Tensor, k: int, progress: Callable[[int], object]) -> Tensor:
    """(N,): the distance of each row of x (N, d) to the k-th nearest of the others."""
    radii = []
    for start in range(0, len(x), BLOCK):
        # of the k + 1 nearest, one is the row itself
        radii.append(_distances(x[start : start + BLOCK], x).kthvalue(k + 1, dim=1).values)
        progress(min(start + BLOCK, len(x)))
    return torch.cat(radii)


def _distances(a: Tensor, b: Tensor) -> Tensor:
    """(A, B) Euclidean distances between the rows of a (A, d) and b (B, d).

    From differences, so that equal rows are at 0: by inner products they would be at the root of rounding.
    """
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")
