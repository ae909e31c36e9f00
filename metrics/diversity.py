"""Diversity: how much cross generations from one condition differ from each other.

Of S samples from each of C conditions, with f the judge's features (128 activations, those of FD-clf):

    diversity = 1/C sum_c 2 / (S (S - 1)) sum_{s < t} ||f(y_cs) - f(y_ct)||

It is the diversity of Zhu et al. 2017 ("Toward Multimodal Image-to-Image Translation", section 5), who average a distance in a
network's features over pairs of samples from 100 conditions; the judge is that network here. More is not better by itself: samples
of any class differ most, so it is read beside cross coherence.
"""

from functools import partial

import torch
from torch import Tensor

from metrics.evaluation.cross import translate
from metrics.evaluation.one_pass import BATCH, Finite, Pass
from metrics.images import eight_bits
from metrics.probe import probe_indices

__all__ = ["CONDITIONS", "SAMPLES", "diversities", "mean_pairwise_distance"]

CONDITIONS = 100  # random test items of each modality, at most
SAMPLES = 10  # of the latent, of each condition


def mean_pairwise_distance(features: Tensor) -> Tensor:
    """(C,): the mean Euclidean distance between two of the S features (C, S, d) of each condition, S two or more."""
    distances = torch.cdist(
        features, features, compute_mode="donot_use_mm_for_euclid_dist"
    )  # (C, S, S), 0 on the diagonal
    samples = features.shape[1]
    return distances.sum((1, 2)) / (samples * (samples - 1))


def diversities(run: Pass) -> None:
    """The diversity of every direction between two modalities, under "diversity/a->b"."""
    space = run.references.space("fd_clf")
    for source in run.model.modalities:
        count = len(run.test[source][0])
        conditions = probe_indices(count, CONDITIONS, run.protocol.evaluation_seed)
        rows = {source: conditions.repeat_interleave(SAMPLES)}
        targets = [name for name in run.model.modalities if name != source]
        finite, generator = Finite(), run.generator()
        drawn: dict[str, list[Tensor]] = {name: [] for name in targets}
        for start in range(0, len(rows[source]), BATCH):
            for name, x in translate(run, rows, targets, start, generator).items():
                drawn[name].append(eight_bits(finite.read(run.model.modalities[name], x)))
            run.progress(
                f"{source} to others, {SAMPLES} samples",
                min(start + BATCH, len(rows[source])),
                len(rows[source]),
            )
        for name in targets:
            metric = f"diversity/{source}->{name}"
            if space is None or name not in space.extractors:
                run.lack(metric, run.references.unread("fd_clf", name))
            elif reason := finite.reason(name):
                run.lack(metric, reason)
            else:
                features = space.extractors[name](
                    torch.cat(drawn[name]), partial(run.progress, f"features of {name} from {source}")
                )
                run.metrics[metric] = float(
                    mean_pairwise_distance(features.unflatten(0, (-1, SAMPLES)).double()).mean()
                )
