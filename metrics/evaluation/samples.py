"""Conditions and what a model makes of them, for figures: the same for every model."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from metrics.evaluation.one_pass import Finite, Pass
from metrics.images import as_float, eight_bits

__all__ = ["CrossSamples", "cross_samples"]

SHOWN_PER_CLASS = 4
# spread over all where there are more: sheets have to fit a picture and a page, and are published
SHOWN_CLASSES = 100


class CrossSamples(NamedTuple):
    """Conditions in class order, and an output given each.

    Attributes:
        conditions: (n, *shape) of one modality, uint8.
        outputs: (n, *shape) of another one, uint8.
        labels: (n,) classes of the conditions.
    """

    conditions: np.ndarray
    outputs: np.ndarray
    labels: np.ndarray


def cross_samples(run: Pass) -> dict[tuple[str, str], CrossSamples]:
    """For every ordered pair (a, b): conditions of a, and the means of b given the latent mean of each.

    Nothing of a model that generates nothing.
    """
    if not run.model.generates:
        return {}
    samples = {}
    for source in run.model.modalities:
        images, labels = run.test[source]
        if run.references.unlabelled:
            labels = torch.zeros_like(labels)
        rows = _shown(labels, run.protocol.evaluation_seed)
        conditions = eight_bits(images[rows]).cpu().numpy()
        targets = [name for name in run.model.modalities if name != source]
        for name, x in run.model.translate({source: as_float(images[rows].to(run.device))}, targets).items():
            outputs = eight_bits(Finite().read(run.model.modalities[name], x)).cpu().numpy()
            samples[source, name] = CrossSamples(conditions, outputs, labels[rows].cpu().numpy())
    return samples


def _shown(labels: Tensor, seed: int) -> Tensor:
    """Rows of four random items of every class that is shown, in class order; of ten times four of one class.

    They are fewer where a class has fewer.
    """
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    shuffled = labels.cpu()[order]
    classes = shuffled.unique()  # ascending
    spread = torch.linspace(0, len(classes) - 1, min(len(classes), SHOWN_CLASSES)).round().long()
    each = SHOWN_PER_CLASS if len(classes) > 1 else 10 * SHOWN_PER_CLASS
    return torch.cat([order[shuffled == label][:each] for label in classes[spread]])
