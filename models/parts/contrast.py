"""The contrast of paired codes (InfoNCE), of generative and of coordinated models."""

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["info_nce", "products"]


def products(a: Tensor, b: Tensor) -> Tensor:
    """(A, B): a_i'b_j, never in bfloat16, in which scores of tens and cosines that differ by 0.004 blur."""
    with torch.autocast(a.device.type, enabled=False):
        return a @ b.T


def info_nce(scores: Tensor) -> Tensor:
    """Symmetric InfoNCE in nats: (CE(S) + CE(S^T)) / 2 with targets on the diagonal.

    The positive of an item is its partner, its negatives are the other items of the other modality; log N is
    the value of chance. Ai et al. 2026, equations 12-14; Radford et al. 2021, figure 3.

    Args:
        scores: S (N, N), of item i of one modality and j of the other; i and i belong together.
    """
    targets = torch.arange(len(scores), device=scores.device)
    return 0.5 * (functional.cross_entropy(scores, targets) + functional.cross_entropy(scores.T, targets))
