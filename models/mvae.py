"""MVAE: product of experts.

Wu and Goodman 2018, "Multimodal Generative Models for Scalable Weakly-Supervised Learning".
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from models.about import About, cite
from models.base import Batch, Loss
from models.named_settings import PUBLISHED, Sourced
from models.parts.distributions import DiagonalGaussian
from models.parts.gaussian import GaussianMVAE, product_of_experts, weights_setting
from models.parts.likelihoods import likelihood_setting, scale_setting
from models.parts.networks import decode_flat
from models.parts.priors import PriorSettings
from models.parts.schedules import ramp
from models.registry import register
from models.settings import setting

__all__ = ["MVAE", "MVAESettings"]


@dataclass(frozen=True)
class MVAESettings(PriorSettings):
    """beta and its warm-up as published for MNIST, likelihood and latent size as in the comparison.

    Published is github.com/mhw32/multimodal-vae-public; its mnist/train.py warms up for 200 of 500 epochs.
    """

    latent_size: int = setting(40, "dimensions of the latent", low=1)
    beta: float = setting(1.0, "final weight of the KL terms", low=0, search=(0.1, 10.0))
    annealing: float = setting(
        0.4, "share of training over which the weight of the KL terms rises from 0 to beta", low=0, high=1
    )
    likelihood: str = likelihood_setting()
    likelihood_scale: float = scale_setting()
    modality_weights: str = weights_setting()


_CODE = "github.com/mhw32/multimodal-vae-public"
NAMED = {  # the paper of the comparison does not have this model
    PUBLISHED: {
        "beta": Sourced(1.0, f"{_CODE}: mnist/train.py, the annealing factor ends at 1"),
        "annealing": Sourced(0.4, f"{_CODE}: mnist/train.py, 200 of 500 epochs"),
        "likelihood": Sourced("bernoulli", f"{_CODE}: mnist/train.py and celeba/train.py, for colours too"),
        "prior": Sourced("gaussian", f"{_CODE}: mnist/train.py, N(0, I)"),
        "modality_weights": Sourced("equal", f"{_CODE}: --lambda-image 1; images have no other weight"),
    }
}


@register(
    "mvae",
    settings=MVAESettings,
    source="Wu and Goodman 2018, arXiv 1802.05335",
    title="MVAE",
    incomplete=True,
    named=NAMED,
    about=About(
        idea=(
            "The posterior of any subset of modalities is the product of their experts and the "
            "prior. A missing modality is an expert left out, so that no further network is needed. "
            "Training adds the bounds of the single modalities to that of all together."
        ),
        formula=(
            r"q_S(z) \propto \mathcal{N}(z; 0, I) \prod_{m \in S} q_m(z \mid x_m), \qquad \mathcal{L} "
            r"= L(\{1..M\}) + \sum_m L(\{m\})"
        ),
        departures=(
            "There are no random subsets beside the full set and the single modalities (the paper's "
            "k is 0), as in published comparisons on three modalities. Reconstructions have the "
            "weights of the comparison in the place of the paper's."
        ),
        bibtex=cite("wu2018mvae"),
    ),
)
class MVAE(GaussianMVAE):
    """The posterior of a subset S of modalities is the product of its experts and the prior.

    q_S(z) is proportional to N(z; 0, I) prod_{m in S} q_m(z given x_m),    p(z) = N(z; 0, I) by default
    loss = L({1..M}) + sum_m L({m})
    L(S) = E_{z ~ q_S} sum_{m in S} w_m (-log p(x_m given z)) + beta KL(q_S || p(z))     (their equation 5)

    There are no random subsets beside the full set and the single modalities (the paper's k is 0): of two
    modalities there are no others, and published comparisons on three leave them out too (Sutter et al.
    2021). The weights w_m stand where the paper has its lambda_m (1 and 10 for MNIST's images and labels in
    its code): both keep a modality of few dimensions from being neglected. Of a batch that lacks modalities,
    {1..M} are those that it has; where that is one alone, its L({m}) counts once.

    With a learned prior p(z), the factor of q_S stays N(0, I): the product of Gaussians and a mixture or a
    flow is no Gaussian. It is then a part of the family of posteriors like any other, which makes them no
    wider than N(0, I); the bound holds for every q_S, with the learned p(z) in its KL.

    >>> from models.base import Modality
    >>> mnist, svhn = Modality("mnist", (1, 28, 28)), Modality("svhn", (3, 32, 32))
    >>> model = MVAE([mnist, svhn], MVAESettings(latent_size=8))
    >>> batch = {"mnist": torch.rand(2, 1, 28, 28), "svhn": torch.rand(2, 3, 32, 32)}
    >>> model.loss(batch, progress=torch.tensor(0.5)).total.shape
    torch.Size([])
    >>> one = model.posterior({"mnist": batch["mnist"]})
    >>> one.mean.shape
    torch.Size([2, 8])
    >>> bool((model.posterior(batch).logvar < one.logvar).all())  # another expert makes a posterior narrower
    True
    >>> model.translate({"mnist": batch["mnist"]}, ["svhn"])["svhn"].shape
    torch.Size([2, 3, 32, 32])
    """

    def loss(self, batch: Batch, progress: Tensor) -> Loss:
        observed = self.observed(batch)
        experts = list(self.posteriors(observed).values())
        subsets = [experts, *([expert] for expert in experts)] if len(experts) > 1 else [experts]
        products = [product_of_experts(subset, prior_expert=True) for subset in subsets]
        means, logvars = zip(*products, strict=True)
        posterior = DiagonalGaussian(torch.stack(means), torch.stack(logvars))
        # (1 + M, B, L), that of the full set first; (1, B, L) of one modality alone
        latent = posterior.rsample()
        joint, single = {}, {}
        for m, (name, x) in enumerate(observed.items()):
            decoded = decode_flat(self.decoders[name], torch.stack([latent[0], *latent[1 + m : 2 + m]]))
            joint[name], *rest = -self.likelihoods[name](x, decoded).mean(-1)
            if rest:
                single[name] = rest[0]
        kl = self.kl(posterior, latent).mean(-1)
        reconstruction = self.weighted(joint) + (self.weighted(single) if single else 0.0)
        total = reconstruction + self.kl_weight(progress) * kl.sum()
        terms = {f"reconstruction/{name}": term for name, term in joint.items()}
        terms |= {f"single/{name}": term for name, term in single.items()}
        terms |= {"kl": kl[0]} | ({"kl_single": kl[1:].sum()} if single else {})
        return Loss(total, {name: term.detach() for name, term in terms.items()})

    def kl_weight(self, progress: Tensor) -> Tensor | float:
        """Linear from 0 to beta over the first `annealing` of training."""
        s = self.settings
        return ramp(progress, 0.0, s.annealing, s.beta) if s.annealing else s.beta

    def infer(self, inputs: Batch, sample: bool = False, generator: torch.Generator | None = None) -> Tensor:
        posterior = self.posterior(inputs)
        return posterior.rsample(generator) if sample else posterior.mean

    def proposal(self, inputs: Batch) -> DiagonalGaussian:
        return DiagonalGaussian(*(parameter.unsqueeze(0) for parameter in self.posterior(inputs)))

    def experts(self, inputs: Batch) -> DiagonalGaussian:
        """(N, B, L): q_S of each modality in `inputs` alone."""
        return product_of_experts([super().experts(inputs)], prior_expert=True)

    def posterior(self, inputs: Batch) -> DiagonalGaussian:
        """q_S of the modalities in `inputs`: (B, L)."""
        return product_of_experts(list(self.posteriors(inputs).values()), prior_expert=True)
