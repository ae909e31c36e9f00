"""What `mmbench data check` says of a data file: what was found in it, and what can be measured on it."""

from collections.abc import Iterator
from pathlib import Path

import torch

from metrics.catalogue import GROUPS, Need
from metrics.references import inception
from mmbench.data.base import MultimodalData, Split
from mmbench.data.check import splits_of
from mmbench.data.own.leakage import equal_items, equal_rows
from mmbench.data.own.rows import read_rows
from models.base import Modality

__all__ = ["describe", "fillable", "leakage"]

SHOWN = 10  # classes that are listed
BY_LABELS = ("probe", "clustering")  # groups that read classes without a judge


def describe(data: MultimodalData) -> Iterator[str]:
    """Lines: modalities, rows, classes, missing rows, notes."""
    for modality in data.modalities:
        yield f"{modality.name}: {_form(modality)}; likelihood {modality.likelihood or 'as the model has it'}"
    counts = ", ".join(f"{len(_rows(split)):,} {part}" for part, split in splits_of(data).items())
    yield f"rows: {counts}; row i of every array is one item of all modalities"
    yield f"classes: {_classes(data)}"
    for part, split in splits_of(data).items():
        rows = len(_rows(split))
        lacking = {name: rows - len(items) for name, items in split.items.items() if len(items) < rows}
        if lacking:
            words = ", ".join(f"{name} {count:,}" for name, count in lacking.items())
            yield f"{part} rows that lack a modality: {words} of {rows:,}"
    complete = int((data.train.pairs >= 0).all(1).sum())
    if complete < len(data.train.pairs):
        yield (
            f"complete train rows: {complete:,} of {len(data.train.pairs):,}; models that take no incomplete "
            "ones are trained on these alone"
        )
    yield from (f"note: {note}" for note in data.provenance["notes"])


def _form(modality: Modality) -> str:
    """What its items are, in words."""
    sides = " x ".join(map(str, modality.shape))
    return {
        "image": f"images of {sides} (channels, height, width)",
        "text": f"one-hot sequences of {modality.shape[0]} positions and {modality.shape[-1]} symbols",
        "counts": f"{sides} counts up to {modality.words:,}, as its type is whole (floats would be a vector)",
        "vector": f"vectors of {sides} values",
    }[modality.kind]


def _rows(split: Split) -> torch.Tensor:
    assert split.rows is not None
    return torch.cat(list(split.rows.values())).unique()


def _classes(data: MultimodalData) -> str:
    """How many classes there are, the names of some, and which parts lack some."""
    if not data.has_labels:
        return "none, as there are no labels"
    names = ", ".join(data.classes[:SHOWN]) + ", ..." * (len(data.classes) > SHOWN)
    absent = [
        f"{len(gone)} not in the {part} part"
        for part, split in splits_of(data).items()
        if (gone := set(range(len(data.classes))) - {c for y in split.labels.values() for c in y.tolist()})
    ]
    return "; ".join([f"{len(data.classes)} ({names})", *absent])


def leakage(path: Path) -> Iterator[str]:
    """Lines: how many test items are equal to a train item, by modality and in whole rows."""
    rows = read_rows(path)
    test, train = rows.test.part, rows.train.part
    for name in test.arrays:
        count, total = int(equal_items(test, train, name).sum()), int(test.there[name].sum())
        yield f"{name}: {count:,} of {total:,} test items are equal to a train item"
    count = int(equal_rows(test, train).sum())
    yield f"whole rows: {count:,} of {len(test):,} test rows are equal to a train row"


def fillable(data: MultimodalData) -> Iterator[str]:
    """Lines: every group of metrics, and why it stays empty where it does."""
    by_class = {Need.JUDGES, Need.JUDGE_FEATURES}
    for group in GROUPS.values():
        unseen = [m.name for m in data.modalities if m.kind != "image" or not inception.can_see(m.shape)]
        if not data.has_labels and group.name == "retrieval":
            yield "retrieval: of the item of the query's row, in the place of what is measured by classes"
        elif not data.has_labels and (group.needs & by_class or group.name in BY_LABELS):
            yield f"{group.name}: empty, as it is measured by classes and the data have no labels"
        elif Need.INCEPTION_FEATURES in group.needs and unseen:
            yield (
                f"{group.name}: empty for {', '.join(unseen)}, as Inception takes images of one or three "
                "channels; needs its weights"
            )
        else:
            yield f"{group.name}: can be filled{' where it is asked for' if group.asked else ''}"
