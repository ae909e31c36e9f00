"""Items as they are stored and read: 8 bits in memory and for Frechet distances, floats for networks.

Text is one-hot, its symbols 255 in memory and 1 for networks. Counts of symbols are shares of the most words
of an item. Vectors and Poisson counts are floats everywhere.
"""

import torch
from torch import Tensor

from models.base import Modality

__all__ = ["as_float", "as_read", "as_stored", "eight_bits"]


def as_float(images: Tensor) -> Tensor:
    """uint8 divided by 255, as float32; floats as they are."""
    return images / 255 if images.dtype == torch.uint8 else images


def eight_bits(images: Tensor) -> Tensor:
    """Floats in [0, 1] rounded to the nearest of the 256 levels; uint8 as they are."""
    return images if images.dtype == torch.uint8 else (images * 255).round().to(torch.uint8)


def as_stored(modality: Modality, means: Tensor) -> Tensor:
    """(N, *shape) floats in [0, 1] as items of the modality lie in memory: in 8 bits or as floats."""
    if modality.kind == "vector" or modality.likelihood == "poisson":
        return means
    return eight_bits(means)


def as_read(modality: Modality, means: Tensor) -> Tensor:
    """(N, *shape) floats, what a judge reads of a model's means of that shape.

    Images as they are; of a categorical modality the most probable symbols, one-hot, and the first of symbols
    that are equally probable.
    """
    if modality.likelihood != "categorical":
        return means
    return torch.zeros_like(means).scatter_(-1, means.argmax(-1, keepdim=True), 1.0)
