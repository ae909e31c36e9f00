"""From observed modalities to the others: cross coherence from every subset, and conditions with their outputs for figures."""

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from metrics.coherence import confusion, cross_coherence
from metrics.evaluation.one_pass import BATCH, Finite, Pass
from metrics.images import as_float, eight_bits
from metrics.references.judges import CLASSES, predict
from models.base import SharedLatentModel

__all__ = ["CrossSamples", "cross_coherences", "cross_samples", "translate"]

MODES = ("sample", "mean")
SHOWN_PER_CLASS = 4  # conditions kept for figures


class CrossSamples(NamedTuple):
    """`conditions` (n, *shape) of one modality in class order, `outputs` (n, *shape) of another given each, both uint8; `labels` (n,)."""

    conditions: np.ndarray
    outputs: np.ndarray
    labels: np.ndarray


def cross_coherences(run: Pass) -> None:
    """Translate every condition once with a sampled and once with the mean latent, from every non-empty proper subset to all other modalities.

    From one modality every test image is a condition; from several, the tuple of every test image of the first of them. Of more
    than two modalities also the means over all subsets of one size and their targets.
    """
    names = list(run.model.modalities)
    for size in range(1, len(names)):
        for mode in MODES:
            metrics = []
            for sources in combinations(names, size):
                metrics += _from_sources(run, sources, [name for name in names if name not in sources], mode)
            if len(names) > 2:
                _mean(run, f"cross_coherence/size-{size}/{mode}", metrics)


def _from_sources(run: Pass, sources: Sequence[str], targets: Sequence[str], mode: str) -> list[str]:
    """Cross coherence from one subset to each target; the names of the metrics."""
    generator = run.generator() if mode == "sample" else None
    rows = _conditions(run, sources)
    first, joined = sources[0], "+".join(sources)
    labels = run.test[first][1].cpu()[rows[first]]
    finite = Finite()
    votes: dict[str, list[Tensor]] = {name: [] for name in targets}
    for start in range(0, len(labels), BATCH):
        for name, x in translate(run, rows, targets, start, generator).items():
            if name in run.references.judges:
                votes[name].append(
                    predict(run.references.judges[name], finite.read(run.model.modalities[name], x)).cpu()
                )
        run.progress(f"{joined} to others, {mode}", min(start + BATCH, len(labels)), len(labels))
    metrics = {name: f"cross_coherence/{joined}->{name}/{mode}" for name in targets}
    for name, metric in metrics.items():
        if reason := finite.reason(name) or run.unjudged(name):
            run.lack(metric, reason)
        else:
            found = torch.cat(votes[name])
            run.metrics[metric] = cross_coherence(found, labels)
            if mode == "sample" and len(sources) == 1:
                run.confusion[f"{joined}->{name}"] = confusion(found, labels, CLASSES)
    return list(metrics.values())


def _conditions(run: Pass, sources: Sequence[str]) -> dict[str, Tensor]:
    """Source -> (N,) test items: item i of every source make one condition, whose class is that of the first."""
    first = sources[0]
    if len(sources) == 1:
        return {first: torch.arange(len(run.test[first][1]))}
    columns = list(run.model.modalities)
    return {name: run.tuples[first][:, columns.index(name)] for name in sources}


def translate(
    run: Pass, rows: dict[str, Tensor], targets: Sequence[str], start: int, generator: torch.Generator | None
) -> dict[str, Tensor]:
    """The model's `translate` of the BATCH conditions from `start` on: with latents drawn from `generator`, or their means where it is None.

    Where the contract derives both from `infer`, the mean latents of single modalities are their representations, which the probe
    reads too: no image is encoded for them again.
    """
    model = run.model
    if generator is None and len(rows) == 1 and isinstance(model, SharedLatentModel) and _derives_all(model):
        (source,) = rows
        latent = run.represent(source)[start : start + BATCH]
        return {name: model.decode(name, latent) for name in targets}
    inputs = {
        name: as_float(run.test[name][0][items[start : start + BATCH]].to(run.device))
        for name, items in rows.items()
    }
    return model.translate(inputs, targets, generator is not None, generator)


def _derives_all(model: SharedLatentModel) -> bool:
    """Whether `translate` and `embed` are the contract's, not the model's own."""
    return (
        type(model).translate is SharedLatentModel.translate and type(model).embed is SharedLatentModel.embed
    )


def _mean(run: Pass, name: str, metrics: Sequence[str]) -> None:
    """The mean of `metrics` as the metric called `name`; none where one of them has no value."""
    values = [run.metrics[metric] for metric in metrics]
    found = [value for value in values if value is not None]
    if len(found) < len(values):
        run.lack(name, next(run.reasons[metric] for metric in metrics if run.metrics[metric] is None))
    else:
        run.metrics[name] = sum(found) / len(found)


def cross_samples(run: Pass) -> dict[str, CrossSamples]:
    """For every ordered pair, under "a->b": conditions of a for figures, and the means of b given the latent mean of each."""
    samples = {}
    for source in run.model.modalities:
        images, labels = run.test[source]
        rows = _shown(labels, run.protocol.evaluation_seed)
        conditions = eight_bits(images[rows]).cpu().numpy()
        targets = [name for name in run.model.modalities if name != source]
        for name, x in run.model.translate({source: as_float(images[rows].to(run.device))}, targets).items():
            outputs = eight_bits(Finite().read(run.model.modalities[name], x)).cpu().numpy()
            samples[f"{source}->{name}"] = CrossSamples(conditions, outputs, labels[rows].cpu().numpy())
    return samples


def _shown(labels: Tensor, seed: int) -> Tensor:
    """Rows of four random items of every class, in class order (fewer where a class has fewer)."""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    shuffled = labels.cpu()[order]
    return torch.cat([order[shuffled == label][:SHOWN_PER_CLASS] for label in range(CLASSES)])
