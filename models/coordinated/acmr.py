"""ACMR: codes that tell the class and hide the modality (Wang et al. 2017). It is trained with labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.about import About, cite
from models.base import LABELS, Batch, Loss, Modality
from models.coordinated.model import CoordinatedSettings, CosineModel, margin_setting
from models.coordinated.ucal import Adversary
from models.parts.contrast import products
from models.registry import register
from models.settings import setting

__all__ = ["ACMR", "ACMRSettings", "class_triplets"]


@dataclass(frozen=True)
class ACMRSettings(CoordinatedSettings):
    """Weights of the three parts."""

    margin: float = margin_setting()
    triplets: float = setting(1.0, "alpha, weight of the triplets", low=0, search=(0.1, 10.0))
    prediction: float = setting(1.0, "beta, weight of the label prediction", low=0, search=(0.1, 10.0))
    adversary: float = setting(0.1, "weight of the adversary", low=0, search=(0.01, 1.0))


def class_triplets(a: Tensor, b: Tensor, labels: Tensor, margin: float) -> Tensor:
    """Hinge loss of triplets by class, a scalar (Wang et al. 2017, equations 5 to 7, with cosines).

    1/B sum_i [m - min_(j of the class of i) a_i'b_j + max_(k of another class) a_i'b_k]_+; 0 for items whose
    batch has no other class.

    Args:
        a, b: (B, L) codes of unit length.
        labels: (B,) classes of the pairs.
        margin: m.
    """
    same = labels[:, None] == labels[None, :]
    scores = products(a, b)
    farthest = scores.masked_fill(~same, torch.inf).amin(1)
    nearest = scores.masked_fill(same, -torch.inf).amax(1)
    return (margin - farthest + nearest).clamp_min(0).mean()


@register(
    "acmr",
    settings=ACMRSettings,
    source="Wang et al. 2017, ACM Multimedia, 154-162",
    title="ACMR",
    about=About(
        idea=(
            "Codes of all modalities have to tell the class, and triplets by class pull together "
            "what is of one class. An adversary tries to tell from a code which modality it is of, "
            "and the encoders try to hide it. It is trained with labels, and every table says so."
        ),
        formula=(
            r"\mathcal{L} = \alpha \sum_{m \neq n} \mathrm{triplets}(c_m, c_n) + \beta \sum_m "
            r"\mathrm{CE}(y \mid c_m) - w \min_A \mathrm{adversary}(c)"
        ),
        departures=(
            "Networks are those of the comparison. The classifier is one linear layer for all modalities."
        ),
        bibtex=cite("wang2017acmr"),
    ),
)
class ACMR(CosineModel):
    """loss = alpha sum_(m != n) triplets(c_m, c_n) + beta sum_m CE(label given c_m) - w min_A adversary(c)

    One linear classifier for all modalities reads the class from codes c on the unit sphere; the adversary is
    that of UCAL.

    Args:
        classes: of the labels that it is trained with.
    """

    uses_labels = True

    def __init__(self, modalities: Sequence[Modality], settings: ACMRSettings, classes: int):
        super().__init__(modalities, settings)
        self.classifier = nn.Linear(settings.latent_size, classes)
        self.adversary = Adversary(settings.latent_size, len(self.modalities))

    def loss(self, batch: Batch, progress: Tensor) -> Loss:
        s, labels, codes = self.settings, batch[LABELS], self.codes(batch)
        triplets = torch.stack(
            [class_triplets(a, b, labels, s.margin) for a, b in permutations(codes.values(), 2)]
        ).sum()
        predicted = torch.stack(
            [functional.cross_entropy(self.classifier(code), labels) for code in codes.values()]
        ).sum()
        told = self.adversary(list(codes.values()), progress)
        terms = {"triplets": triplets, "prediction": predicted, "adversary": told}
        total = s.triplets * triplets + s.prediction * predicted + s.adversary * told
        return Loss(total, {name: term.detach() for name, term in terms.items()})
