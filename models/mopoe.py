"""MoPoE-VAE: mixture of products of experts (Sutter et al. 2021, "Generalized Multimodal ELBO")."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.about import About, cite
from models.base import Batch, Loss, Modality
from models.named_settings import PAPER, PUBLISHED, Sourced
from models.parts.distributions import DiagonalGaussian
from models.parts.gaussian import GaussianMVAE, product_of_experts, subset_products, weights_setting
from models.parts.likelihoods import likelihood_setting, scale_setting
from models.parts.priors import PriorSettings
from models.registry import register
from models.settings import setting

__all__ = ["MoPoE", "MoPoESettings"]

MOST = 6  # modalities whose subsets are all taken


@dataclass(frozen=True)
class MoPoESettings(PriorSettings):
    """Defaults as published for MNIST-SVHN-Text (github.com/thomassutter/MoPoE, job_mnistsvhntext).

    The latent size is that of the comparison.
    """

    latent_size: int = setting(40, "dimensions of the latent", low=1)
    beta: float = setting(2.5, "weight of the KL term", low=0, search=(0.25, 10.0))
    likelihood: str = likelihood_setting()
    likelihood_scale: float = scale_setting()
    modality_weights: str = weights_setting()


_CODE = "github.com/thomassutter/MoPoE, MNIST-SVHN-Text"
_PUBLISHED = {
    "prior": Sourced("gaussian", f"{_CODE}: N(0, I)"),
    "beta": Sourced(2.5, f"{_CODE}: job_mnistsvhntext"),
    "likelihood": Sourced("laplace", f"{_CODE}: modalities"),
    "likelihood_scale": Sourced(0.75, f"{_CODE}: networks"),
    "modality_weights": Sourced("published", f"{_CODE}: experiment.py, 3072 / size"),
}
NAMED = {
    PAPER: {
        key: Sourced(value, f"not in Ai et al. 2026; as published: {source}")
        for key, (value, source) in _PUBLISHED.items()
    },
    PUBLISHED: _PUBLISHED,
}


@register(
    "mopoe",
    settings=MoPoESettings,
    source="Sutter et al. 2021, arXiv 2105.02470",
    title="MoPoE",
    incomplete=True,
    named=NAMED,
    about=About(
        idea=(
            "The joint posterior is a mixture of products of experts, one product for every subset "
            "of modalities. It contains MVAE's product and MMVAE's mixture as special cases. "
            "Training sees every subset, so that any modalities can be given later."
        ),
        formula=(
            r"q(z \mid x) = \frac{1}{2^M - 1} \sum_{S \neq \emptyset} q_S(z), \qquad \mathcal{L} = "
            r"-\mathbb{E}_{q} \sum_m w_m \log p(x_m \mid z) + \frac{\beta}{2^M - 1} \sum_S "
            r"\mathrm{KL}(q_S \| p)"
        ),
        departures=(
            "As in the published code and not in the paper, the prior is an expert of the full set "
            "only, and the mixture is sampled by slices of the batch. The latent size is that of the "
            "comparison."
        ),
        bibtex=cite("sutter2021mopoe"),
    ),
)
class MoPoE(GaussianMVAE):
    """The posterior is the uniform mixture of the products q_S of all non-empty subsets S of modalities.

    loss = E_{z ~ mixture} sum_m w_m (-log p(x_m given z)) + beta mean_S KL(q_S || p(z))   (equations 7, 8)

    with p(z) = N(0, I) or a learned prior. As in the published code, the prior expert, N(0, I) whichever
    prior is chosen (see MVAE), enters the product of the full set only, one-element products
    are the unimodal posteriors unchanged, and the mixture is sampled by slices: of S subsets, each serves
    B // S items (at least one) of the shuffled batch, the last one, the full set, the rest as well. So the
    full set has up to S - 1 items more than its share, and of a batch smaller than S the largest sets have
    none: batches should be many times as large as 2^M. Of a batch that lacks
    modalities, S and m go over those that it has. Of more than MOST = 6 modalities, whose subsets are 127 or
    more, every step draws 63 of them uniformly and with replacement, as many as six modalities have: its
    gradient stays unbiased.
    """

    def __init__(self, modalities: Sequence[Modality], settings: MoPoESettings):
        super().__init__(modalities, settings)
        if len(modalities) > MOST:
            self.remark = (
                f"{2**MOST - 1} of the {2 ** len(modalities) - 1:,} subsets of modalities are drawn at "
                "random in every step of training"
            )

    def loss(self, batch: Batch, progress: Tensor) -> Loss:
        observed = self.observed(batch)
        subsets = self._subset_posteriors(self.posteriors(observed))
        latent = self._sample_by_slices(subsets)
        reconstruction = {
            name: -self.likelihoods[name](x, self.decode(name, latent)).mean() for name, x in observed.items()
        }
        kl = self.kl(subsets).mean()
        terms = {f"reconstruction/{name}": term.detach() for name, term in reconstruction.items()}
        return Loss(self.weighted(reconstruction) + self.settings.beta * kl, terms | {"kl": kl.detach()})

    def infer(self, inputs: Batch, sample: bool = False, generator: torch.Generator | None = None) -> Tensor:
        posterior = self.posterior(inputs)
        return posterior.rsample(generator) if sample else posterior.mean

    def proposal(self, inputs: Batch) -> DiagonalGaussian:
        """The mixture over subsets that training has; of more than MOST modalities their product alone."""
        if len(inputs) > MOST:
            return DiagonalGaussian(*(parameter.unsqueeze(0) for parameter in self.posterior(inputs)))
        return self._subset_posteriors(self.posteriors(inputs))

    def posterior(self, inputs: Batch) -> DiagonalGaussian:
        """q_S of the modalities in `inputs`: (B, L)."""
        experts = list(self.posteriors(inputs).values())
        return product_of_experts(experts, prior_expert=len(experts) == len(self.modalities))

    def _subset_posteriors(self, posteriors: dict[str, DiagonalGaussian]) -> DiagonalGaussian:
        """(S, B, L): q_S for all S = 2^M - 1 subsets of the M posteriors, small ones first, or for some."""
        experts = list(posteriors.values())
        if len(experts) > MOST:
            return self._sampled_posteriors(experts)
        return subset_products(experts, prior_expert=len(experts) == len(self.modalities))

    def _sampled_posteriors(self, experts: Sequence[DiagonalGaussian]) -> DiagonalGaussian:
        """(S, B, L): q_S for S = 2^MOST - 1 random subsets of the M posteriors."""
        means, logvars = (torch.stack(parameters) for parameters in zip(*experts, strict=True))
        count, device = len(experts), means.device
        codes = torch.randint(1, 2**count, (2**MOST - 1, 1), device=device)
        member = (codes >> torch.arange(count, device=device)) & 1 == 1  # (S, M)
        log_precisions = (-logvars).masked_fill(~member[:, :, None, None], -math.inf)  # (S, M, B, L)
        total = log_precisions.logsumexp(1)
        everything = member.all(1) & (count == len(self.modalities))
        with_prior = torch.logaddexp(total, torch.zeros_like(total))
        total = torch.where(everything[:, None, None], with_prior, total)
        return DiagonalGaussian((means * (log_precisions - total.unsqueeze(1)).exp()).sum(1), -total)

    @staticmethod
    def _sample_by_slices(subsets: DiagonalGaussian) -> Tensor:
        """(B, L): one draw per item, from the subset whose slice of the batch it is in."""
        count, items = subsets.mean.shape[:2]
        slices = torch.arange(items, device=subsets.mean.device) // max(items // count, 1)
        which = slices.clamp(max=count - 1)
        index = which.view(1, -1, 1).expand(1, -1, subsets.mean.shape[-1])
        return DiagonalGaussian(*(p.gather(0, index)[0] for p in subsets)).rsample()
