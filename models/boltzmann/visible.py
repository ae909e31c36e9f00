"""Between the items of a modality, floats in [0, 1], and the states of its visible units."""

import torch
from torch import Tensor, nn

from models.base import Modality, NotDefinedError
from models.boltzmann.units import (
    Bernoulli,
    Gaussian,
    ReplicatedSoftmax,
    Softmax,
    Units,
    sample_bernoulli,
)

__all__ = ["Standardisation", "Visible"]

LEAST_STD = 0.02  # of a pixel: one that hardly moves would be blown up beyond reason


class Standardisation(nn.Module):
    """Mean and standard deviation of every dimension, over all batches that it has seen in training mode.

    They are buffers, so they belong to the checkpoint. Before the first batch they are those of uniform
    numbers.
    """

    count: Tensor
    mean: Tensor
    variance: Tensor

    def __init__(self, size: int):
        super().__init__()
        self.register_buffer("count", torch.zeros(()))
        self.register_buffer("mean", torch.full((size,), 0.5))
        self.register_buffer("variance", torch.full((size,), 1 / 12))

    @property
    def std(self) -> Tensor:
        return self.variance.sqrt().clamp_min(LEAST_STD)

    @torch.no_grad()
    def see(self, x: Tensor) -> None:
        """Count x (B, size) in, in training mode (the parallel update of Chan, Golub and LeVeque 1979)."""
        if not self.training:
            return
        total = self.count + len(x)
        share = len(x) / total
        distance = x.mean(0) - self.mean
        variance = torch.lerp(self.variance, x.var(0, correction=0), share)
        self.variance.copy_(variance + share * (1 - share) * distance.square())
        self.mean.add_(share * distance)
        self.count.copy_(total)


class Visible(nn.Module):
    """The visible units of a modality, and the way from its items to them and back.

    Texts have softmax units at every position, counts replicated softmax units, images of one channel
    Bernoulli units with the pixels as probabilities (as in the literature on MNIST), other images, vectors
    and Poisson counts Gaussian units over standardised values.

    Args:
        modality: whose items are observed.
        sigma: standard deviation of Gaussian units, in standard deviations of the data.
    """

    def __init__(self, modality: Modality, sigma: float):
        super().__init__()
        self.shape, self.words = modality.shape, modality.words
        size = torch.Size(modality.shape).numel()
        self.standardisation: Standardisation | None = None
        self.units: Units
        if modality.likelihood == "categorical":
            self.units = Softmax(*modality.shape)
        elif modality.likelihood == "multinomial":
            self.units = ReplicatedSoftmax(size, modality.words)
        elif modality.kind == "image" and modality.shape[0] == 1:
            self.units = Bernoulli(size)
        else:
            self.units = Gaussian(size, sigma)
            self.standardisation = Standardisation(size)

    def see(self, items: Tensor) -> None:
        """Let the statistics of the data know of (B, *shape) items."""
        if self.standardisation is not None:
            self.standardisation.see(items.flatten(1))

    def encode(self, items: Tensor) -> Tensor:
        """States (B, size) of (B, *shape) items."""
        flat = items.flatten(1)
        if isinstance(self.units, ReplicatedSoftmax):
            return (flat * self.words).round()
        if self.standardisation is None:
            return flat
        return (flat - self.standardisation.mean) / self.standardisation.std

    def decode(self, means: Tensor) -> Tensor:
        """Items (B, *shape) in [0, 1] of means (B, size), those of counts of `words` words."""
        if self.standardisation is not None:
            means = (means * self.standardisation.std + self.standardisation.mean).clamp(0, 1)
        if isinstance(self.units, ReplicatedSoftmax):
            means = means / self.words
        return means.unflatten(1, self.shape)

    def draw(self, items: Tensor, generator: torch.Generator) -> Tensor:
        """States (B, size) that have a density: those of Bernoulli units become 0 or 1 at random.

        Raises:
            NotDefinedError: for documents of several lengths.
        """
        states = self.encode(items)
        if isinstance(self.units, ReplicatedSoftmax) and (states.sum(1) != self.words).any():
            raise NotDefinedError(
                f"Items of counts have a density among those of the same number of words, here {self.words}, "
                "but some have fewer."
            )
        return sample_bernoulli(states, generator) if isinstance(self.units, Bernoulli) else states

    def log_volume(self) -> Tensor:
        """What is added to log densities of states to have those of items, a scalar."""
        if self.standardisation is None:
            return self.units.bias.new_zeros(())
        return -self.standardisation.std.log().sum()
