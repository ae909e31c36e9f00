"""AVAE: associative VAE with distributed latent spaces and associators (Jo, Lee, Choi, Yoo and Choi 2020)."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import torch
from torch import Tensor, nn

from models.about import About, cite
from models.base import Batch, Loss, Modality, Stage
from models.parts.distributions import DiagonalGaussian
from models.parts.gaussian import GaussianVAEs, product_of_experts
from models.parts.likelihoods import likelihood_setting
from models.parts.networks import make_encoder
from models.registry import register
from models.settings import setting

__all__ = ["AVAE", "AVAESettings"]


@dataclass(frozen=True)
class AVAESettings:
    """Likelihood and latent size are those of the comparison; the stages share the budget equally."""

    latent_size: int = setting(40, "dimensions of the latent of each modality", low=1)
    vae_share: float = setting(
        0.5, "share of training for the VAEs; the rest is for the associators", low=0.01, high=0.99
    )
    likelihood: str = likelihood_setting()
    likelihood_scale: float = setting(0.75, "scale of a Gaussian or Laplace likelihood", low=1e-3)


@register(
    "avae",
    settings=AVAESettings,
    source="Jo et al. 2020, AAAI 34(7), 11197-11204",
    title="AVAE",
    about=About(
        idea=(
            "Every modality has a VAE with a latent of its own, and there is no shared latent. After "
            "these are trained, associators learn to map the latent of one modality to that of "
            "another one. A joint draw takes one latent from the prior and associates the others "
            "with it."
        ),
        formula=(
            r"\mathcal{L}_1 = -\sum_m \mathrm{ELBO}_m, \qquad \mathcal{L}_2 = \sum_{n \neq m} "
            r"\mathbb{E}_{z_n \sim q_n} \mathrm{KL}(a_{n \to m}(\cdot \mid z_n) \| q_m)"
        ),
        departures=(
            "Likelihood, latent size and networks are those of the comparison, and both stages have "
            "half of the budget. Given several modalities, a missing one gets the product of its "
            "associations with them."
        ),
        bibtex=cite("jo2020avae"),
        private=True,
    ),
)
class AVAE(GaussianVAEs):
    """A VAE with a latent z_m of its own for every modality, and associators between the latents.

    There is an associator a_{n->m}(z_m given z_n) for every ordered pair of modalities.

    First stage:  loss = sum_m E_{q_m} (-log p(x_m given z_m)) + KL(q_m || N(0, I))
    Second stage: loss = sum_{n != m} E_{z_n ~ q_n} KL(a_{n->m}(. given z_n) || q_m),    the VAEs held fixed

    Modalities carry no weights: their VAEs share nothing that would have to be balanced. An associator is the
    fully connected encoder of `models.parts.networks` to a diagonal Gaussian. It is the first argument of the
    divergence, as the approximation is in variational inference: of the many partners that an item has, an
    association takes what they share and draws close to it, where the other order would spread it over all of
    them and beyond (a diagonal Gaussian knows no clusters).

    There is no latent for all modalities. A joint draw takes the first modality's latent from the prior and
    associates the others with it. Given some modalities, an observed one keeps its own latent, and any other
    gets the product of its associations with the observed ones, in which a narrower association counts for
    more.
    """

    def __init__(self, modalities: Sequence[Modality], settings: AVAESettings):
        super().__init__(modalities, settings)
        size = settings.latent_size
        latent = Modality("latent", (size,))
        self.associators = nn.ModuleDict(
            {f"{n}->{m}": make_encoder(latent, 2 * size) for n, m in permutations(self.modalities, 2)}
        )

    def stages(self) -> tuple[Stage, ...]:
        share = self.settings.vae_share
        parts = (self.encoders, self.decoders, self.likelihoods)
        vaes = tuple(parameter for part in parts for parameter in part.parameters())
        return (
            Stage("vaes", share, self.loss, vaes),
            Stage("associators", 1 - share, self.association_loss, tuple(self.associators.parameters())),
        )

    def loss(self, batch: Batch, progress: Tensor) -> Loss:
        """The VAEs' negative ELBOs, the objective of the first stage."""
        posteriors = self.posteriors({name: batch[name] for name in self.modalities})
        terms = {}
        for name, q in posteriors.items():
            mean = self.decoders[name](q.rsample())
            terms[f"reconstruction/{name}"] = -self.likelihoods[name](batch[name], mean).mean()
            terms[f"kl/{name}"] = q.kl().mean()
        return _sum(terms)

    def association_loss(self, batch: Batch, progress: Tensor) -> Loss:
        """The associations' divergences to the posteriors, the objective of the second stage.

        No gradient reaches the VAEs.
        """
        with torch.no_grad():
            posteriors = self.posteriors({name: batch[name] for name in self.modalities})
            latents = {name: q.rsample() for name, q in posteriors.items()}
        terms = {
            f"association/{n}->{m}": self.associate(n, m, latents[n]).kl_to(posteriors[m]).mean()
            for n, m in permutations(latents, 2)
        }
        return _sum(terms)

    def associate(self, source: str, target: str, latent: Tensor) -> DiagonalGaussian:
        """The Gaussian (B, L) over the latent of `target` given `source`'s (B, L)."""
        return DiagonalGaussian(*self.associators[f"{source}->{target}"](latent).chunk(2, dim=-1))

    def generate(self, n: int, generator: torch.Generator) -> dict[str, Tensor]:
        first, *others = self.modalities
        size = self.settings.latent_size
        latents = {first: torch.randn(n, size, generator=generator, device=generator.device)}
        for name in others:
            latents[name] = self.associate(first, name, latents[first]).rsample(generator)
        return {name: self.decoders[name](latent) for name, latent in latents.items()}

    def translate(
        self,
        inputs: Batch,
        targets: Sequence[str],
        sample: bool = False,
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        posteriors = self.posteriors(inputs)
        latents = {name: q.rsample(generator) if sample else q.mean for name, q in posteriors.items()}
        images = {}
        for target in targets:
            latent = latents.get(target)
            if latent is None:
                associations = [self.associate(name, target, z) for name, z in latents.items()]
                association = product_of_experts(associations, prior_expert=False)
                latent = association.rsample(generator) if sample else association.mean
            images[target] = self.decoders[target](latent)
        return images

    def embed(self, inputs: Batch) -> Tensor:
        """(B, N L): the latent means of the N observed modalities, in the order of the model's modalities."""
        posteriors = self.posteriors(self.observed(inputs))
        return torch.cat([q.mean for q in posteriors.values()], dim=-1)


def _sum(terms: dict[str, Tensor]) -> Loss:
    """The loss whose terms add up to its total."""
    total = torch.stack(list(terms.values())).sum()
    return Loss(total, {name: term.detach() for name, term in terms.items()})
