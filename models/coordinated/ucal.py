"""UCAL: correlated codes that hide from an adversary which modality they are of (He et al. 2017)."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.about import About, cite
from models.base import Batch, Loss, Modality
from models.coordinated.model import CoordinatedModel, CoordinatedSettings
from models.coordinated.objectives import correlation, over_pairs, reverse_gradient
from models.coordinated.projection import CanonicalProjection
from models.registry import register
from models.settings import setting

__all__ = ["UCAL", "Adversary", "UCALSettings"]

HIDDEN = 64  # units of the adversary


@dataclass(frozen=True)
class UCALSettings(CoordinatedSettings):
    """The adversary's strength rises to 1 over training, times its weight."""

    ridge: float = setting(1e-3, "added to the variances of codes", low=1e-6, search=(1e-4, 1e-1))
    adversary: float = setting(1.0, "weight of the adversary", low=0, search=(0.01, 10.0))


class Adversary(nn.Module):
    """Tells from a code which modality it is of; its gradient arrives at the codes reversed."""

    def __init__(self, size: int, modalities: int):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(size, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, modalities))

    def forward(self, codes: Sequence[Tensor], progress: Tensor) -> Tensor:
        """A scalar: the mean cross-entropy of the modality given codes (B, L) of each modality.

        Reversed times 2 / (1 + exp(-10 p)) - 1 at progress p, from 0 to 1 (Ganin and Lempitsky 2015).
        """
        strength = (2 / (1 + torch.exp(-10 * progress)) - 1).float()
        logits = self.layers(reverse_gradient(torch.cat(list(codes)), strength))
        which = torch.arange(len(codes), device=logits.device).repeat_interleave(len(codes[0]))
        return functional.cross_entropy(logits, which)


@register(
    "ucal",
    settings=UCALSettings,
    source="He et al. 2017, ICME, 1153-1158",
    title="UCAL",
    about=About(
        idea=(
            "Encoders learn outputs that correlate between modalities. An adversary tries to tell "
            "from a code which modality it is of, and the encoders try to hide it. Both are trained "
            "in one step, by gradient reversal."
        ),
        formula=(
            r"\mathcal{L} = -\sum_{m < n} \mathrm{corr}(f_m(X_m), f_n(X_n)) - w \min_A "
            r"\mathrm{adversary}(f_1, .., f_M)"
        ),
        departures=(
            "Networks are those of the comparison, and codes are taken to canonical variables as in DCCAE."
        ),
        bibtex=cite("he2017ucal"),
    ),
)
class UCAL(CoordinatedModel):
    """loss = -sum_(m < n) corr(f_m(X_m), f_n(X_n)) - w min_A adversary(f_1, .., f_M)

    corr is the sum of canonical correlations, and `embed` takes codes to canonical variables, as in DCCAE.
    The adversary is trained in the same step, by gradient reversal.
    """

    def __init__(self, modalities: Sequence[Modality], settings: UCALSettings):
        super().__init__(modalities, settings)
        self.projection = CanonicalProjection(list(self.modalities), settings.latent_size, settings.ridge)
        self.adversary = Adversary(settings.latent_size, len(self.modalities))

    def loss(self, batch: Batch, progress: Tensor) -> Loss:
        s, codes = self.settings, self.codes(batch)
        self.projection.see(codes)
        correlated = over_pairs(codes, partial(correlation, ridge=s.ridge))
        told = self.adversary(list(codes.values()), progress)
        terms = {"correlation": correlated.detach(), "adversary": told.detach()}
        return Loss(s.adversary * told - correlated, terms)

    def embed(self, inputs: Batch) -> Tensor:
        return torch.stack(list(self.projection(self.codes(inputs)).values())).mean(0)
