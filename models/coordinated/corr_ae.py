"""Corr-AE: autoencoders whose codes are pulled together (Feng, Wang and Li 2014)."""

from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from models.about import About, cite
from models.base import Batch, Loss
from models.coordinated.model import CoordinatedAutoencoder, CoordinatedSettings
from models.coordinated.objectives import over_pairs, squared_distance
from models.registry import register
from models.settings import setting

__all__ = ["CorrAE", "CorrAESettings"]


@dataclass(frozen=True)
class CorrAESettings(CoordinatedSettings):
    """`decodes` chooses among the three models of the paper: Corr-AE, Corr-Cross-AE, Corr-Full-AE."""

    alpha: float = setting(0.8, "weight of the distance of codes against reconstructions", low=0, high=0.999)
    decodes: str = setting(
        "own",
        "what each code is decoded to: its own modality, the others, or all",
        choices=("own", "cross", "full"),
        search=("own", "cross", "full"),
    )


@register(
    "corr-ae",
    settings=CorrAESettings,
    source="Feng et al. 2014, ACM Multimedia, 7-16",
    title="Corr-AE",
    about=About(
        idea=(
            "Every modality has an autoencoder. Beside reconstruction the codes of a pair are pulled "
            "together. Codes can be decoded to their own modality, to the other one, or to both."
        ),
        formula=r"\mathcal{L} = (1 - \alpha) \sum_m L_m + \alpha \sum_{m < n} |f_m(x_m) - f_n(x_n)|^2",
        departures=(
            "The published autoencoders stand on restricted Boltzmann machines; here they are the "
            "encoders and decoders of the comparison."
        ),
        bibtex=cite("feng2014corrae"),
    ),
)
class CorrAE(CoordinatedAutoencoder):
    """loss = (1 - alpha) sum_m L_m + alpha sum_(m < n) |f_m(x_m) - f_n(x_n)|^2

    L_m is the squared error of modality m, halved, decoded from the codes that `decodes` says. There is one
    decoder per modality, whatever code it decodes.
    """

    def loss(self, batch: Batch, progress: Tensor) -> Loss:
        s, codes = self.settings, self.codes(batch)
        kinds = {"own": (True,), "cross": (False,), "full": (True, False)}[s.decodes]
        error = torch.stack(
            [
                self.error(target, batch[target], codes[source])
                for source, target in product(codes, repeat=2)
                if (source == target) in kinds
            ]
        ).sum()
        distance = over_pairs(codes, squared_distance)
        terms = {"reconstruction": error.detach(), "distance": distance.detach()}
        return Loss((1 - s.alpha) * error + s.alpha * distance, terms)
