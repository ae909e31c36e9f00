"""Priors of a shared latent, fixed or learned with the model, behind one interface.

`PriorSettings` are the settings that choose one; the models that take them are subclasses of
`models.parts.shared_prior.SharedPriorModel`. Shapes: L latent dimensions, M modalities, K components or
pseudo-items.
"""

import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.base import Batch, Modality
from models.errors import InputError
from models.parts.distributions import DiagonalGaussian, DiagonalLaplace
from models.parts.flows import CouplingFlow
from models.settings import setting

__all__ = [
    "PRIORS",
    "FlowPrior",
    "LaplacePrior",
    "MixturePrior",
    "Prior",
    "PriorSettings",
    "StandardNormal",
    "VampPrior",
]

PRIORS = ("gaussian", "laplace", "mixture", "vampprior", "flow")
FLOW_LAYERS, FLOW_HIDDEN = 6, 128  # of the flow prior
EM_ITERATIONS = 50
LEAST_VARIANCE = 1e-3  # of a component at its start, in mean squares of the latents


@dataclass(frozen=True)
class PriorSettings:
    """The prior of the shared latent; N(0, I) unless another one is asked for."""

    prior: str = setting(
        "gaussian",
        "of the shared latent: gaussian is N(0, I), the others are learned",
        choices=PRIORS,
        late=True,
    )
    prior_components: int = setting(
        50, "components of a mixture, pseudo-items of a VampPrior", low=1, late=True
    )
    prior_starts: int = setting(
        4, "starts of a mixture from latents of the data, at even distances", low=1, late=True
    )


class Prior(nn.Module, ABC):
    """A distribution of latents.

    Attributes:
        starts: shares of the training, rising from 0, at which it is to be started from data.
    """

    starts: tuple[float, ...] = ()

    @abstractmethod
    def log_prob(self, z: Tensor) -> Tensor:
        """(*leading,): the normalised log-density of z (*leading, L), in nats."""

    @abstractmethod
    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """(n, L): draws on the generator's device, all randomness from it."""

    def start(self, latents: Tensor, items: Batch) -> None:
        """Begin, or begin again, where the data are; nothing in a prior without `starts`.

        Args:
            latents: (N, L), one draw from the model's posterior for each of N train items.
            items: modality name -> train items (B, *shape).
        """


class StandardNormal(Prior):
    """N(0, I), which has nothing to learn."""

    def __init__(self, size: int):
        super().__init__()
        self.size = size

    def log_prob(self, z: Tensor) -> Tensor:
        return DiagonalGaussian(torch.zeros_like(z), torch.zeros_like(z)).log_prob(z)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        return torch.randn(n, self.size, generator=generator, device=generator.device)


class LaplacePrior(Prior):
    """Independent Laplace distributions around 0 with learned scales that add up to L (Shi et al. 2019)."""

    def __init__(self, size: int):
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(size))

    def log_prob(self, z: Tensor) -> Tensor:
        return DiagonalLaplace(torch.zeros_like(self.logits), self.logits).log_prob(z)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        logits = self.logits.expand(n, -1)
        return DiagonalLaplace(torch.zeros_like(logits), logits).rsample(generator)


class MixturePrior(Prior):
    """p(z) = sum_k pi_k N(z; mu_k, diag sigma_k^2), normalised in scale.

    The learned means and standard deviations are both divided by sqrt(sum_k pi_k (|mu_k|^2 + |sigma_k|^2) /
    (s L)), so that E|z|^2 = s L whatever is learned: without that, an objective that gains from larger
    latents, as a contrast of inner products does, would let the prior grow with them for ever. s is 1, and
    from a start on the mean square of the latents that the mixture was fitted to. A mixture held to s = 1
    while the latents are of another size is a prior beside its data.

    Before its first start all components are alike, N(0, I) but for what all of them learn, so that the
    mixture finds no clusters before the latents have some.

    Args:
        size: L.
        components: K.
        starts: how many times it is fitted to latents (diagonal covariances, expectation-maximisation from
            k-means), at even distances that divide the training.
    """

    scale: Tensor

    def __init__(self, size: int, components: int, starts: int = 1):
        super().__init__()
        self.starts = tuple((number + 1) / (starts + 1) for number in range(starts))
        self.means = nn.Parameter(torch.zeros(components, size))
        self.log_scales = nn.Parameter(torch.zeros(components, size))
        self.logits = nn.Parameter(torch.zeros(components))
        self.register_buffer("scale", torch.ones(()))

    def components(self) -> tuple[DiagonalGaussian, Tensor]:
        """The normalised components (K, L), and the logarithms of their weights (K,)."""
        log_weights = self.logits.log_softmax(0)
        squares = self.means.square() + (2 * self.log_scales).exp()
        shrink = self.scale / (log_weights.exp() @ squares).mean()
        return DiagonalGaussian(self.means * shrink.sqrt(), 2 * self.log_scales + shrink.log()), log_weights

    def log_prob(self, z: Tensor) -> Tensor:
        with torch.autocast(z.device.type, enabled=False):  # matrix products, whose differences are summed
            components, log_weights = self.components()
            precision = torch.exp(-components.logvar)
            # sum_l (z_l - mu_l)^2 / sigma_l^2, without the (*leading, K, L) of its terms
            distance = z.square() @ precision.T - 2 * z @ (components.mean * precision).T
            distance = distance + (components.mean.square() * precision).sum(-1)
            constant = (components.logvar + math.log(2 * math.pi)).sum(-1)
            return (log_weights - 0.5 * (distance + constant)).logsumexp(-1)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        components, log_weights = self.components()
        which = torch.multinomial(log_weights.exp(), n, replacement=True, generator=generator)
        return DiagonalGaussian(components.mean[which], components.logvar[which]).rsample(generator)

    @torch.no_grad()
    def start(self, latents: Tensor, items: Batch) -> None:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.mixture import GaussianMixture
        from threadpoolctl import threadpool_limits

        if len(latents) < len(self.logits):
            raise InputError(
                f"A mixture of {len(self.logits)} components cannot start from {len(latents)} latents: "
                "choose fewer prior_components, or larger batches."
            )
        if not latents.isfinite().all():
            raise InputError(
                "The latents that the prior is to start from are not finite: the training has diverged. "
                "Choose a lower learning_rate."
            )
        least = LEAST_VARIANCE * float(latents.square().mean())
        mixture = GaussianMixture(
            len(self.logits), covariance_type="diag", reg_covar=least, max_iter=EM_ITERATIONS, random_state=0
        )
        with warnings.catch_warnings(), threadpool_limits(1):  # threads would add up in the order they come
            warnings.simplefilter("ignore", ConvergenceWarning)  # it is a start, and learned from here on
            mixture.fit(latents.double().cpu().numpy())
        squares = torch.from_numpy(mixture.means_**2 + mixture.covariances_)
        self.scale.copy_((torch.from_numpy(mixture.weights_) @ squares).mean())
        self.means.copy_(torch.from_numpy(mixture.means_))
        self.log_scales.copy_(0.5 * torch.from_numpy(mixture.covariances_).log())
        self.logits.copy_(torch.from_numpy(mixture.weights_).log())


class FlowPrior(Prior):
    """z = g^-1(n) with n ~ N(0, I): log p(z) = log N(g(z); 0, I) + log|det dg/dz|, g of coupling layers."""

    def __init__(self, size: int):
        super().__init__()
        self.base = StandardNormal(size)
        self.flow = CouplingFlow(size, FLOW_LAYERS, FLOW_HIDDEN)

    def log_prob(self, z: Tensor) -> Tensor:
        n, logdet = self.flow(z)
        return self.base.log_prob(n) + logdet

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        return self.flow.inverse(self.base.sample(n, generator))


LogPosteriors = Callable[[Batch, Tensor], Tensor]
"""(items of K each, z (*leading, L)) -> (M, *leading, K): log q_m(z given item k of modality m), in nats."""
Draw = Callable[[Batch, bool, torch.Generator], Tensor]
"""`infer` of a model with a shared latent."""


class VampPrior(Prior):
    """p(z) = 1/(M K) sum_m sum_k q_m(z given v_mk): the model's posteriors of K learned pseudo-items v_k.

    Tomczak and Welling 2018, "VAE with a VampPrior"; of each modality alone, as there is no posterior of all
    modalities that every model has. A pseudo-item is kept within the range of data: a
    sigmoid of what is learned, or a softmax over the symbols of a categorical modality. It starts as a train
    item, moved away from the bounds so that it can be learned (see `_edge`).

    Args:
        modalities: of the model.
        count: K.
        log_posteriors, draw: the model's.
    """

    starts = (0.0,)

    def __init__(self, modalities: Sequence[Modality], count: int, log_posteriors: LogPosteriors, draw: Draw):
        super().__init__()
        self.count, self.log_posteriors, self.draw = count, log_posteriors, draw
        self.symbolic = {m.name for m in modalities if m.likelihood == "categorical"}
        self.edges = {m.name: _edge(m) for m in modalities}
        self.raw = nn.ParameterDict({m.name: nn.Parameter(torch.randn(count, *m.shape)) for m in modalities})

    def items(self) -> dict[str, Tensor]:
        """Modality name -> pseudo-items (K, *shape)."""
        return {
            name: raw.softmax(-1) if name in self.symbolic else raw.sigmoid()
            for name, raw in self.raw.items()
        }

    def log_prob(self, z: Tensor) -> Tensor:
        # (M, *leading, K), by way of (M, *leading, K, L): products of matrices, as a mixture has them, would
        # cancel in float32 where posteriors are narrow
        components = self.log_posteriors(self.items(), z)
        return components.logsumexp((0, -1)) - math.log(len(components) * self.count)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        items, device = self.items(), generator.device
        which = torch.randint(self.count, (n,), generator=generator, device=device)
        draws = torch.stack([self.draw({name: x[which]}, True, generator) for name, x in items.items()])
        modality = torch.randint(len(draws), (n,), generator=generator, device=device)
        return draws[modality, torch.arange(n, device=device)]

    @torch.no_grad()
    def start(self, latents: Tensor, items: Batch) -> None:
        if lacking := [name for name in self.raw if name not in items]:
            raise InputError(
                "A VampPrior starts from train items, and the first batches have none of "
                f"{', '.join(lacking)}: let more of it be observed (--observe), or choose another prior."
            )
        for name, x in items.items():
            rows = torch.arange(self.count, device=x.device) % len(x)  # all of them, where they are few
            edge = self.edges[name]
            inside = edge + (1 - 2 * edge) * x[rows]
            self.raw[name].copy_(inside.log() if name in self.symbolic else inside.logit())


def _edge(modality: Modality) -> float:
    """How far from the bounds 0 and 1 the values of a pseudo-item start: 5 % of the range, but of symbols.

    Most symbols do not occur in an item. So all of a text position's together, or all of a bag of words', are
    5 % off, and of Poisson counts each is a twentieth of a count.
    """
    if modality.likelihood == "categorical":
        return 0.05 / modality.shape[-1]
    if modality.likelihood == "multinomial":
        return 0.05 / math.prod(modality.shape)
    return 0.05 / max(modality.words, 1)
