"""The rows of a data file: checked, with their classes, and split into train, validation and test part."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mmbench.data.check import DatasetError
from mmbench.data.own.arrays import Part, sort_arrays
from mmbench.data.own.folders import read_arrays
from mmbench.data.own.forms import check_array
from mmbench.data.pairing import take_per_class, validation_share
from mmbench.data.splits import HOLD_OUT_SEED

__all__ = ["FileRows", "Rows", "command_of", "hold_out_rows", "name_of", "read_rows"]

TEST_SHARE = 0.2  # of the rows of a file that is not split, of every class


class Rows(NamedTuple):
    """Some rows, and (N,) int64 their classes, zeros without labels."""

    part: Part
    classes: Tensor

    def at(self, index: Tensor) -> "Rows":
        return Rows(self.part.at(index.numpy()), self.classes[index])


@dataclass(frozen=True)
class FileRows:
    """What a file holds.

    Attributes:
        train: rows to learn from, those that are held out for validation included.
        test: the others.
        classes: the names of the classes, none without labels.
        notes: how the rows were split where the file does not say.
    """

    train: Rows
    test: Rows
    classes: tuple[str, ...]
    notes: tuple[str, ...]


def name_of(path: Path) -> str:
    """What the data set of a file or folder is called."""
    return path.resolve().name if path.is_dir() else path.stem


def command_of(path: Path) -> str:
    """The command that lists all problems of a data file."""
    return shlex.join(["mmbench", "data", "check", str(path)])


def read_rows(path: Path) -> FileRows:
    """The rows of a file or folder.

    Raises:
        DatasetError: for arrays that cannot be used.
        InputError: for a file that cannot be read.
    """
    name, command = name_of(path), command_of(path)
    parts = sort_arrays(name, read_arrays(path), command)
    problems = [p for part in parts for m in part.arrays for p in check_array(m, part)]
    problems += _check_labels(parts)
    if problems:
        raise DatasetError(name, problems, command)
    codes, classes = _classes(parts)
    if len(parts) == 2:
        train, test = (Rows(part, of) for part, of in zip(parts, codes, strict=True))
        return FileRows(train, test, classes, ())
    train, test, note = _split(parts[0], codes[0])
    if not len(test.part):
        problem = f"it has {len(parts[0])} rows, too few to draw a test part: expected ten or more."
        raise DatasetError(name, [problem], command)
    return FileRows(train, test, classes, (note,))


def hold_out_rows(rows: FileRows) -> dict[str, Rows]:
    """Train, validation and test rows; of every class a share is held out for validation, never all."""
    labels = rows.train.classes
    counts = torch.bincount(labels)
    take = (counts * validation_share(len(labels))).round().long().clamp_min(1)
    kept, held = take_per_class(labels, take.minimum((counts - 1).clamp_min(0)), HOLD_OUT_SEED)
    return {"train": rows.train.at(kept), "validation": rows.train.at(held), "test": rows.test}


def _check_labels(parts: Sequence[Part]) -> list[str]:
    """Problems of labels: their type, their shape, and whether there are classes to tell apart."""
    for part in parts:
        if part.labels is None:
            continue
        called, shown = f"`{part.called('labels')}`", f"{part.labels.dtype} {part.labels.shape}"
        if part.labels.ndim != 1 or part.labels.dtype.kind not in "biuUS":
            remedy = "; whole numbers in floats as labels.astype(int)" * (part.labels.dtype.kind == "f")
            return [f"{called} are {shown}: expected (N,) whole numbers or texts, a class per row{remedy}."]
    if parts[0].labels is None:
        return []
    if len({part.labels.dtype.kind in "US" for part in parts if part.labels is not None}) > 1:
        return ["`labels_train` and `labels_test` differ, one is texts and one numbers: expected one type."]
    present = np.unique(np.concatenate([part.labels for part in parts if part.labels is not None]))
    if len(present) < 2:
        return [
            f"the labels are all {present[0]!s}: expected two classes or more; leave `labels` out for data "
            "without classes."
        ]
    return []


def _classes(parts: Sequence[Part]) -> tuple[list[Tensor], tuple[str, ...]]:
    """The class of every row of every part, and the names of the classes; zeros and none without labels."""
    if parts[0].labels is None:
        return [torch.zeros(len(part), dtype=torch.int64) for part in parts], ()
    found = np.concatenate([part.labels for part in parts if part.labels is not None])
    names, codes = np.unique(found, return_inverse=True)
    texts = (name.decode(errors="replace") if isinstance(name, bytes) else str(name) for name in names)
    numbers = torch.from_numpy(codes.reshape(-1).astype(np.int64))
    return list(numbers.split([len(part) for part in parts])), tuple(texts)


def _split(part: Part, labels: Tensor) -> tuple[Rows, Rows, str]:
    """Train and test rows of a file that does not say which are which, and how they were drawn."""
    counts = torch.bincount(labels)
    # a class of one row stays in the train part; of every other one row is tested, or a share of them
    take = (counts * TEST_SHARE).round().long().clamp_min(1).minimum((counts - 1).clamp_min(0))
    kept, taken = take_per_class(labels, take, HOLD_OUT_SEED)
    each = " of every class" if part.labels is not None else ""
    note = (
        f"The file is not split: {len(taken):,} of its {len(part):,} rows, {100 * TEST_SHARE:.0f} %{each}, "
        "were drawn at random for the test part"
    )
    whole = Rows(part, labels)
    return whole.at(kept), whole.at(taken), note
