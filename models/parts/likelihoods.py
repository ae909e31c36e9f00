"""Observation likelihoods log p(x given its mean), summed over the dimensions of one modality, in nats."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.base import Modality
from models.settings import setting

__all__ = ["Likelihood", "likelihood_setting", "make_likelihood", "scale_setting"]

FAMILIES = ("gaussian", "laplace", "bernoulli", "categorical", "multinomial", "poisson")


def likelihood_setting() -> Any:
    """The setting `likelihood`: the family of images in the models that leave the choice open."""
    return setting("laplace", "observation family of images", choices=("gaussian", "laplace", "bernoulli"))


def scale_setting() -> Any:
    """The setting `likelihood_scale`, of a Gaussian or Laplace family."""
    help = "scale of a Gaussian or Laplace likelihood"
    return setting(0.75, help, low=1e-3, search=(0.1, 1.0))


def _least(mean: Tensor) -> float:
    """What keeps a logarithm finite, and changes no number that has one."""
    return torch.finfo(mean.dtype).tiny


class Likelihood(nn.Module):
    """log p(x given mean) of one modality; called as `likelihood(x, mean)`.

    Args:
        family: gaussian (standard deviation `scale`), laplace (scale parameter `scale`), bernoulli,
            categorical or multinomial (`mean` holds probabilities), or poisson (`mean` holds rates divided by
            `words`); only the first two take a scale.
        event_dims: number of dimensions of one item.
        scale: positive; its initial value where it is trained.
        trained: learn the scale, as a logarithm.
        words: of multinomial and poisson items, whose values times it are counts.
    """

    log_scale: Tensor

    def __init__(
        self, family: str, event_dims: int, scale: float = 1.0, trained: bool = False, words: int = 1
    ):
        super().__init__()
        self.family, self.event_dims, self.words = family, event_dims, words
        log_scale = torch.tensor(math.log(scale))
        if trained and family in ("gaussian", "laplace"):
            self.log_scale = nn.Parameter(log_scale)
        else:
            self.register_buffer("log_scale", log_scale)

    def forward(self, x: Tensor, mean: Tensor) -> Tensor:
        """(*leading,) from x (B, *shape) and mean (*leading, *shape), where leading ends in B."""
        event = tuple(range(-self.event_dims, 0))
        if self.family in ("gaussian", "laplace"):
            # sum first, then scale: one pass over the images less for each factor and constant
            count = math.prod(x.shape[-self.event_dims :])
            if self.family == "gaussian":
                # sum_d -(x_d - mean_d)^2 / (2 s^2) - log s - log(2 pi) / 2
                distance = (mean - x).square().sum(event)
                constant = count * (self.log_scale + 0.5 * math.log(2 * math.pi))
                return -0.5 * torch.exp(-2 * self.log_scale) * distance - constant
            # sum_d -|x_d - mean_d| / b - log(2 b)
            distance = (mean - x).abs().sum(event)
            return -torch.exp(-self.log_scale) * distance - count * (self.log_scale + math.log(2))
        if self.family == "bernoulli":
            # its logarithms are -100 at least; its gradient does not vanish where the model is most wrong
            cost = functional.binary_cross_entropy(mean, x.expand_as(mean), reduction="none")
            return -cost.sum(event)
        if self.family == "poisson":
            # sum_s n_s log r_s - r_s - log n_s!
            counts, rates = (x * self.words).round(), (mean * self.words).clamp_min(_least(mean))
            return (counts * rates.log() - rates - (counts + 1).lgamma()).sum(event)
        if self.family == "multinomial":
            # sum_s n_s log p_s, of the words in their order: that of counts alone is more by a constant of x
            x = (x * self.words).round()
        # categorical, x one-hot over the last axis
        return (x * mean.clamp_min(_least(mean)).log()).sum(event)

    def extra_repr(self) -> str:
        return f"{self.family}, scale={float(self.log_scale.detach().exp()):.4g}"


def make_likelihood(modality: Modality, family: str, scale: float = 1.0, trained: bool = False) -> Likelihood:
    """The likelihood of a modality.

    Args:
        modality: whose own family goes before `family`, where its data leave no choice.
        family, trained: as of Likelihood.
        scale: as of Likelihood, in units of the modality's `spread`.

    Raises:
        ValueError: for an unknown family.
    """
    family = modality.likelihood or family
    if family not in FAMILIES:
        raise ValueError(f"unknown likelihood {family!r}: expected one of {', '.join(FAMILIES)}")
    return Likelihood(family, len(modality.shape), scale * modality.spread, trained, modality.words)
