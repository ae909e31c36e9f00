"""Images on their way: 8 bits in memory and for every Frechet distance, floats in [0, 1] for networks."""

import torch
from torch import Tensor

__all__ = ["as_float", "eight_bits"]


def as_float(images: Tensor) -> Tensor:
    """uint8 divided by 255, as float32; floats as they are."""
    return images / 255 if images.dtype == torch.uint8 else images


def eight_bits(images: Tensor) -> Tensor:
    """Floats in [0, 1] rounded to the nearest of the 256 levels; uint8 as they are."""
    return images if images.dtype == torch.uint8 else (images * 255).round().to(torch.uint8)
