"""What pictures show beside the metrics, from what these computed: confusions, latents in a plane."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from metrics.evaluation.one_pass import Pass
from metrics.probe import probe_indices

__all__ = ["Diagnostics", "Latent", "latent_plane", "principal_plane"]

POINTS = 500  # of each modality in the plane


class Latent(NamedTuple):
    """Representations of test items in the plane of their two principal components.

    Attributes:
        explained: share of the variance along each component, in [0, 1].
        points: modality name -> (n, 2), of all modalities in the same plane.
        labels: modality name -> (n,) classes.
    """

    explained: tuple[float, float]
    points: dict[str, np.ndarray]
    labels: dict[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Diagnostics:
    """What `evaluate` saw on its way.

    Attributes:
        confusion: (a, b) -> (C, C) counts, for C classes, of sampled cross generation from every test item of
            a, with a row for the class of the condition and a column for the class that the judge of b finds.
            Absent without coherence, where b has no judge, and where C is in the thousands.
        latent: None where no metric read the representations of every modality, and of models without a
            common space for all of them.
        recall: (a, b) -> interpolated precision at evenly spaced levels of recall from 0 to 1, of items of b
            that items of a find. Absent where no retrieval was measured.
    """

    confusion: dict[tuple[str, str], np.ndarray]
    latent: Latent | None
    recall: dict[tuple[str, str], np.ndarray]


def latent_plane(run: Pass) -> Latent | None:
    """The plane of at most POINTS random test items of every modality, fitted to all of them together.

    It shows what metrics encoded; no item is encoded for it.
    """
    # latents of other models have other axes for every modality, even where their number is the same
    if not run.model.common_space:
        return None
    found = [run.represented(name) for name in run.model.modalities]
    latents = [latent for latent in found if latent is not None and latent.isfinite().all()]
    if len(latents) < len(found) or len({latent.shape[1:] for latent in latents}) > 1:
        return None
    rows = [probe_indices(len(latent), POINTS, run.protocol.evaluation_seed) for latent in latents]
    picked = [latent.cpu()[chosen] for latent, chosen in zip(latents, rows, strict=True)]
    plane = principal_plane(torch.cat(picked))
    if plane is None:
        return None
    points, explained = plane
    parts = points.split([len(chosen) for chosen in rows])
    names = list(run.model.modalities)
    return Latent(
        explained,
        {name: part.numpy() for name, part in zip(names, parts, strict=True)},
        {name: _classes(run, name, chosen) for name, chosen in zip(names, rows, strict=True)},
    )


def _classes(run: Pass, name: str, chosen: Tensor) -> np.ndarray:
    """The classes of some test items of a modality; one for all in data without labels."""
    classes = run.test[name][1].cpu()[chosen]
    return (torch.zeros_like(classes) if run.references.unlabelled else classes).numpy()


def principal_plane(x: Tensor) -> tuple[Tensor, tuple[float, float]] | None:
    """Points x (N, L) in the plane of their two principal components.

    By a singular value decomposition, which unlike `torch.pca_lowrank` draws nothing from a generator. Each
    component points to where the coordinate of the largest magnitude is positive.

    Returns:
        Coordinates (N, 2) and the components' shares of the variance; None where there is no plane.
    """
    centred = (x - x.double().mean(0)).double()
    if min(centred.shape) < 2 or not centred.any():
        return None
    left, singular, _ = torch.linalg.svd(centred, full_matrices=False)
    points = left[:, :2] * singular[:2]
    signs = points.gather(0, points.abs().argmax(0, keepdim=True)).sign()
    first, second, *_ = (singular.square() / singular.square().sum()).tolist()
    return points * signs, (first, second)
