"""What models with Gaussian posteriors share: diagonal Gaussians, their products, and base classes."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from models.base import Batch, Modality, MultimodalModel, NotDefinedError, SharedLatentModel
from models.parts.likelihoods import make_likelihood
from models.parts.networks import decode_flat, make_decoder, make_encoder
from models.settings import setting

__all__ = [
    "DiagonalGaussian",
    "GaussianMVAE",
    "GaussianVAEs",
    "importance_weights",
    "one_expert_per_item",
    "product_of_experts",
    "weights_setting",
]


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


def product_of_experts(posteriors: Sequence[DiagonalGaussian], prior_expert: bool) -> DiagonalGaussian:
    """The normalised product of diagonal Gaussians: precisions add, means average by precision.

    Wu and Goodman 2018, section 2.2.

    Args:
        posteriors: the experts, all of one shape.
        prior_expert: multiply by N(0, I) as well.
    """
    means = torch.stack([p.mean for p in posteriors])
    log_precisions = torch.stack([-p.logvar for p in posteriors])
    total = log_precisions.logsumexp(0)
    if prior_expert:
        total = torch.logaddexp(total, torch.zeros_like(total))
    # in logarithms, as a precision overflows where a posterior is very narrow
    return DiagonalGaussian((means * (log_precisions - total).exp()).sum(0), -total)


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


def weights_setting() -> Any:
    """The setting `modality_weights`, of models whose authors weigh modalities by their dimensions."""
    choices = ("published", "equal")
    return setting(
        "published",
        "weights of the reconstructions: those of the modalities, as published, or equal ones",
        choices=choices,
        search=choices,
    )


def importance_weights(
    log_joint: Callable[[Tensor], Tensor], proposal: Any, samples: int, generator: torch.Generator
) -> Tensor:
    """(K, B): log_joint(z) - log q(z), in nats, of K draws z from the mixture q(z) = (1/C) sum_c q_c(z).

    Args:
        log_joint: (K, B, L) to log p(x, z) (K, B).
        proposal: a DiagonalGaussian or its like, whose parameters are (C, B, L).
        samples: K.
        generator: of all random choices.
    """
    count, items = proposal.mean.shape[:2]
    which = torch.randint(count, (samples, items), generator=generator, device=proposal.mean.device)
    chosen = (parameter[which, torch.arange(items, device=which.device)] for parameter in proposal)
    latent = type(proposal)(*chosen).rsample(generator)
    components = type(proposal)(*(parameter.unsqueeze(1) for parameter in proposal)).log_prob(latent)
    return log_joint(latent) - (components.logsumexp(0) - math.log(count))


class GaussianVAEs(MultimodalModel):
    """An encoder to a diagonal Gaussian and a decoder per modality; a subclass says whether they share a
    latent.

    Its settings have `latent_size`, and `likelihood` and `likelihood_scale` unless it overrides the method
    `likelihood`; they may have `modality_weights`, and `private_size`, by which the latents of all modalities
    are larger.
    """

    def __init__(self, modalities: Sequence[Modality], settings: Any):
        super().__init__(modalities, settings)
        size = settings.latent_size + getattr(settings, "private_size", 0)
        self.encoders = nn.ModuleDict({m.name: make_encoder(m, 2 * size) for m in modalities})
        self.decoders = nn.ModuleDict({m.name: make_decoder(m, size) for m in modalities})
        self.likelihoods = nn.ModuleDict({m.name: self.likelihood(m) for m in modalities})

    def likelihood(self, modality: Modality) -> nn.Module:
        """log p(x given its mean) of one modality, called as Likelihood is."""
        return make_likelihood(modality, self.settings.likelihood, self.settings.likelihood_scale)

    def posteriors(self, inputs: Batch) -> dict[str, DiagonalGaussian]:
        """q(z given x_m) of every modality in `inputs`, each of shape (B, L)."""
        return {
            name: DiagonalGaussian(*self.encoders[name](x).chunk(2, dim=-1)) for name, x in inputs.items()
        }

    def weighted(self, terms: Mapping[str, Tensor]) -> Tensor:
        """The sum of one term per modality, each times its modality's weight unless all are to be equal."""
        if getattr(self.settings, "modality_weights", "published") == "equal":
            return torch.stack(list(terms.values())).sum(0)
        return torch.stack([self.modalities[name].weight * term for name, term in terms.items()]).sum(0)


class GaussianMVAE(GaussianVAEs, SharedLatentModel):
    """One latent with prior N(0, I) for all modalities.

    A subclass writes `loss` and `infer`, and `proposal` if it is to have importance weights.
    """

    def decode(self, name: str, latent: Tensor) -> Tensor:
        return self.decoders[name](latent)

    def prior(self, n: int, generator: torch.Generator) -> Tensor:
        return torch.randn(n, self.settings.latent_size, generator=generator, device=generator.device)

    def proposal(self, inputs: Batch) -> Any:
        """C equally probable components of a posterior given all modalities.

        A DiagonalGaussian or its like, whose parameters are (C, B, L).

        Raises:
            NotDefinedError: in a model without such a density.
        """
        raise NotDefinedError(f"{type(self).__name__} has no posterior density.")

    def log_prior(self, latent: Tensor) -> Tensor:
        """The prior's log-density of (*leading, L), in nats."""
        return DiagonalGaussian(torch.zeros_like(latent), torch.zeros_like(latent)).log_prob(latent)

    def log_weights(self, batch: Batch, samples: int, generator: torch.Generator) -> Tensor:
        """log p(z) + sum_m log p(x_m given z) - log q(z), without weights of modalities."""

        def log_joint(latent: Tensor) -> Tensor:
            likelihood = [
                self.likelihoods[name](batch[name], decode_flat(self.decoders[name], latent))
                for name in self.modalities
            ]
            return self.log_prior(latent) + torch.stack(likelihood).sum(0)

        return importance_weights(log_joint, self.proposal(batch), samples, generator)
