"""DMVAE: private and shared latents (Lee and Pavlovic 2021).

"Private-Shared Disentangled Multimodal VAE for Learning of Latent Representations".
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from models.about import About, cite
from models.base import Batch, Loss
from models.named_settings import PUBLISHED, Sourced
from models.parts.distributions import DiagonalGaussian
from models.parts.gaussian import GaussianVAEs, importance_weights, product_of_experts, weights_setting
from models.parts.likelihoods import likelihood_setting, scale_setting
from models.parts.networks import decode_flat
from models.parts.priors import PriorSettings, StandardNormal
from models.parts.shared_prior import SharedPriorModel
from models.registry import register
from models.settings import setting

__all__ = ["DMVAE", "DMVAESettings"]


@dataclass(frozen=True)
class DMVAESettings(PriorSettings):
    """Likelihood and weights are those of the comparison, as is what a decoder reads: 36 + 4 dimensions.

    Published for MNIST-SVHN are 10 shared dimensions, one private of MNIST and four of SVHN.
    """

    latent_size: int = setting(36, "dimensions of the shared latent", low=1)
    private_size: int = setting(4, "dimensions of the private latent of each modality", low=1)
    beta: float = setting(1.0, "weight of the KL terms of the shared latent", low=0, search=(0.1, 10.0))
    likelihood: str = likelihood_setting()
    likelihood_scale: float = scale_setting()
    modality_weights: str = weights_setting()
    weight_power: float = setting(
        1.0, "power of the modalities' weights, so that the balance between them can be changed", low=0.1
    )


_CODE = "github.com/seqam-lab/DMVAE, mnist_svhn"
NAMED = {  # the paper of the comparison does not have this model
    PUBLISHED: {
        "beta": Sourced(1.0, f"{_CODE}/main.py: --beta1 and --beta2"),
        "likelihood": Sourced("bernoulli", f"{_CODE}/model.py, of MNIST and SVHN"),
        "modality_weights": Sourced("published", f"{_CODE}/main.py: MNIST counts more"),
        "weight_power": Sourced(
            round(math.log(50) / math.log(3072 / 784), 4),
            f"{_CODE}/main.py: --lambda_text1 50 of MNIST, --lambda_text2 1 of SVHN: 3072/784 to this power",
        ),
    }
}


@register(
    "dmvae",
    settings=DMVAESettings,
    source="Lee and Pavlovic 2021, arXiv 2012.13024",
    title="DMVAE",
    incomplete=True,
    named=NAMED,
    about=About(
        idea=(
            "Every modality has a private latent beside the one that all share. What the modalities "
            "have in common goes through the shared one, style stays private. Given other "
            "modalities, the private latent of a generated one is drawn from its prior."
        ),
        formula=(
            r"p(z_s) \prod_m p(z_m) \, p(x_m \mid z_s, z_m), \qquad \mathcal{L} = L(q_{\mathrm{all}}) "
            r"+ \sum_n L(q_n), \qquad q_{\mathrm{all}}(z_s) \propto p(z_s) \prod_m q_m(z_s \mid x_m)"
        ),
        departures=(
            "The published code counts the shared divergence once per decoder and drops the "
            "reconstruction from the product; here both are as the bound has them. A decoder reads "
            "36 shared and 4 private dimensions, as many as the models of the comparison have; "
            "`--set dmvae=published` has the published sizes."
        ),
        bibtex=cite("lee2021dmvae"),
        private=True,
    ),
)
class DMVAE(GaussianVAEs, SharedPriorModel):
    """Every modality m has a private latent z_m beside the shared one z_s; priors are N(0, I) by default.

    p(z_s) prod_m p(z_m) p(x_m given z_s, z_m);   an encoder gives q_m(z_s given x_m) and q_m(z_m given x_m)
    q_all(z_s) is proportional to N(z_s; 0, I) prod_m q_m(z_s given x_m)

    loss = L(q_all) + sum_n L(q_n)
    L(q) = E_{z_s ~ q, z_m ~ q_m} sum_m w_m (-log p(x_m given z_s, z_m))
           + beta KL(q(z_s) || p) + sum_m KL(q_m(z_m) || p)

    So every decoder is trained on shared latents of each single modality (n != m: cross generation) with its
    own private one. As in the published code, one draw of z_m serves all terms, and q_n of one modality goes
    without the prior expert. That code counts the shared KL once per decoder and drops the reconstruction of
    L(q_all); here both are as the bound has them, once (MultiVae's implementation agrees). Of a batch that
    lacks modalities, all sums go over those that it has; where that is one alone, its L(q_n) counts once.

    A learned prior is that of z_s; those of the z_m stay N(0, I), and so does the factor in q_all, which is
    then a part of the family of posteriors, as in MVAE.

    The latent of the contract is (z_s, z_1, .., z_M). Given some modalities, z_s follows q_n of a single one,
    the product (with the prior) of several, and the z_m of a modality that is not given its prior.
    """

    def loss(self, batch: Batch, progress: Tensor) -> Loss:
        observed = self.observed(batch)
        shared, private = self.split(self.posteriors(observed))
        experts = list(shared.values())
        sources = [self.product(experts), *experts] if len(experts) > 1 else experts
        means, logvars = zip(*sources, strict=True)
        posterior = DiagonalGaussian(torch.stack(means), torch.stack(logvars))
        latent = posterior.rsample()  # (1 + N, B, S), that of all first; (1, B, S) of one modality alone
        reconstruction = {}
        for name, x in observed.items():
            own = private[name].rsample().expand(len(sources), -1, -1)
            decoded = decode_flat(self.decoders[name], torch.cat([latent, own], dim=-1))
            reconstruction[name] = -self.likelihoods[name](x, decoded).mean(-1)
        kl = self.kl(posterior, latent).mean(-1)
        kl_private = {name: q.kl().mean() for name, q in private.items()}
        total = self.weighted({name: term.sum() for name, term in reconstruction.items()})
        total = total + self.settings.beta * kl.sum()
        total = total + len(sources) * torch.stack(list(kl_private.values())).sum()
        terms = {f"reconstruction/{name}": term[0] for name, term in reconstruction.items()}
        terms |= {"kl": kl[0]} | {f"kl_private/{name}": term for name, term in kl_private.items()}
        return Loss(total, {name: term.detach() for name, term in terms.items()})

    def weighted(self, terms: Mapping[str, Tensor]) -> Tensor:
        """The sum of one term per modality, times the power of its modality's weight unless all are equal."""
        if self.settings.modality_weights == "equal":
            return super().weighted(terms)
        power = self.settings.weight_power
        return torch.stack(
            [self.modalities[name].weight ** power * term for name, term in terms.items()]
        ).sum(0)

    def split(
        self, posteriors: Mapping[str, DiagonalGaussian]
    ) -> tuple[dict[str, DiagonalGaussian], dict[str, DiagonalGaussian]]:
        """q_m(z_s) (B, S) and q_m(z_m) (B, P) of every modality, from what the encoders give (B, S + P)."""
        size = self.settings.latent_size
        shared = {n: DiagonalGaussian(*(p[..., :size] for p in q)) for n, q in posteriors.items()}
        private = {n: DiagonalGaussian(*(p[..., size:] for p in q)) for n, q in posteriors.items()}
        return shared, private

    @staticmethod
    def product(experts: list[DiagonalGaussian]) -> DiagonalGaussian:
        """q(z_s) of several modalities, which has the prior in it; of one, its own: (B, S)."""
        return product_of_experts(experts, prior_expert=True) if len(experts) > 1 else experts[0]

    def posterior(self, inputs: Batch) -> DiagonalGaussian:
        """q(z_s, z_1, .., z_M) given the modalities in `inputs`: (B, S + M P)."""
        shared, private = self.split(self.posteriors(inputs))
        some = next(iter(private.values()))
        prior = DiagonalGaussian(torch.zeros_like(some.mean), torch.zeros_like(some.mean))
        parts = [
            self.product(list(shared.values())),
            *(private.get(name, prior) for name in self.modalities),
        ]
        means, logvars = zip(*parts, strict=True)
        return DiagonalGaussian(torch.cat(means, dim=-1), torch.cat(logvars, dim=-1))

    def infer(self, inputs: Batch, sample: bool = False, generator: torch.Generator | None = None) -> Tensor:
        posterior = self.posterior(inputs)
        return posterior.rsample(generator) if sample else posterior.mean

    def infer_shared(
        self, inputs: Batch, sample: bool = False, generator: torch.Generator | None = None
    ) -> Tensor:
        return self.infer(inputs, sample, generator)[..., : self.settings.latent_size]

    def embed(self, inputs: Batch) -> Tensor:
        """(B, S): the mean of the shared latent."""
        return self.infer_shared(inputs)

    def with_private(self, shared: Tensor, generator: torch.Generator) -> Tensor:
        size = len(self.modalities) * self.settings.private_size
        private = torch.randn(len(shared), size, generator=generator, device=generator.device)
        return torch.cat([shared, private], dim=-1)

    def log_posteriors(self, inputs: Batch, latent: Tensor) -> Tensor:
        shared, _ = self.split(self.posteriors(inputs))
        return torch.stack([q.log_prob(latent.unsqueeze(-2)) for q in shared.values()])

    def code(self, name: str, latent: Tensor) -> Tensor:
        """(*leading, S + P): what the decoder of `name` reads of (*leading, S + M P)."""
        size, private = self.settings.latent_size, self.settings.private_size
        start = size + list(self.modalities).index(name) * private
        return torch.cat([latent[..., :size], latent[..., start : start + private]], dim=-1)

    def decode(self, name: str, latent: Tensor) -> Tensor:
        return self.decoders[name](self.code(name, latent))

    def prior(self, n: int, generator: torch.Generator) -> Tensor:
        shared, private = self.settings.latent_size, len(self.modalities) * self.settings.private_size
        latent = torch.randn(n, shared + private, generator=generator, device=generator.device)
        if not isinstance(self.latent_prior, StandardNormal):
            latent[:, :shared] = self.latent_prior.sample(n, generator)
        return latent

    def log_weights(self, batch: Batch, samples: int, generator: torch.Generator) -> Tensor:
        """Over all latents, which are drawn from q_all and every q_m(z_m), without weights of modalities."""

        def log_joint(latent: Tensor) -> Tensor:
            shared, private = latent.tensor_split([self.settings.latent_size], dim=-1)
            zeros = torch.zeros_like(private)
            likelihood = [
                self.likelihoods[name](batch[name], decode_flat(self.decoders[name], self.code(name, latent)))
                for name in self.modalities
            ]
            prior = self.log_prior(shared) + DiagonalGaussian(zeros, zeros).log_prob(private)
            return prior + torch.stack(likelihood).sum(0)

        proposal = DiagonalGaussian(*(parameter.unsqueeze(0) for parameter in self.posterior(batch)))
        return importance_weights(log_joint, proposal, samples, generator)
