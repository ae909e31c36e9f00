"""CLIP's objective: contrastive learning with all other pairs of the batch (Radford et al. 2021)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from models.about import About, cite
from models.base import Batch, Loss, Modality
from models.coordinated.model import CoordinatedSettings, CosineModel
from models.coordinated.objectives import contrastive, over_pairs
from models.registry import register
from models.settings import setting

__all__ = ["CLIP", "CLIPSettings"]

SHARPEST = math.log(100)  # of the scale, as published: "to prevent training instability"


@dataclass(frozen=True)
class CLIPSettings(CoordinatedSettings):
    """The temperature is where training begins; it is learned."""

    temperature: float = setting(0.07, "of the softmax over cosines, at first", low=0.01, search=(0.03, 1.0))


@register(
    "clip",
    settings=CLIPSettings,
    source="Radford et al. 2021, arXiv 2103.00020",
    title="CLIP-style",
    about=About(
        idea=(
            "Every modality is taken to the unit sphere. Of all pairs that a batch could make, the "
            "model has to find those that belong together, in both directions. The temperature of "
            "this choice is learned."
        ),
        formula=(
            r"\mathcal{L} = -\frac{1}{2N} \sum_i \left( \log \frac{e^{s_{ii} / \tau}}{\sum_j "
            r"e^{s_{ij} / \tau}} + \log \frac{e^{s_{ii} / \tau}}{\sum_j e^{s_{ji} / \tau}} \right)"
        ),
        departures=(
            "It is CLIP's objective over the encoders of the comparison, without its networks, its "
            "size and its data."
        ),
        bibtex=cite("radford2021clip"),
    ),
)
class CLIP(CosineModel):
    """Symmetric InfoNCE of cosines with a learned temperature, over the encoders of the comparison.

    Other pairs of the batch count as negatives, those of the same class too: where pairs are made by class,
    a tenth of the negatives of ten classes is wrong.
    """

    def __init__(self, modalities: Sequence[Modality], settings: CLIPSettings):
        super().__init__(modalities, settings)
        self.log_scale = nn.Parameter(torch.tensor(-math.log(settings.temperature)))

    def loss(self, batch: Batch, progress: Tensor) -> Loss:
        scale = self.log_scale.clamp(max=SHARPEST)
        total = over_pairs(self.codes(batch), partial(contrastive, log_scale=scale))
        return Loss(total, {"temperature": (-scale).exp().detach()})
