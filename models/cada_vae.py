"""CADA-VAE: cross- and distribution-aligned VAEs (Schoenfeld, Ebrahimi, Sinha, Darrell and Akata 2019)."""

from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor, nn

from models.about import About, cite
from models.base import Batch, Loss, Modality, NotDefinedError
from models.errors import InputError
from models.named_settings import PAPER, PUBLISHED, Sourced
from models.parts.distributions import DiagonalGaussian, one_expert_per_item
from models.parts.gaussian import GaussianMVAE
from models.parts.likelihoods import make_likelihood
from models.parts.networks import decode_flat
from models.parts.priors import PriorSettings
from models.parts.schedules import ramp
from models.registry import register
from models.settings import setting

__all__ = ["CADAVAE", "CADAVAESettings", "wasserstein"]

_EPSILON = 1e-8  # under the root, whose slope is infinite at 0


@dataclass(frozen=True)
class CADAVAESettings(PriorSettings):
    """Weights and warm-ups as published (github.com/edgarschnfld/CADA-VAE-PyTorch, single_experiment.py).

    There a warm-up is given in epochs of 100 (beta 0 to 93, cross 21 to 75, distance 6 to 22), here in shares
    of the training.
    """

    latent_size: int = setting(40, "dimensions of the latent", low=1)
    beta: float = setting(0.25, "final weight of the KL terms", low=0, search=(0.05, 5.0))
    beta_start: float = setting(0.0, "share of training at which beta leaves 0", low=0, high=1)
    beta_end: float = setting(0.93, "share of training at which beta is final", low=0, high=1)
    cross: float = setting(
        2.37, "gamma, final weight of the cross reconstructions", low=0, search=(0.5, 10.0)
    )
    cross_start: float = setting(0.21, "share of training at which gamma leaves 0", low=0, high=1)
    cross_end: float = setting(0.75, "share of training at which gamma is final", low=0, high=1)
    distance: float = setting(
        8.13, "delta, final weight of the distances between posteriors", low=0, search=(1.0, 40.0)
    )
    distance_start: float = setting(0.06, "share of training at which delta leaves 0", low=0, high=1)
    distance_end: float = setting(0.22, "share of training at which delta is final", low=0, high=1)

    def __post_init__(self) -> None:
        for name in ("beta", "cross", "distance"):
            start, end = getattr(self, f"{name}_start"), getattr(self, f"{name}_end")
            if start >= end:
                raise InputError(
                    f"Settings {name}_start={start:g} and {name}_end={end:g} of cada-vae are not usable: "
                    "the start must come before the end."
                )


_CODE = "github.com/edgarschnfld/CADA-VAE-PyTorch: model/single_experiment.py"
_PUBLISHED = {
    "prior": Sourced("gaussian", f"{_CODE}, N(0, I)"),
    "beta": Sourced(0.25, _CODE),
    "beta_start": Sourced(0.0, f"{_CODE}, epoch 0 of 100"),
    "beta_end": Sourced(0.93, f"{_CODE}, epoch 93 of 100"),
    "cross": Sourced(2.37, _CODE),
    "cross_start": Sourced(0.21, f"{_CODE}, epoch 21 of 100"),
    "cross_end": Sourced(0.75, f"{_CODE}, epoch 75 of 100"),
    "distance": Sourced(8.13, _CODE),
    "distance_start": Sourced(0.06, f"{_CODE}, epoch 6 of 100"),
    "distance_end": Sourced(0.22, f"{_CODE}, epoch 22 of 100"),
}
NAMED = {
    PAPER: {
        key: Sourced(value, f"not in Ai et al. 2026; as published: {source}")
        for key, (value, source) in _PUBLISHED.items()
    },
    PUBLISHED: _PUBLISHED,
}


def wasserstein(a: DiagonalGaussian, b: DiagonalGaussian) -> Tensor:
    """(*leading,): the 2-Wasserstein distance of diagonal Gaussians a and b, both (*leading, L).

    W_2 = sqrt(|mu_a - mu_b|^2 + |sigma_a - sigma_b|^2)
    """
    spread = torch.exp(0.5 * a.logvar) - torch.exp(0.5 * b.logvar)
    return ((a.mean - b.mean).square() + spread.square()).sum(-1).add(_EPSILON).sqrt()


class NegativeL1(nn.Module):
    """-|x - mean|_1, summed over an item, so that a cost is the L1 distance and nothing else.

    It is a Laplace log-density of scale 1 without its constant.
    """

    def forward(self, x: Tensor, mean: Tensor) -> Tensor:
        """(*leading,) from x (B, *shape) and mean (*leading, *shape), where leading ends in B."""
        return -(mean - x).abs().sum(tuple(range(1 - x.dim(), 0)))


@register(
    "cada-vae",
    settings=CADAVAESettings,
    source="Schönfeld et al. 2019, arXiv 1812.01784",
    title="CADA-VAE",
    incomplete=True,
    named=NAMED,
    about=About(
        idea=(
            "Every modality has a VAE, and all latents are of one space. Each decoder also learns to "
            "decode the latents of the other modalities, and a distance pulls the posteriors of a "
            "pair together. The weights of these terms are warmed up during training."
        ),
        formula=(
            r"\mathcal{L} = \sum_m \left( |x_m - D_m(z_m)|_1 + \beta \, \mathrm{KL}(q_m \| p) \right) "
            r"+ \gamma \sum_{n \neq m} |x_m - D_m(z_n)|_1 + \delta \sum_{n < m} W_2(q_n, q_m)"
        ),
        departures=(
            "It was published for features of images and attributes of classes, here it has the "
            "networks of the comparison. The published code reads a variance in two ways and shares "
            "one noise among the dimensions of a latent; here it is a log-variance throughout, and "
            "noise is independent. The posterior given several modalities, which the paper does not "
            "need, is the mixture of those given each."
        ),
        bibtex=cite("schonfeld2019cada"),
    ),
)
class CADAVAE(GaussianMVAE):
    """A VAE per modality; each decoder also sees the others' latents, and posteriors are pulled together.

    loss = sum_m |x_m - D_m(z_m)|_1 + beta sum_m KL(q_m || p(z))
           + gamma sum_{n != m} |x_m - D_m(z_n)|_1 + delta sum_{n < m} W_2(q_n, q_m)

    with p(z) = N(0, I) unless a learned prior is chosen, and beta, gamma and delta warmed up. L1 is summed
    over the dimensions of an item and averaged over the batch; a modality with a likelihood of its own has
    the negative log-likelihood in its place. The published code reads the second head as log sigma when it
    samples and as log sigma^2 elsewhere, and shares one noise among the dimensions of a latent; here it is
    log sigma^2 throughout, and noise is independent. Of a batch that lacks modalities, m and n go over those
    that it has; one alone leaves the loss of its VAE.

    The posterior given several modalities, which the paper does not need, is the uniform mixture of the q_m:
    each decoder is trained on draws from every one of them alone. A draw takes one q_m per item at random,
    the mean is that of the means.
    """

    def likelihood(self, modality: Modality) -> nn.Module:
        return make_likelihood(modality, modality.likelihood) if modality.likelihood else NegativeL1()

    def loss(self, batch: Batch, progress: Tensor) -> Loss:
        s = self.settings
        observed = self.observed(batch)
        posteriors = list(self.posteriors(observed).values())
        latents = torch.stack([p.rsample() for p in posteriors])  # (M, B, L)
        own, cross = [], []
        for m, (name, x) in enumerate(observed.items()):
            # (M,): by the source of the latent
            cost = -self.likelihoods[name](x, decode_flat(self.decoders[name], latents)).mean(-1)
            own.append(cost[m])
            cross.append(cost.sum() - cost[m])
        kl = torch.stack([self.kl(p, z).mean() for p, z in zip(posteriors, latents, strict=True)]).sum()
        total = torch.stack(own).sum() + ramp(progress, s.beta_start, s.beta_end, s.beta) * kl
        terms = {f"reconstruction/{name}": term for name, term in zip(observed, own, strict=True)}
        if len(observed) > 1:
            distance = torch.stack([wasserstein(a, b).mean() for a, b in combinations(posteriors, 2)]).sum()
            total = total + ramp(progress, s.cross_start, s.cross_end, s.cross) * torch.stack(cross).sum()
            total = total + ramp(progress, s.distance_start, s.distance_end, s.distance) * distance
            terms |= {f"cross/{name}": term for name, term in zip(observed, cross, strict=True)}
            terms["distance"] = distance
        terms["kl"] = kl
        return Loss(total, {name: term.detach() for name, term in terms.items()})

    def infer(self, inputs: Batch, sample: bool = False, generator: torch.Generator | None = None) -> Tensor:
        posteriors = self.posteriors(inputs).values()
        if not sample:
            return torch.stack([p.mean for p in posteriors]).mean(0)
        return one_expert_per_item(torch.stack([p.rsample(generator) for p in posteriors]), generator)

    def proposal(self, inputs: Batch) -> DiagonalGaussian:
        raise NotDefinedError("CADA-VAE measures reconstructions by their L1 distance, which is no density.")
