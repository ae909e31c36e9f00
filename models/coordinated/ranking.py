"""Hinge losses of triplets: MNLM over all negatives of the batch, VSE++ over the hardest one."""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from torch import Tensor

from models.base import Batch, Loss
from models.coordinated.model import CoordinatedSettings, CosineModel, margin_setting
from models.coordinated.objectives import over_pairs, ranking
from models.registry import register

__all__ = ["MNLM", "RankingSettings", "VSEPlusPlus"]


@dataclass(frozen=True)
class RankingSettings(CoordinatedSettings):
    """A margin of 0.2, as published for both."""

    margin: float = margin_setting()


@register(
    "mnlm",
    settings=RankingSettings,
    source="Kiros, Salakhutdinov and Zemel 2014, arXiv 1411.2539",
    title="MNLM",
)
class MNLM(CosineModel):
    """sum_i sum_(j != i) [m - s_ii + s_ij]_+ + [m - s_ii + s_ji]_+, s the cosines: see `ranking`.

    The published model has a language model as decoder besides, which is left out.
    """

    hardest: ClassVar[bool] = False

    def loss(self, batch: Batch, progress: Tensor) -> Loss:
        objective = partial(ranking, margin=self.settings.margin, hardest=self.hardest)
        return Loss(over_pairs(self.codes(batch), objective), {})


@register("vsepp", settings=RankingSettings, source="Faghri et al. 2018, BMVC", title="VSE++")
class VSEPlusPlus(MNLM):
    """The same with the hardest negative alone.

    Where pairs are made by class, the hardest negative of a batch is nearly always of the class of the item,
    and no negative at all: the model was made for pairs of which each belongs together as no other does.
    """

    hardest = True
