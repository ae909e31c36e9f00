"""Objectives of coordinated representations, as functions of codes.

Codes a, b (B, L) are of paired items: row i of both belongs together. Every result is a scalar. Nothing here
waits for the host or has a shape that depends on the data.
"""

from collections.abc import Callable, Mapping
from itertools import combinations

import torch
from torch import Tensor
from torch.nn import functional

from models.parts.contrast import info_nce, products

__all__ = [
    "contrastive",
    "correlation",
    "covariance",
    "over_pairs",
    "ranking",
    "reverse_gradient",
    "squared_distance",
    "unit",
]

POLAR_STEPS = 24


def over_pairs(codes: Mapping[str, Tensor], objective: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """The sum of an objective over all pairs of modalities: the published one where there are two."""
    return torch.stack([objective(a, b) for a, b in combinations(codes.values(), 2)]).sum()


def squared_distance(a: Tensor, b: Tensor) -> Tensor:
    """1/B sum_i |a_i - b_i|^2."""
    return (a - b).square().sum(-1).mean()


def contrastive(a: Tensor, b: Tensor, log_scale: Tensor) -> Tensor:
    """Symmetric InfoNCE (Radford et al. 2021, figure 3).

    -1/(2B) sum_i [log softmax_j(s_ij)_i + log softmax_j(s_ji)_i],  s_ij = exp(log_scale) a_i'b_j

    Args:
        a, b: of unit length.
        log_scale: a scalar, minus the logarithm of the temperature.
    """
    return info_nce(log_scale.exp() * products(a, b))


def ranking(a: Tensor, b: Tensor, margin: float, hardest: bool) -> Tensor:
    """Hinge loss of triplets, both ways: over all negatives of the batch, or the hardest one of each item.

    1/B sum_i sum_j [m - s_ii + s_ij]_+ + [m - s_ii + s_ji]_+ over j != i  (Kiros et al. 2014, equation 2);
    with `hardest` the largest of each sum in its place (Faghri et al. 2018, equation 6). s_ij = a_i'b_j.

    Args:
        a, b: of unit length.
        margin: m.
        hardest: take the hardest negative alone.
    """
    scores = products(a, b)
    own = scores.diagonal()
    itself = torch.eye(len(a), dtype=torch.bool, device=a.device)
    costs = [
        (margin - positive + scores).clamp_min(0).masked_fill(itself, 0.0)
        for positive in (own[:, None], own[None, :])
    ]
    if hardest:
        return (costs[0].amax(1) + costs[1].amax(0)).mean()
    return (costs[0].sum(1) + costs[1].sum(0)).mean()


def covariance(a: Tensor, b: Tensor) -> Tensor:
    """(L, L): the unbiased cross-covariance of two batches; zero of a batch of one."""
    return (a - a.mean(0)).T @ (b - b.mean(0)) / max(len(a) - 1, 1)


def correlation(a: Tensor, b: Tensor, ridge: float) -> Tensor:
    """The sum of all canonical correlations of a and b (Andrew et al. 2013, section 3).

    |T|_tr, the sum of the singular values of T = S_aa^(-1/2) S_ab S_bb^(-1/2), with S_aa and S_bb regularised
    by `ridge` I. T = L_a^(-1) S_ab L_b^(-T) has the same singular values, S = LL' being Cholesky factors. If
    T = U D V', then |T|_tr = tr((UV')'T), whose gradient in T is UV' again. UV' is the limit of X <- (3X -
    XX'X)/2 from X = T, of products of matrices alone: a singular value decomposition has no usable gradient
    where singular values coincide, and makes a GPU wait for the host. Correlations below 1e-4 are not yet at
    the limit after so many steps, and count too little.
    """
    # where a batch has fewer items than codes have dimensions, float32 is too coarse for a small ridge
    kind = a.dtype
    a, b = a.double(), b.double()
    with torch.autocast(a.device.type, enabled=False):
        eye = torch.eye(a.shape[1], dtype=a.dtype, device=a.device)
        half = [torch.linalg.cholesky_ex(covariance(x, x) + ridge * eye).L for x in (a, b)]
        left = torch.linalg.solve_triangular(half[0], covariance(a, b), upper=False)
        whitened = torch.linalg.solve_triangular(half[1], left.T, upper=False).T
        with torch.no_grad():
            polar = whitened
            for _ in range(POLAR_STEPS):
                polar = 1.5 * polar - 0.5 * polar @ (polar.T @ polar)
        return (polar * whitened).sum().to(kind)


class _Reverse(torch.autograd.Function):
    """The identity, whose gradient is reversed and scaled."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor, strength: Tensor) -> Tensor:
        ctx.strength = strength  # type: ignore[attr-defined]
        return x.view_as(x)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple[Tensor, None]:
        return -ctx.strength * gradient, None  # type: ignore[attr-defined]


def reverse_gradient(x: Tensor, strength: Tensor) -> Tensor:
    """x, whose gradient arrives times -strength, a scalar (Ganin and Lempitsky 2015, section 3.1)."""
    return _Reverse.apply(x, strength)


def unit(x: Tensor) -> Tensor:
    """x (B, L) at unit length, so that products are cosines."""
    return functional.normalize(x, dim=-1)
