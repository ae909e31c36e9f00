"""Coherence: do generated modalities show the same class, in the eyes of one judge per modality?"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["JointCoherence", "confusion", "cross_coherence", "joint_coherence"]


class JointCoherence(NamedTuple):
    """Joint coherence and what to read it against.

    Attributes:
        agreement: share of the draws on which all judges agree, in [0, 1].
        chance: the share expected if modalities were drawn independently, sum_c prod_m share_m(c), in [0, 1].
        entropy: of the class of the agreeing draws, in nats, at most the logarithm of the number of classes;
            None where no draw agrees. A model that always draws a "1" agrees always, with entropy 0.
    """

    agreement: float
    chance: float
    entropy: float | None


def joint_coherence(predictions: Mapping[str, Tensor], classes: int) -> JointCoherence:
    """Joint coherence from the judges' classes of joint draws (Shi et al. 2019, section 4.2).

    Args:
        predictions: modality name -> (N,) classes; item i of every modality is the same draw.
        classes: number of classes.
    """
    votes = torch.stack(tuple(predictions.values()))  # (M, N)
    counts = torch.stack([row.bincount(minlength=classes) for row in votes])  # (M, classes)
    shares = counts.double() / votes.shape[1]
    agreeing = votes[0, (votes == votes[0]).all(0)]
    entropy = None
    if len(agreeing):
        agreed = agreeing.bincount(minlength=classes).double() / len(agreeing)
        entropy = float(torch.special.entr(agreed).sum())  # -sum p log p, with 0 log 0 = 0
    return JointCoherence(len(agreeing) / votes.shape[1], float(shares.prod(0).sum()), entropy)


def cross_coherence(predictions: Tensor, labels: Tensor) -> float:
    """Share in [0, 1] of the conditions whose class the judge finds in what was generated: a micro average.

    Args:
        predictions: (N,) the judge's classes.
        labels: (N,) the conditions' classes.
    """
    return float((predictions == labels).double().mean())


def confusion(predictions: Tensor, labels: Tensor, classes: int) -> Tensor:
    """(classes, classes) counts of conditions: row = their class, column = the judge's of what was generated.

    Args:
        predictions, labels: (N,), as `cross_coherence` takes them.
        classes: number of classes.
    """
    return (labels * classes + predictions).bincount(minlength=classes**2).view(classes, classes)
