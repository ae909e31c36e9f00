"""From a data file to a data set: its rows are split, held out and paired, and its name is registered."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmbench.data.base import DATASETS, DatasetEntry, DataSettings, MultimodalData, Split
from mmbench.data.check import DatasetError
from mmbench.data.own.forms import Form, find_form
from mmbench.data.own.leakage import equal_rows
from mmbench.data.own.rows import Rows, command_of, hold_out_rows, name_of, read_rows
from mmbench.data.splits import Images, hash_images
from models.base import SHOWN_ONLY, Modality
from models.errors import InputError
from models.parts.own_networks import NETWORKS

__all__ = ["load_data_file", "register_data_file"]

APART = ("name", *SHOWN_ONLY)  # fields of a modality that decide no figure
LEAST = 4  # train rows of a kind (with the same modalities) that are trained on: batches hold one kind


def register_data_file(path: Path) -> DatasetEntry:
    """The data set of a file or folder, called as it is; registered again where it has been before.

    Raises:
        InputError: for a path that is not there, and for a name that is not usable or another data set's.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise InputError(
            f"There is no data file {path}: name an .npz, or a folder of files (docs/own-data.md)."
        )
    name = name_of(path)
    if not path.is_dir() and path.suffix.lower() != ".npz":
        raise InputError(
            f"The data file {path} is no .npz: expected one, as numpy.savez_compressed writes it, or a "
            "folder of files (docs/own-data.md)."
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
    name, command = name_of(path), command_of(path)
    found_rows = read_rows(path)
    forms, problems = {}, []
    for modality in found_rows.train.part.arrays:
        form, found = find_form(modality, [found_rows.train.part, found_rows.test.part])
        problems += found
        if form:
            forms[modality] = form
    if not problems:
        modalities, problems = _modalities(forms)
    if problems:
        raise DatasetError(name, problems, command)
    rows = hold_out_rows(found_rows)
    splits = {part: _make_split(of, forms) for part, of in rows.items()}
    problems = _too_few(splits)
    if problems:
        raise DatasetError(name, problems, command)
    rare, splits["train"] = _without_rare_rows(splits["train"])
    classes, notes = found_rows.classes, [*found_rows.notes, *_notes(rows, forms, rare)]
    provenance = _provenance(path, modalities, splits, settings, notes, classes)
    train, validation, test = splits.values()
    return MultimodalData(name, modalities, train, validation, test, provenance, classes, bool(classes))


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


def _make_split(of: Rows, forms: Mapping[str, Form]) -> Split:
    """Items of each modality, paired by row."""
    part, codes = of
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
        f"{name} has {len(items)} item{'s' * (len(items) != 1)} in the {part} part: expected two or more. "
        "Add rows that have it, or leave it out."
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
            f"Train rows with combinations of modalities that fewer than {LEAST} rows have are not trained on"
            f": {rare:,}"
        )
    if leaked := int(equal_rows(rows["test"].part, rows["train"].part).sum()):
        notes.append(
            f"{leaked:,} of {len(rows['test'].part):,} test rows are equal to a train row in every modality"
        )
    if any(form.kind == "vector" for form in forms.values()):
        notes.append(
            "Vectors are standardised by the mean and the standard deviation of each dimension over the "
            "train rows; scales of likelihoods are in these units"
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
    forms = [{key: value for key, value in asdict(m).items() if key not in APART} for m in modalities]
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
