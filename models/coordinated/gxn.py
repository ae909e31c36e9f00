"""GXN: codes that are ranked and that the other modality is decoded from (Gu et al. 2018), in part."""

from dataclasses import dataclass
from functools import partial
from itertools import permutations

import torch
from torch import Tensor

from models.about import About, cite
from models.base import Batch, Loss
from models.coordinated.model import CoordinatedAutoencoder, CoordinatedSettings, margin_setting
from models.coordinated.objectives import over_pairs, ranking, unit
from models.registry import register
from models.settings import setting

__all__ = ["GXN", "GXNSettings"]


@dataclass(frozen=True)
class GXNSettings(CoordinatedSettings):
    """The margin of the ranking, and how much it counts."""

    margin: float = margin_setting()
    ranking: float = setting(100.0, "weight of the ranking against reconstructions", low=0, search=(1.0, 1e3))
    hardest: bool = setting(
        False, "rank the hardest negative of the batch alone, as published", search=(False, True)
    )


@register(
    "gxn",
    settings=GXNSettings,
    source="Gu et al. 2018, CVPR, 7181-7189",
    title="GXN (in part)",
    about=About(
        idea=(
            "An item and its partner are ranked before other pairs. The code of an item is also "
            "decoded to its partner, so that it has to hold what the other modality looks like. "
            "Codes are on the unit sphere."
        ),
        formula=(
            r"\mathcal{L} = w \sum_{m < n} \mathrm{ranking}(c_m, c_n) + \frac{1}{2} \sum_{m \neq n} "
            r"|x_n - D_n(c_m)|^2"
        ),
        departures=(
            "Its discriminators of images and the reinforcement of captions are left out: it is the "
            "published model in part."
        ),
        bibtex=cite("gu2018gxn"),
    ),
)
class GXN(CoordinatedAutoencoder):
    """loss = w sum_(m < n) ranking(c_m, c_n) + sum_(m != n) |x_n - D_n(c_m)|^2 / 2

    with codes c_m = f_m(x_m) / |f_m(x_m)|.

    "Look, imagine and match": an item is decoded from the code of its partner. Of the published model its
    discriminators of images and the reinforcement of captions are left out: nothing here makes images or
    captions that would need them.
    """

    def codes(self, inputs: Batch) -> dict[str, Tensor]:
        return {name: unit(code) for name, code in super().codes(inputs).items()}

    def loss(self, batch: Batch, progress: Tensor) -> Loss:
        s, codes = self.settings, self.codes(batch)
        ranked = over_pairs(codes, partial(ranking, margin=s.margin, hardest=s.hardest))
        across = torch.stack(
            [self.error(to, batch[to], codes[source]) for source, to in permutations(codes, 2)]
        ).sum()
        return Loss(s.ranking * ranked + across, {"ranking": ranked.detach(), "across": across.detach()})
