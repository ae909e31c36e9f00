"""DCCAE: encoders whose outputs correlate, and can be decoded (Wang et al. 2015); DCCA without the latter."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from models.about import About, cite
from models.base import Batch, Loss, Modality
from models.coordinated.model import CoordinatedAutoencoder, CoordinatedSettings
from models.coordinated.objectives import correlation, over_pairs
from models.coordinated.projection import CanonicalProjection
from models.registry import register
from models.settings import setting

__all__ = ["DCCAE", "DCCAESettings"]


@dataclass(frozen=True)
class DCCAESettings(CoordinatedSettings):
    """With a weight of 0 it is DCCA (Andrew et al. 2013). Large batches estimate correlations better."""

    reconstruction: float = setting(
        1e-3, "weight of the reconstructions against the correlations", low=0, search=(1e-5, 1.0)
    )
    ridge: float = setting(1e-3, "added to the variances of codes", low=1e-6, search=(1e-4, 1e-1))


@register(
    "dccae",
    settings=DCCAESettings,
    source="Wang, Arora, Livescu and Bilmes 2015, ICML",
    title="DCCAE",
    about=About(
        idea=(
            "Encoders learn outputs that correlate as much as possible between modalities. Decoders "
            "keep them from forgetting what does not correlate. With a weight of 0 for the "
            "reconstruction it is deep canonical correlation analysis (DCCA)."
        ),
        formula=r"\mathcal{L} = -\sum_{m < n} \mathrm{corr}(f_m(X_m), f_n(X_n)) + \lambda \sum_m L_m",
        departures=(
            "Networks and optimiser are those of the comparison. Covariances for the canonical "
            "variables are those of the last batches of training."
        ),
        bibtex=cite("wang2015dccae", "andrew2013dcca"),
    ),
)
class DCCAE(CoordinatedAutoencoder):
    """loss = -sum_(m < n) corr(f_m(X_m), f_n(X_n)) + lambda sum_m L_m

    corr is the sum of all canonical correlations over the batch, see `correlation`; L_m the squared error of
    modality m, halved. What the encoders give are no coordinates that could be compared yet: `embed` takes
    them on to canonical variables, with the covariances of the last batches of training.
    """

    def __init__(self, modalities: Sequence[Modality], settings: DCCAESettings):
        super().__init__(modalities, settings)
        self.projection = CanonicalProjection(list(self.modalities), settings.latent_size, settings.ridge)

    def loss(self, batch: Batch, progress: Tensor) -> Loss:
        s, codes = self.settings, self.codes(batch)
        self.projection.see(codes)
        correlated = over_pairs(codes, partial(correlation, ridge=s.ridge))
        total, terms = -correlated, {"correlation": correlated.detach()}
        if s.reconstruction > 0:
            error = torch.stack(list(self.errors(batch, codes).values())).sum()
            total = total + s.reconstruction * error
            terms["reconstruction"] = error.detach()
        return Loss(total, terms)

    def embed(self, inputs: Batch) -> Tensor:
        return torch.stack(list(self.projection(self.codes(inputs)).values())).mean(0)
