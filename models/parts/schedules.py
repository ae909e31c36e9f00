"""Weights that rise in the course of training, computed on the device of training, without a wait."""

import torch
from torch import Tensor

__all__ = ["ramp"]


def ramp(progress: Tensor, start: float, end: float, final: float) -> Tensor:
    """0 until `start`, then linear, `final` from `end` on: a float32 scalar, as losses are.

    Args:
        progress: a scalar in [0, 1].
        start, end: shares of the training, of which the first is the smaller.
    """
    return (final * ((progress - start) / (end - start)).clamp(0.0, 1.0)).to(torch.float32)
