"""What models with Gaussian posteriors share: products of experts, importance weights, base classes."""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import chain, combinations
from typing import Any

import torch
from torch import Tensor, nn

from models.base import Batch, Modality, MultimodalModel, NotDefinedError
from models.parts.distributions import DiagonalGaussian
from models.parts.likelihoods import make_likelihood
from models.parts.networks import decode_flat, make_decoder, make_encoder
from models.parts.shared_prior import SharedPriorModel
from models.settings import setting

__all__ = [
    "GaussianMVAE",
    "GaussianVAEs",
    "importance_weights",
    "product_of_experts",
    "subset_products",
    "weights_setting",
]


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


def subset_products(experts: Sequence[DiagonalGaussian], prior_expert: bool) -> DiagonalGaussian:
    """(S, B, L): the products of all S = 2^N - 1 non-empty subsets of N Gaussians (B, L), small ones first.

    Args:
        experts: all of one shape.
        prior_expert: multiply that of all of them by N(0, I) as well.
    """
    subsets = chain.from_iterable(combinations(experts, size) for size in range(1, len(experts) + 1))
    products = [product_of_experts(s, prior_expert=prior_expert and len(s) == len(experts)) for s in subsets]
    means, logvars = zip(*products, strict=True)
    return DiagonalGaussian(torch.stack(means), torch.stack(logvars))


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


class GaussianMVAE(GaussianVAEs, SharedPriorModel):
    """One latent for all modalities, with prior N(0, I) unless its settings are `PriorSettings`.

    A subclass writes `loss` and `infer`, and `proposal` if it is to have importance weights.
    """

    def decode(self, name: str, latent: Tensor) -> Tensor:
        return self.decoders[name](latent)

    def experts(self, inputs: Batch) -> Any:
        """The posteriors given each of the N modalities in `inputs` alone, stacked: (N, B, L)."""
        means, logvars = zip(*self.posteriors(inputs).values(), strict=True)
        return DiagonalGaussian(torch.stack(means), torch.stack(logvars))

    def log_posteriors(self, inputs: Batch, latent: Tensor) -> Tensor:
        experts = self.experts(inputs)
        return torch.stack(
            [type(experts)(*each).log_prob(latent.unsqueeze(-2)) for each in zip(*experts, strict=True)]
        )

    def proposal(self, inputs: Batch) -> Any:
        """C equally probable components of a posterior given all modalities.

        A DiagonalGaussian or its like, whose parameters are (C, B, L).

        Raises:
            NotDefinedError: in a model without such a density.
        """
        raise NotDefinedError(f"{type(self).__name__} has no posterior density.")

    def log_weights(self, batch: Batch, samples: int, generator: torch.Generator) -> Tensor:
        """log p(z) + sum_m log p(x_m given z) - log q(z), without weights of modalities."""

        def log_joint(latent: Tensor) -> Tensor:
            likelihood = [
                self.likelihoods[name](batch[name], decode_flat(self.decoders[name], latent))
                for name in self.modalities
            ]
            return self.log_prior(latent) + torch.stack(likelihood).sum(0)

        return importance_weights(log_joint, self.proposal(batch), samples, generator)
