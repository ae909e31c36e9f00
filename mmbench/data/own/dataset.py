"""From a data file to a data set: its rows are split, held out and paired, and its name is registered."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmbench.data.base import DATASETS, DatasetEntry, DataSettings, MultimodalData, Split
from mmbench.data.check import DatasetError
from mmbench.data.own.arrays import Part, sort_arrays
from mmbench.data.own.folders import read_arrays
from mmbench.data.own.forms import Form, check_array, find_form
from mmbench.data.own.leakage import equal_rows
from mmbench.data.pairing import take_per_class, validation_share
from mmbench.data.splits import HOLD_OUT_SEED, Images, hash_images
from models.base import Modality
from models.errors import InputError
from models.parts.own_networks import NETWORKS

__all__ = ["load_data_file", "register_data_file"]

TEST_SHARE = 0.2  # of the rows of a file that is not split, of every class
LEAST = 4  # train rows of a kind (with the same modalities) that are trained on: batches hold one kind


def register_data_file(path: Path) -> DatasetEntry:
    """The data set of a file or folder, called as it is; registered again where it has been before.

    Raises:
        InputError: for a path that is not there, and for a name that is not usable or another data set's.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise InputError(f"There is no data file {path}: name an .npz, or a folder of files (docs/own-data.md).")
    name = path.resolve().name if path.is_dir() else path.stem
    if not path.is_dir() and path.suffix.lower() != ".npz":
        raise InputError(
            f"The data file {path} is no .npz: expected one, as numpy.savez_compressed writes it, or a folder "
            "of files (docs/own-data.md)."
        )
    if name in DATASETS:
        if DATASETS.get(name).file is None:
            raise InputError(f"The data file {path} is called as the data set {name!r} is: rename it.")
        DATASETS.discard(name)
    try:
        entry = DatasetEntry(
            name,
            lambda data_dir, settings: load_data_file(path, settings),
            source="a file of the user's own",
            default_preset="quick",
            needs_data_dir=False,
            description=f"rows of {path.name}",
            file=path,
        )
        DATASETS.add(entry)
    except InputError:
        better = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-_") or "mine"
        raise InputError(
            f"The data file {path} gives results their name, and {name!r} is not usable: expected letters, "
            f"digits, dots, dashes and underscores. Rename it, for example to {better}."
        ) from None
    return entry


def load_data_file(path: Path, settings: DataSettings) -> MultimodalData:
    """The data set in a file or folder.

    Raises:
        DatasetError: for arrays that cannot be used.
        InputError: for a file that cannot be read.
    """
    name = path.resolve().name if path.is_dir() else path.stem
    command = f"mmbench data check {path}"
    parts = sort_arrays(name, read_arrays(path), command)
    problems = [p for part in parts for m in part.arrays for p in check_array(m, part)]
    problems += _check_labels(parts)
    if problems:
        raise DatasetError(name, problems, command)
    codes, classes = _classes(parts)
    train, test, note = _split(parts, codes)
    forms = {}
    for modality in parts[0].arrays:
        form, found = find_form(modality, [train[0], test[0]])
        problems += found
        if form:
            forms[modality] = form
    if not problems:
        modalities, problems = _modalities(forms)
    if problems:
        raise DatasetError(name, problems, command)
    kept, held = _hold_out(train[1])
    rows = {"train": _at(train, kept), "validation": _at(train, held), "test": test}
    splits = {part: _make_split(*of, forms) for part, of in rows.items()}
    problems = _too_few(splits)
    if problems:
        raise DatasetError(name, problems, command)
    rare, splits["train"] = _without_rare_rows(splits["train"])
    notes = [*note, *_notes(rows, forms, rare)]
    provenance = _provenance(path, modalities, splits, settings, notes, classes)
    return MultimodalData(
        name, modalities, **splits, provenance=provenance, classes=classes, has_labels=bool(classes)
    )


Rows = tuple[Part, Tensor]  # and the classes of its rows


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


def _split(parts: Sequence[Part], codes: Sequence[Tensor]) -> tuple[Rows, Rows, list[str]]:
    """Train and test rows, and how they were split where the file does not say."""
    if len(parts) == 2:
        return (parts[0], codes[0]), (parts[1], codes[1]), []
    part, labels = parts[0], codes[0]
    counts = torch.bincount(labels)
    # a class of one row stays in the train part; of every other one row is tested, or a share of them
    take = (counts * TEST_SHARE).round().long().clamp_min(1).minimum((counts - 1).clamp_min(0))
    kept, taken = take_per_class(labels, take, HOLD_OUT_SEED)
    note = (
        f"The file is not split: {len(taken):,} of its {len(part):,} rows, {100 * TEST_SHARE:.0f} % of every "
        "class drawn at random, are the test part"
    )
    whole = part, labels
    return _at(whole, kept), _at(whole, taken), [note]


def _hold_out(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Train rows that stay and those held out for validation: a share of every class, never its only row."""
    counts = torch.bincount(labels)
    take = (counts * validation_share(len(labels))).round().long().clamp_min(1)
    return take_per_class(labels, take.minimum((counts - 1).clamp_min(0)), HOLD_OUT_SEED)


def _at(rows: Rows, index: Tensor) -> Rows:
    return rows[0].at(index.numpy()), rows[1][index]


def _modalities(forms: Mapping[str, Form]) -> tuple[tuple[Modality, ...], list[str]]:
    """The modalities, each weighed by how much smaller it is than the largest; problems of their names."""
    largest = max(form.size for form in forms.values())
    made, problems = [], []
    for name, form in forms.items():
        try:
            made.append(form.modality(name, largest / form.size, name if name in NETWORKS else ""))
        except ValueError as error:
            problems.append(f"{error}; rename the array.")
    return tuple(made), problems


def _make_split(part: Part, codes: Tensor, forms: Mapping[str, Form]) -> Split:
    """Items of each modality, paired by row."""
    items, labels, rows, columns = {}, {}, {}, []
    labelled = part.labels is not None
    for name, form in forms.items():
        there = part.there[name]
        items[name] = form.items(part.arrays[name][there])
        rows[name] = torch.from_numpy(np.flatnonzero(there))
        labels[name] = codes[rows[name]] if labelled else rows[name].clone()
        columns.append(np.where(there, there.cumsum() - 1, -1))
    return Split(items, labels, torch.from_numpy(np.stack(columns, 1)), rows)


def _too_few(splits: Mapping[str, Split]) -> list[str]:
    """Problems of modalities with too few items to learn from or to measure."""
    return [
        f"{name} has {len(items)} item{'s' * (len(items) != 1)} in the {part} part: expected two or more. Add "
        "rows that have it, or leave it out."
        for part, split in splits.items()
        for name, items in split.items.items()
        if len(items) < 2
    ]


def _without_rare_rows(split: Split) -> tuple[int, Split]:
    """A train split whose pairs are all of common kinds, and how many rows were left out for that."""
    powers = 2 ** torch.arange(split.pairs.shape[1])
    _, kind, counts = ((split.pairs >= 0) * powers).sum(1).unique(return_inverse=True, return_counts=True)
    common = counts[kind] >= min(LEAST, int(counts.max()))
    pairs = split.pairs[common]
    return int((~common).sum()), Split(split.items, split.labels, pairs, split.rows)


def _notes(rows: Mapping[str, Rows], forms: Mapping[str, Form], rare: int) -> list[str]:
    """Sentences that belong under every table on these data."""
    notes = [
        f"{name} is not in {int((~part.there[name]).sum()):,} of {len(part):,} {which} rows"
        for which, (part, _) in rows.items()
        for name in forms
        if not part.there[name].all()
    ]
    if rare:
        notes.append(
            f"{rare:,} train rows lack modalities as fewer than {LEAST} others do, and are not trained on"
        )
    if leaked := int(equal_rows(rows["test"][0], rows["train"][0]).sum()):
        notes.append(
            f"{leaked:,} of {len(rows['test'][0]):,} test rows are equal to a train row in every modality"
        )
    if any(form.kind == "vector" for form in forms.values()):
        notes.append(
            "Vectors are standardised by the mean and the standard deviation of each dimension over the train "
            "rows; scales of likelihoods are in these units"
        )
    return notes


def _provenance(
    path: Path,
    modalities: Sequence[Modality],
    splits: Mapping[str, Split],
    settings: DataSettings,
    notes: Sequence[str],
    classes: Sequence[str],
) -> dict[str, Any]:
    """What hashes of runs cover: the content of the file, not its path."""
    forms = [{key: value for key, value in asdict(m).items() if key != "name"} for m in modalities]
    return {
        "file": path.name,
        "modalities": {
            m.name: {
                part: {
                    "images": len(split.labels[m.name]),
                    "sha256": hash_images(Images(split.items[m.name], split.labels[m.name])),
                }
                for part, split in splits.items()
            }
            for m in modalities
        },
        "forms": {m.name: _digest(repr(form).encode()) for m, form in zip(modalities, forms, strict=True)},
        "pairs": {part: len(split.pairs) for part, split in splits.items()},
        "pairs_sha256": {part: _digest(split.pairs.numpy().tobytes()) for part, split in splits.items()},
        "settings": asdict(settings),
        "notes": list(notes),
        "classes": list(classes),
    }


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
