"""What coordinated models share: an encoder per modality, and the space that its codes are compared in."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from models.base import Batch, EmbeddingModel, Loss, Modality
from models.coordinated.objectives import unit
from models.parts.likelihoods import make_likelihood
from models.parts.networks import make_decoder, make_encoder
from models.settings import setting

__all__ = [
    "CoordinatedAutoencoder",
    "CoordinatedModel",
    "CoordinatedSettings",
    "CosineModel",
    "margin_setting",
]


@dataclass(frozen=True)
class CoordinatedSettings:
    """What all of them have; the space is as large as the latents of the comparison."""

    latent_size: int = setting(40, "dimensions of the common space", low=1)


def margin_setting() -> Any:
    """The setting `margin`, of hinge losses."""
    return setting(0.2, "margin between matching and other pairs, in cosines", low=0, search=(0.05, 0.5))


class CoordinatedModel(EmbeddingModel):
    """An encoder per modality, as the VAEs have it. Several modalities are at the mean of their codes."""

    def __init__(self, modalities: Sequence[Modality], settings: Any):
        super().__init__(modalities, settings)
        self.encoders = nn.ModuleDict({m.name: make_encoder(m, settings.latent_size) for m in modalities})

    def codes(self, inputs: Batch) -> dict[str, Tensor]:
        """Modality name -> (B, L), in the order of the model's modalities."""
        return {name: self.encoders[name](x) for name, x in self.observed(inputs).items()}

    def embed(self, inputs: Batch) -> Tensor:
        return torch.stack(list(self.codes(inputs).values())).mean(0)


class CosineModel(CoordinatedModel):
    """A model that compares codes by their cosines: they are on the unit sphere."""

    def codes(self, inputs: Batch) -> dict[str, Tensor]:
        return {name: unit(code) for name, code in super().codes(inputs).items()}


class CoordinatedAutoencoder(CoordinatedModel):
    """A decoder per modality besides, for reconstructions in the loss."""

    def __init__(self, modalities: Sequence[Modality], settings: Any):
        super().__init__(modalities, settings)
        self.decoders = nn.ModuleDict({m.name: make_decoder(m, settings.latent_size) for m in modalities})
        # up to a constant, the log-density of standard deviation 1 is half of the squared error
        self.likelihoods = nn.ModuleDict({m.name: make_likelihood(m, "gaussian", 1.0) for m in modalities})

    def errors(self, batch: Batch, codes: Batch) -> dict[str, Tensor]:
        """Modality name -> a scalar, the mean over the batch of |x_m - D_m(code)|^2 / 2, with its own code.

        A modality with a likelihood of its own has the negative log-likelihood in the place of that.
        """
        return {name: self.error(name, batch[name], code) for name, code in codes.items()}

    def error(self, name: str, x: Tensor, code: Tensor) -> Tensor:
        """What `errors` has of one modality, decoded from any code (B, L)."""
        return -self.likelihoods[name](x, self.decoders[name](code)).mean()

    def reconstruction_loss(self, batch: Batch, progress: Tensor) -> Loss:
        """The autoencoders alone, each by itself."""
        errors = self.errors(batch, self.codes(batch))
        terms = {f"reconstruction/{name}": error.detach() for name, error in errors.items()}
        return Loss(torch.stack(list(errors.values())).sum(), terms)
