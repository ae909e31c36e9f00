"""Diagonal distributions of latents, Gaussian and Laplace, as named tuples; draws from a mixture of some."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["DiagonalGaussian", "DiagonalLaplace", "one_expert_per_item"]


class DiagonalGaussian(NamedTuple):
    """N(mean, diag(exp(logvar))), both (*leading, L)."""

    mean: Tensor
    logvar: Tensor

    def rsample(self, generator: torch.Generator | None = None) -> Tensor:
        """(*leading, L): one reparameterised draw, mean + sigma * eps with sigma = exp(logvar / 2)."""
        noise = torch.empty_like(self.mean).normal_(generator=generator)
        return self.mean + torch.exp(0.5 * self.logvar) * noise

    def log_prob(self, z: Tensor) -> Tensor:
        """(*leading,): the log-density of z (*leading, L), in nats; leading dimensions broadcast."""
        distance = (z - self.mean).square() * torch.exp(-self.logvar)
        return -0.5 * (distance + self.logvar + math.log(2 * math.pi)).sum(-1)

    def kl(self) -> Tensor:
        """(*leading,): KL to N(0, I), 1/2 sum(mu^2 + sigma^2 - 1 - log sigma^2), in nats."""
        return 0.5 * (self.mean.square() + self.logvar.exp() - 1 - self.logvar).sum(-1)

    def kl_to(self, other: "DiagonalGaussian") -> Tensor:
        """(*leading,): KL(self || other) in nats.

        1/2 sum((sigma^2 + (mu - mu')^2) / sigma'^2 - 1 - log sigma^2 / sigma'^2), with ' for the other one.
        """
        gap = self.logvar - other.logvar
        distance = (self.mean - other.mean).square() * torch.exp(-other.logvar)
        return 0.5 * (gap.exp() + distance - 1 - gap).sum(-1)


class DiagonalLaplace(NamedTuple):
    """Independent Laplace distributions; mean and logits are both (*leading, L).

    The scales are b = softmax(logits) * L + 1e-6, so that all L of them add up to L (Shi et al. 2019, in
    their code).
    """

    mean: Tensor
    logits: Tensor

    def scale(self) -> Tensor:
        """(*leading, L): b."""
        return self.logits.softmax(-1) * self.logits.shape[-1] + 1e-6

    def rsample(self, generator: torch.Generator | None = None) -> Tensor:
        """(*leading, L): a reparameterised draw, mean - b * sign(u) * log(1 - |u|), u uniform in (-1, 1)."""
        u = torch.empty_like(self.mean).uniform_(torch.finfo(self.mean.dtype).eps - 1, 1, generator=generator)
        return self.mean - self.scale() * u.sign() * torch.log1p(-u.abs())

    def log_prob(self, z: Tensor) -> Tensor:
        """(*leading,): the log-density of z (*leading, L), in nats; leading dimensions broadcast."""
        scale = self.scale()
        return -((z - self.mean).abs() / scale + torch.log(2 * scale)).sum(-1)


def one_expert_per_item(draws: Tensor, generator: torch.Generator | None) -> Tensor:
    """(*leading, L): a draw from the uniform mixture of N experts, given one draw of each.

    Every item has an expert of its own, chosen at random, for all dimensions. The mean of the draws would be
    no draw from anything: its spread is smaller than that of each expert.

    Args:
        draws: (N, *leading, L).
        generator: of the choice.
    """
    if len(draws) == 1:
        return draws[0]
    which = torch.randint(len(draws), draws.shape[1:-1], generator=generator, device=draws.device)
    return draws.gather(0, which[None, ..., None].expand(1, *draws.shape[1:]))[0]
