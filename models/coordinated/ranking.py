"""Hinge losses of triplets: MNLM over all negatives of the batch, VSE++ over the hardest one."""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from torch import Tensor

from models.about import About, cite
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
    about=About(
        idea=(
            "Every modality is taken to the unit sphere. An item has to be closer to its partner "
            "than to any other item of the batch, by a margin. All negatives count."
        ),
        formula=r"\mathcal{L} = \sum_i \sum_{j \neq i} [m - s_{ii} + s_{ij}]_+ + [m - s_{ii} + s_{ji}]_+",
        departures="The published model has a language model as decoder besides, which is left out.",
        bibtex=cite("kiros2014mnlm"),
    ),
)
class MNLM(CosineModel):
    """sum_i sum_(j != i) [m - s_ii + s_ij]_+ + [m - s_ii + s_ji]_+, s the cosines: see `ranking`.

    The published model has a language model as decoder besides, which is left out.
    """

    hardest: ClassVar[bool] = False

    def loss(self, batch: Batch, progress: Tensor) -> Loss:
        objective = partial(ranking, margin=self.settings.margin, hardest=self.hardest)
        return Loss(over_pairs(self.codes(batch), objective), {})


@register(
    "vsepp",
    settings=RankingSettings,
    source="Faghri et al. 2018, BMVC",
    title="VSE++",
    about=About(
        idea=(
            "Every modality is taken to the unit sphere. An item has to be closer to its partner "
            "than to the hardest other item of the batch, by a margin. Only this one negative counts."
        ),
        formula=(
            r"\mathcal{L} = \sum_i \max_{j \neq i} [m - s_{ii} + s_{ij}]_+ + \max_{j \neq i} [m - "
            r"s_{ii} + s_{ji}]_+"
        ),
        departures=(
            "It was made for pairs of which each belongs together as no other does. Where pairs are "
            "made by class, the hardest negative is nearly always of the item's own class."
        ),
        bibtex=cite("faghri2018vsepp"),
    ),
)
class VSEPlusPlus(MNLM):
    """The same with the hardest negative alone.

    Where pairs are made by class, the hardest negative of a batch is nearly always of the class of the item,
    and no negative at all: the model was made for pairs of which each belongs together as no other does.
    """

    hardest = True
