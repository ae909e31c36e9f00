"""Diversity: how much cross generations from one condition differ from each other.

Of S samples from each of C conditions, with f the judge's features (128 activations, those of FD-clf):

    diversity = 1/C sum_c 2 / (S (S - 1)) sum_{s < t} ||f(y_cs) - f(y_ct)||

It is the diversity of Zhu et al. 2017 ("Toward Multimodal Image-to-Image Translation", section 5), who
average a distance in a network's features over pairs of samples from 100 conditions; the judge is that
network here. More is not better by itself: samples of any class differ most, so it is read beside cross
coherence.
"""

import torch
from torch import Tensor

__all__ = ["mean_pairwise_distance"]


def mean_pairwise_distance(features: Tensor) -> Tensor:
    """(C,): the mean Euclidean distance between two of the S >= 2 features (C, S, d) of a condition."""
    # (C, S, S), 0 on the diagonal
    distances = torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist")
    samples = features.shape[1]
    return distances.sum((1, 2)) / (samples * (samples - 1))
