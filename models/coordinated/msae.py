"""MSAE: autoencoders that are trained by themselves first and joined then (Wang et al. 2014)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from models.about import About, cite
from models.base import Batch, Loss, Stage
from models.coordinated.model import CoordinatedAutoencoder, CoordinatedSettings
from models.coordinated.objectives import over_pairs, squared_distance
from models.registry import register
from models.settings import setting

__all__ = ["MSAE", "MSAESettings"]


@dataclass(frozen=True)
class MSAESettings(CoordinatedSettings):
    """Of both stages."""

    pretraining: float = setting(0.5, "share of the steps before the codes are joined", low=0.01, high=0.99)
    distance: float = setting(1.0, "weight of the distance of codes", low=0, search=(0.1, 100.0))


@register(
    "msae",
    settings=MSAESettings,
    source="Wang et al. 2014, PVLDB 7, 649-660",
    title="MSAE",
    about=About(
        idea=(
            "Every modality has an autoencoder, which is first trained by itself. Then all are "
            "trained together, with their codes pulled together. So modalities first learn what they "
            "are, and then what they share."
        ),
        formula=(
            r"\mathcal{L}_1 = \sum_m L_m, \qquad \mathcal{L}_2 = \sum_m L_m + \beta \sum_{m < n} "
            r"|f_m(x_m) - f_n(x_n)|^2"
        ),
        departures=(
            "The published autoencoders are stacks that are trained layer by layer; here each is "
            "trained as a whole."
        ),
        bibtex=cite("wang2014msae"),
    ),
)
class MSAE(CoordinatedAutoencoder):
    """Stage 1: sum_m L_m. Stage 2: sum_m L_m + b sum_(m < n) |f_m(x_m) - f_n(x_n)|^2

    L_m is the squared error of modality m, halved. The published autoencoders are stacks that are trained
    layer by layer; here each is the encoder and decoder of the comparison, trained as a whole.
    """

    def stages(self) -> tuple[Stage, ...]:
        share, parameters = self.settings.pretraining, tuple(self.parameters())
        return (
            Stage("each alone", share, self.loss, parameters),
            Stage("joined", 1 - share, self.joint_loss, parameters),
        )

    def loss(self, batch: Batch, progress: Tensor) -> Loss:
        return self.reconstruction_loss(batch, progress)

    def joint_loss(self, batch: Batch, progress: Tensor) -> Loss:
        """Reconstructions and distances."""
        codes = self.codes(batch)
        error = torch.stack(list(self.errors(batch, codes).values())).sum()
        distance = over_pairs(codes, squared_distance)
        terms = {"reconstruction": error.detach(), "distance": distance.detach()}
        return Loss(error + self.settings.distance * distance, terms)
