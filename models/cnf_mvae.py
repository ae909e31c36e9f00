"""CNF-MVAE: contrastive normalizing flows (Ai et al. 2026, doi 10.20169/j.issn.2095-2163.26011602).

It is built on f-VAEs (Su and Wu 2018).

Equation numbers are the paper's. Its formulas carry misprints; what is implemented here is their evident
meaning: equation 6 integrates over u; in equation 11 the decoder sees Encoder(x) + s1 * eps, the prior term
holds f of it, the Gaussian likelihood keeps its D log s2 (a trained s2 diverges without), and the sign is
that of a cost.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor, nn

from models.about import About, cite
from models.base import Batch, Loss, Modality
from models.parts.contrast import info_nce, products
from models.parts.distributions import DiagonalGaussian, one_expert_per_item
from models.parts.flows import CouplingFlow
from models.parts.likelihoods import make_likelihood
from models.parts.networks import decode_flat, make_decoder, make_encoder
from models.parts.priors import PriorSettings, StandardNormal
from models.parts.shared_prior import SharedPriorModel
from models.registry import register
from models.settings import setting

__all__ = ["CNFMVAE", "CNFMVAESettings"]


@dataclass(frozen=True)
class CNFMVAESettings(PriorSettings):
    """Latent size, flow layers and contrast weight are the paper's; it does not give the rest.

    Of that, the likelihood scale, the temperature, the first noise and what the contrast sees were chosen
    among eleven runs of 400 to 800 steps by the validation images of `digits`.
    """

    latent_size: int = setting(40, "dimensions of the latent", low=2)
    flow_layers: int = setting(5, "affine coupling layers per modality, 0 for no flow", low=0)
    flow_hidden: int = setting(128, "units in the two hidden layers of a coupling network", low=1)
    contrast_weight: float = setting(
        10.0, "lambda, weight of the contrastive term of each pair of modalities", low=0, search=(3.0, 30.0)
    )
    temperature: float = setting(1.0, "tau of the contrastive term", low=1e-3, search=(0.5, 40.0))
    contrast_on: str = setting(
        "sample",
        "the contrastive term sees f(z) (sample) or f(e) (mean)",
        choices=("sample", "mean"),
        search=("sample", "mean"),
    )
    initial_noise: float = setting(0.1, "s1, standard deviation of the posterior, at first", low=1e-6)
    likelihood_scale: float = setting(
        0.5,
        "s2, standard deviation of the Gaussian likelihood (initial value if trained)",
        low=1e-3,
        search=(0.1, 1.0),
    )
    train_likelihood_scale: bool = setting(
        False, "learn s2 instead of keeping it fixed", search=(False, True)
    )


@register(
    "cnf-mvae",
    settings=CNFMVAESettings,
    source="Ai et al. 2026, doi 10.20169/j.issn.2095-2163.26011602",
    title="CNF-MVAE",
    incomplete=True,
    about=About(
        idea=(
            "Every modality has a VAE of its own, whose prior is a normalizing flow. The flows take "
            "the latents of all modalities into one meta space, where a contrastive term pulls "
            "together what belongs together. A draw from N(0, I) there, taken back by every flow and "
            "decoded, is a joint draw."
        ),
        formula=(
            r"z_m = e_m(x_m) + s_1 \epsilon, \quad u_m = f_m(z_m), \qquad \mathcal{L} = -\sum_m "
            r"\mathrm{ELBO}_m + \lambda \sum_{m < n} \mathrm{InfoNCE}(u_m, u_n)"
        ),
        departures=(
            "The paper's formulas carry misprints (equations 6 and 11); implemented is their evident "
            "meaning. It does not give the scale of the likelihood, the temperature, the first noise "
            "and what the contrast sees: these were chosen on validation images. Nor does it say "
            "what the posterior given several modalities is: here the mixture of those given each."
        ),
        bibtex=cite("ai2026cnf", "su2018fvae"),
    ),
)
class CNFMVAE(SharedPriorModel):
    """A VAE with a flow prior per modality; contrast aligns the modalities in the meta space behind the
    flows.

    z = e + s1 * eps with e = Enc(x), eps ~ N(0, I); u = f(z) with prior N(0, I); x given z ~ N(Dec(z), s2^2
    I)

    The latent of the contract is u: a joint draw decodes one u in every modality (equation 10). The posterior
    given several modalities, which the paper does not say, is the uniform mixture of those given each: a draw
    takes the u of one modality per item at random. Without drawing, it is the mean of their f(e). Of a batch
    that lacks modalities, the contrast is between those that it has.
    """

    def __init__(self, modalities: Sequence[Modality], settings: CNFMVAESettings):
        super().__init__(modalities, settings)
        s = settings
        self.encoders = nn.ModuleDict({m.name: make_encoder(m, s.latent_size) for m in modalities})
        self.decoders = nn.ModuleDict({m.name: make_decoder(m, s.latent_size) for m in modalities})
        self.flows = nn.ModuleDict(
            {m.name: CouplingFlow(s.latent_size, s.flow_layers, s.flow_hidden) for m in modalities}
        )
        self.log_s1 = nn.ParameterDict(
            {m.name: nn.Parameter(torch.tensor(math.log(s.initial_noise))) for m in modalities}
        )
        self.likelihoods = nn.ModuleDict(
            {
                m.name: make_likelihood(m, "gaussian", s.likelihood_scale, s.train_likelihood_scale)
                for m in modalities
            }
        )

    def loss(self, batch: Batch, progress: Tensor) -> Loss:
        terms: dict[str, Tensor] = {}
        embeddings: dict[str, Tensor] = {}
        costs = []
        for name, x in self.observed(batch).items():
            cost, embeddings[name], logged = self.modality_loss(name, x)
            costs.append(cost)
            terms |= {f"{key}/{name}": value for key, value in logged.items()}
        total = torch.stack(costs).sum()
        if len(embeddings) > 1:
            # equation 16 sums over ordered pairs: its lambda_ij is half of this lambda
            contrast = torch.stack(
                [  # equations 12-14, of raw inner products
                    info_nce(products(a, b) / self.settings.temperature)
                    for a, b in combinations(embeddings.values(), 2)
                ]
            )
            total = total + self.contrast_weight(progress) * contrast.sum()
            terms["contrast"] = contrast.mean().detach()
            terms["contrast_chance"] = total.new_full((), math.log(len(x)))
        return Loss(total, terms)

    def contrast_weight(self, progress: Tensor) -> float | Tensor:
        """lambda at this `progress` of training."""
        return self.settings.contrast_weight

    def modality_loss(self, name: str, x: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Equation 11 on x (B, *shape) of one modality.

        Returns:
            The negative ELBO in nats, a mean over the batch; the embeddings (B, L) that the contrast sees;
            terms.
        """
        e = self.encoders[name](x)
        eps = torch.randn_like(e)
        z = e + self.log_s1[name].exp() * eps
        u, logdet = self.flows[name](z)
        reconstruction = -self.likelihoods[name](x, self.decoders[name](z)).mean()
        # log q(z given x) - log p(z) = |f(z)|^2 / 2 - |eps|^2 / 2 - log|det df/dz| - L log s1, for every eps;
        # with another prior, -log p(u) - (L / 2) log(2 pi) stands for |f(z)|^2 / 2
        if isinstance(self.latent_prior, StandardNormal):
            gap = 0.5 * (u.square() - eps.square()).sum(-1)
        else:
            gap = -self.log_prior(u) - 0.5 * (eps.square() + math.log(2 * math.pi)).sum(-1)
        kl = (gap - logdet).mean() - e.shape[-1] * self.log_s1[name]
        embedding = u if self.settings.contrast_on == "sample" else self.flows[name](e)[0]
        terms = {
            "reconstruction": reconstruction,
            "kl": kl,
            "meta_norm": u.square().mean(),
            "s1": self.log_s1[name].exp(),
        }
        return reconstruction + kl, embedding, {key: value.detach() for key, value in terms.items()}

    def infer(self, inputs: Batch, sample: bool = False, generator: torch.Generator | None = None) -> Tensor:
        embeddings = []
        for name, x in inputs.items():
            z = self.encoders[name](x)
            if sample:
                z = z + self.log_s1[name].exp() * torch.empty_like(z).normal_(generator=generator)
            embeddings.append(self.flows[name](z)[0])
        stacked = torch.stack(embeddings)
        return one_expert_per_item(stacked, generator) if sample else stacked.mean(0)

    def decode(self, name: str, latent: Tensor) -> Tensor:
        return self.decoders[name](self.flows[name].inverse(latent))  # type: ignore[operator]

    def log_posteriors(self, inputs: Batch, latent: Tensor) -> Tensor:
        """Of u: log N(z given e_m, s1^2 I) - log|det df_m/dz| at z = f_m^-1(u)."""
        densities = []
        for name, x in inputs.items():
            e = self.encoders[name](x)
            z = self.flows[name].inverse(latent)  # type: ignore[operator]
            posterior = DiagonalGaussian(e, (2 * self.log_s1[name]).expand_as(e))
            densities.append(posterior.log_prob(z.unsqueeze(-2)) - self.flows[name](z)[1].unsqueeze(-1))
        return torch.stack(densities)

    def log_weights(self, batch: Batch, samples: int, generator: torch.Generator) -> Tensor:
        """The density is p(u) prod_m p(x_m given f_m^-1(u)), which a joint draw comes from (equation 10).

        The proposal is the uniform mixture over modalities of their posteriors, carried to the meta space:
        u = f_m(e_m + s1 eps) has the density q_m(u) = N(z given e_m, s1^2 I) / |det df_m/dz|, z = f_m^-1(u).
        """
        means = {name: self.encoders[name](batch[name]) for name in self.modalities}
        drawn = []
        for name, e in means.items():
            eps = torch.empty(samples, *e.shape, dtype=e.dtype, device=e.device).normal_(generator=generator)
            drawn.append(self.flows[name](e + self.log_s1[name].exp() * eps)[0])
        u = one_expert_per_item(torch.stack(drawn), generator)  # (K, B, L)
        likelihoods, densities = [], []
        for name, e in means.items():
            z = self.flows[name].inverse(u)  # type: ignore[operator]
            posterior = DiagonalGaussian(e, (2 * self.log_s1[name]).expand_as(e))
            densities.append(posterior.log_prob(z) - self.flows[name](z)[1])
            likelihoods.append(self.likelihoods[name](batch[name], decode_flat(self.decoders[name], z)))
        joint = self.log_prior(u) + torch.stack(likelihoods).sum(0)
        return joint - torch.stack(densities).logsumexp(0) + math.log(len(drawn))
