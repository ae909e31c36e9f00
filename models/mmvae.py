"""MMVAE: mixture-of-experts VAE (Shi et al. 2019, "Variational Mixture-of-Experts Autoencoders").

The gradient is doubly reparameterised (Tucker et al. 2019, "Doubly Reparameterized Gradient Estimators for
Monte Carlo Objectives").
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.about import About, cite
from models.base import Batch, Loss, Modality
from models.named_settings import PAPER, PUBLISHED, Sourced
from models.parts.distributions import DiagonalGaussian, DiagonalLaplace, one_expert_per_item
from models.parts.gaussian import GaussianMVAE, weights_setting
from models.parts.likelihoods import likelihood_setting, scale_setting
from models.parts.networks import decode_flat
from models.parts.priors import PRIORS, PriorSettings
from models.registry import register
from models.settings import setting

__all__ = ["MMVAE", "MMVAESettings"]

FAMILIES: dict[str, type[DiagonalGaussian] | type[DiagonalLaplace]] = {
    "gaussian": DiagonalGaussian,
    "laplace": DiagonalLaplace,
}


@dataclass(frozen=True)
class MMVAESettings(PriorSettings):
    """Likelihood as published for MNIST-SVHN (github.com/iffsid/mmvae), the rest as in the comparison.

    `--set mmvae=published` is the published model: K = 30 samples and the Laplace family.
    """

    prior: str = setting(
        "family",
        "of the latent: of the family of the posteriors, N(0, I), or a learned one",
        choices=("family", *PRIORS),
        late=True,
    )
    latent_size: int = setting(40, "dimensions of the latent", low=1)
    samples: int = setting(1, "K, importance samples from each expert", low=1)
    posterior: str = setting(
        "gaussian", "family of the posteriors; laplace as published", choices=tuple(FAMILIES)
    )
    likelihood: str = likelihood_setting()
    likelihood_scale: float = scale_setting()
    modality_weights: str = weights_setting()


_CODE = "github.com/iffsid/mmvae"
_LIKELIHOOD = {
    "likelihood": Sourced("laplace", f"{_CODE}: models/vae_mnist.py and vae_svhn.py"),
    "likelihood_scale": Sourced(
        0.75, f"{_CODE}: models/vae_mnist.py; 0.1 at first, corrected in its issue 2"
    ),
    "modality_weights": Sourced("published", f"{_CODE}: models/mmvae_mnist_svhn.py, 3072/784 for MNIST"),
}
NAMED = {
    PAPER: {
        "samples": Sourced(1, "Ai et al. 2026 give no K; one sample, as far as can be told"),
        "posterior": Sourced("gaussian", "Ai et al. 2026: Gaussian posteriors and priors for every model"),
        "prior": Sourced("family", "Ai et al. 2026: N(0, I), the family of the posteriors"),
        **_LIKELIHOOD,
    },
    PUBLISHED: {
        "samples": Sourced(30, f"{_CODE}: README, flags of the released models"),
        "posterior": Sourced("laplace", f"{_CODE}: models/mmvae_mnist_svhn.py"),
        "prior": Sourced("family", f"{_CODE}: Laplace, whose scales --learn-prior learns"),
        **_LIKELIHOOD,
    },
}


@register(
    "mmvae",
    settings=MMVAESettings,
    source="Shi et al. 2019, arXiv 1911.03393",
    title="MMVAE",
    incomplete=True,
    named=NAMED,
    about=About(
        idea=(
            "The joint posterior is a mixture of experts: one modality at random says what the "
            "latent is. So every decoder is trained on latents of every single modality, which is "
            "cross generation. The objective is an importance-weighted bound with a gradient of low "
            "variance."
        ),
        formula=(
            r"q(z \mid x) = \frac{1}{M} \sum_m q_m(z \mid x_m), \qquad \mathcal{L} = -\frac{1}{M} "
            r"\sum_m \mathbb{E}_{z_{1..K} \sim q_m} \log \frac{1}{K} \sum_k \frac{p(z_k) \prod_n "
            r"p(x_n \mid z_k)^{s_n}}{q(z_k \mid x)}"
        ),
        departures=(
            "In the published code the hook for the doubly reparameterised gradient sits outside of "
            "the graph, so that it has no effect; here it has. By default there is one sample and "
            "the posterior is Gaussian, as in the comparison; `--set mmvae=published` is the "
            "published model."
        ),
        bibtex=cite("shi2019mmvae", "tucker2019dreg"),
    ),
)
class MMVAE(GaussianMVAE):
    """The posterior is the uniform mixture of the M unimodal posteriors q_m.

    The objective is the looser one of the paper's importance-weighted bounds:

    loss = -(1/M) sum_m E_{z_1..K ~ q_m} log (1/K) sum_k w_mk
    log w_mk = log p(z) + sum_n s_n log p(x_n given z) - log (1/M) sum_n q_n(z given x_n),    z = z_mk

    with s_n the modality's weight. With v_k = w_k / sum_j w_j, the decoders get the gradient sum_k v_k dlog
    w_k/dtheta, the encoders sum_k v_k^2 (dlog w_k/dz) (dz/dphi): q is detached in log w, and v multiplies the
    gradient at z once more. In the published code the hook that should do so sits on a tensor outside of the
    graph, which leaves v instead of v^2. The estimator is unbiased for K = 1; for K > 1 it is not, because
    z_mk is drawn from q_m and not from the mixture in log w. The prior is of the family of the posteriors,
    N(0, I) or Laplace with learned scales, unless another one is chosen. Of a batch that lacks modalities, m
    and n go over those that it has.
    """

    prior_spread: Tensor

    def __init__(self, modalities: Sequence[Modality], settings: MMVAESettings):
        super().__init__(modalities, settings)
        self.family = FAMILIES[settings.posterior]
        if settings.prior != "family":
            return
        # here and not in a LaplacePrior, where checkpoints of either family have it
        spread = torch.zeros(settings.latent_size)
        if self.family is DiagonalLaplace:
            self.prior_spread = torch.nn.Parameter(spread)
        else:
            self.register_buffer("prior_spread", spread)

    def loss(self, batch: Batch, progress: Tensor) -> Loss:
        observed = self.observed(batch)
        experts = self.experts(observed)
        samples = self.settings.samples
        repeated = self.family(*(p.unsqueeze(1).expand(-1, samples, -1, -1) for p in experts))
        latent = repeated.rsample()  # (M, K, B, L)
        likelihood = {
            name: self.likelihoods[name](x, decode_flat(self.decoders[name], latent))
            for name, x in observed.items()
        }
        detached = self.family(*(p.detach()[:, None, None] for p in experts))
        mixture = detached.log_prob(latent).logsumexp(0) - math.log(len(experts.mean))
        prior = self.log_prior(latent)
        log_w = prior + self.weighted(likelihood) - mixture  # (M, K, B)
        if latent.requires_grad:
            v = log_w.detach().softmax(1).unsqueeze(-1)
            latent.register_hook(lambda grad: v * grad)
        bound = (log_w.logsumexp(1) - math.log(samples)).mean()  # of which the derivative by log w is v
        terms = {f"reconstruction/{name}": -term.detach().mean() for name, term in likelihood.items()}
        return Loss(-bound, terms | {"kl": (mixture - prior).detach().mean()})

    def infer(self, inputs: Batch, sample: bool = False, generator: torch.Generator | None = None) -> Tensor:
        experts = self.experts(inputs)
        if not sample:
            return experts.mean.mean(0)
        return one_expert_per_item(experts.rsample(generator), generator)

    def prior(self, n: int, generator: torch.Generator) -> Tensor:
        if self.settings.prior != "family":
            return super().prior(n, generator)
        spread = self.prior_spread.expand(n, -1)
        return self.family(torch.zeros_like(spread), spread).rsample(generator)

    def log_prior(self, latent: Tensor) -> Tensor:
        if self.settings.prior != "family":
            return super().log_prior(latent)
        return self.family(torch.zeros_like(self.prior_spread), self.prior_spread).log_prob(latent)

    def proposal(self, inputs: Batch) -> DiagonalGaussian | DiagonalLaplace:
        return self.experts(inputs)

    def experts(self, inputs: Batch) -> DiagonalGaussian | DiagonalLaplace:
        """The unimodal posteriors of the N modalities in `inputs`, stacked: (N, B, L)."""
        parameters = torch.stack([self.encoders[name](x) for name, x in inputs.items()])
        return self.family(*parameters.chunk(2, dim=-1))
