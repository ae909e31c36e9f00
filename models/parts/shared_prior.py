"""The base of models with a shared latent whose prior is chosen by a setting."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from models.base import Batch, Loss, Modality, SharedLatentModel, Stage
from models.errors import InputError
from models.parts.distributions import DiagonalGaussian
from models.parts.priors import (
    FlowPrior,
    LaplacePrior,
    MixturePrior,
    Prior,
    PriorSettings,
    StandardNormal,
    VampPrior,
)

__all__ = ["SharedPriorModel"]

START_BATCHES = 40  # whose latents a prior starts from


class SharedPriorModel(SharedLatentModel):
    """A model whose shared latent has the prior of its settings, N(0, I) where they are no `PriorSettings`.

    Its settings have `latent_size`. A prior that starts from data divides the training into stages: of the
    same loss and the same parameters, the start at the beginning of each. `progress` is that of the whole.
    """

    def __init__(self, modalities: Sequence[Modality], settings: Any):
        super().__init__(modalities, settings)
        self.latent_prior = self.make_prior(
            settings if isinstance(settings, PriorSettings) else PriorSettings()
        )

    def make_prior(self, settings: PriorSettings) -> Prior:
        """The prior that the settings ask for; N(0, I) for a word of a subclass that has one of its own."""
        size = self.settings.latent_size
        if settings.prior == "laplace":
            return LaplacePrior(size)
        if settings.prior == "mixture":
            return MixturePrior(size, settings.prior_components, settings.prior_starts)
        if settings.prior == "vampprior":
            modalities = list(self.modalities.values())
            return VampPrior(modalities, settings.prior_components, self.log_posteriors, self.infer_shared)
        if settings.prior == "flow":
            if size < 2:
                raise InputError(
                    f"prior=flow takes a latent_size of 2 or more, not {size}: its layers change one half of "
                    "the dimensions given the other. Choose another prior, or a larger latent_size."
                )
            return FlowPrior(size)
        return StandardNormal(size)

    def log_posteriors(self, inputs: Batch, latent: Tensor) -> Tensor:
        """(N, *leading, K): log q_m(z given x_k), in nats, of every z (*leading, L) and each of K items.

        Of the shared latent z, where a model has others too.

        N is the number of modalities in `inputs`, each of which is alone in its posterior.

        Raises:
            InputError: in a model that does not write it.
        """
        raise InputError(
            f"{type(self).__name__} has no posterior densities, which prior=vampprior is made of: choose "
            "another prior, or write its `log_posteriors`."
        )

    def infer_shared(
        self, inputs: Batch, sample: bool = False, generator: torch.Generator | None = None
    ) -> Tensor:
        """(B, L): `infer`, or the part of it that has the prior."""
        return self.infer(inputs, sample, generator)

    def prior(self, n: int, generator: torch.Generator) -> Tensor:
        return self.latent_prior.sample(n, generator)

    def log_prior(self, latent: Tensor) -> Tensor:
        """(*leading,): the prior's log-density of (*leading, L), in nats."""
        return self.latent_prior.log_prob(latent)

    def kl(self, posterior: DiagonalGaussian, latent: Tensor | None = None) -> Tensor:
        """(*leading,): KL(q || p) to the prior in nats, or an estimate without bias.

        In closed form for N(0, I); of any other prior log q(z) - log p(z).

        Args:
            posterior: q, of shape (*leading, L).
            latent: the draw z (*leading, L); a new one where there is none.
        """
        if isinstance(self.latent_prior, StandardNormal):
            return posterior.kl()
        latent = posterior.rsample() if latent is None else latent
        return posterior.log_prob(latent) - self.log_prior(latent)

    def stages(self) -> tuple[Stage, ...]:
        starts = self.latent_prior.starts
        if not starts:
            return super().stages()
        bounds = sorted({0.0, *starts, 1.0})
        return tuple(
            Stage(
                f"train from {first:.0%}",
                last - first,
                self._loss_between(first, last),
                tuple(self.parameters()),
                self.start_prior if first in starts else None,
            )
            for first, last in pairwise(bounds)
        )

    def _loss_between(self, first: float, last: float) -> Callable[[Batch, Tensor], Loss]:
        """The loss of a stage between two shares of the training, called with the stage's own progress."""
        return lambda batch, progress: self.loss(batch, first + (last - first) * progress)

    def start_prior(self, batches: Callable[[int], Batch]) -> None:
        """Start the prior from train items: a draw from the posterior of every item, each alone."""
        drawn: list[Tensor] = []
        items: dict[str, list[Tensor]] = {}
        for number in range(START_BATCHES):
            for name, x in batches(number).items():
                if not drawn:  # a generator of its own: the noise of training is not touched
                    generator = torch.Generator(x.device).manual_seed(0)
                drawn.append(self.infer_shared({name: x}, sample=True, generator=generator))
                items.setdefault(name, []).append(x)
        self.latent_prior.start(torch.cat(drawn), {name: torch.cat(found) for name, found in items.items()})
