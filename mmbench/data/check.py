"""What a data set's loader returns, checked before anything is trained on it.

Loaders are other people's code: a float where bytes were meant, or a class number that is left out, would
otherwise show after hours, as a message about something else. Every problem is a clause that names the array,
what was expected and what to do; `DatasetError` puts the data set's name before it.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import permutations

import torch
from torch import Tensor

from mmbench.data.base import MultimodalData, Split
from mmbench.storage.shapes import MOST_MODALITIES
from models.base import Modality
from models.errors import InputError
from models.parts.likelihoods import FAMILIES

__all__ = [
    "DatasetError",
    "check_arrays",
    "check_classes",
    "check_data",
    "check_modalities",
    "is_usable_name",
    "splits_of",
]

LONGEST = 48  # characters of a name: names of files are made of two of them
MOST_CLASSES = 10_000
_RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))}


class DatasetError(InputError):
    """A data set that cannot be used.

    Attributes:
        problems: all that was found; the message says the first, and the command that lists the others.
    """

    def __init__(self, name: str, problems: Sequence[str], command: str = ""):
        others = len(problems) - 1
        more = f" `{command or f'mmbench check --dataset {name}'}` lists {others} more." if others else ""
        super().__init__(f"The data set {name!r} cannot be used: {problems[0]}{more}")
        self.problems = tuple(problems)


def is_usable_name(name: str) -> bool:
    """Whether files can have names made of this one everywhere.

    Windows reserves some names, and drops a dot at the end.
    """
    fits = len(name) <= LONGEST and re.fullmatch(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_-])?", name)
    return bool(fits) and name.partition(".")[0].lower() not in _RESERVED


def check_data(data: MultimodalData) -> Iterator[tuple[str, str | None]]:
    """Look through a data set: what was checked, and what is wrong with it (None where nothing is).

    Modalities come first, then arrays, then how they belong together; the first part that fails ends the
    check.
    """
    problems = check_modalities(data.modalities)
    yield from _results("modalities", problems)
    if problems:
        return
    found = False
    for part, split in splits_of(data).items():
        problems = _check_split(part, split, data.modalities)
        yield from _results(f"items and labels of the {part} split", problems)
        found = found or bool(problems)
    if found:
        return
    labels = {part: split.labels for part, split in splits_of(data).items()}
    by_row = data.train.rows is not None
    problems = check_classes(labels, data.classes, by_row) if data.has_labels else []
    yield from _results("classes", problems)
    if problems:
        return
    for part, split in splits_of(data).items():
        yield from _results(f"pairs of the {part} split", _check_pairs(part, split))
    yield from _results("provenance", _check_provenance(data))


def splits_of(data: MultimodalData) -> dict[str, Split]:
    return {"train": data.train, "validation": data.validation, "test": data.test}


def check_modalities(modalities: Sequence[Modality]) -> list[str]:
    """Problems of number, names, shapes and likelihoods."""
    if not isinstance(modalities, (tuple, list)) or not all(isinstance(m, Modality) for m in modalities):
        return [f"its modalities are {modalities!r}: expected a tuple of models.base.Modality."]
    names = [m.name for m in modalities]
    if len(names) < 2:
        held = f"one modality, {names[0]}" if names else "no modality"
        return [f"it has {held}: expected at least two."]
    if len(names) > MOST_MODALITIES:
        return [f"it has {len(names)} modalities: expected {MOST_MODALITIES} at most; leave some out."]
    problems = [
        f"the modality name {name!r} is reserved on Windows or longer than {LONGEST} characters, "
        "and files are called by it: choose another."
        for name in names
        if not is_usable_name(name)
    ]
    same = [name for name, count in Counter(map(str.lower, names)).items() if count > 1]
    if same:
        problems.append(
            f"more than one modality is called {same[0]!r}, but for capitals: files need different names."
        )
    directions = Counter(f"{a}-{b}".lower() for a, b in permutations(names, 2))
    if not same and (shared := [name for name, count in directions.items() if count > 1]):
        problems.append(
            f"two directions between {', '.join(names)} would be written to files called cross-{shared[0]}: "
            "choose names without dashes."
        )
    return problems + [problem for m in modalities for problem in _check_shape(m)]


def check_arrays(what: str, modality: Modality, items: object, labels: object) -> list[str]:
    """Problems of items (N, *shape) uint8 and labels (N,) of any whole numbers from 0 on.

    Args:
        what: whose they are, for the message: "a, train part" for one.
    """
    problems = _check_items(f"the items of {what},", modality, items)
    if not isinstance(labels, Tensor):
        return [*problems, f"the labels of {what}, are {_described(labels)}: expected a torch.Tensor."]
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool or labels.ndim != 1:
        problems.append(
            f"the labels of {what}, are {_described(labels)}: "
            "expected (N,) whole numbers, the class of each item."
        )
    elif isinstance(items, Tensor) and items.ndim and len(labels) != len(items):
        problems.append(
            f"{what}, has {len(items):,} items and {len(labels):,} labels: expected a label for each item."
        )
    elif len(labels) and labels.min() < 0:
        problems.append(
            f"the labels of {what}, go from {labels.min()} to {labels.max()}: "
            "expected classes from 0 on; every item needs one."
        )
    return problems


def check_classes(
    labels: Mapping[str, Mapping[str, Tensor]], names: Sequence[str] = (), by_row: bool = False
) -> list[str]:
    """Problems of the classes themselves: their names, their numbers, and which of them a split has.

    Args:
        labels: split -> modality name -> (N_m,) whole numbers from 0 on.
        names: of the classes, in the order of their numbers; none where the numbers are their names.
        by_row: whether items are paired by row, so that a split may lack classes.
    """
    if isinstance(names, str) or not all(isinstance(name, str) and name.strip() for name in names):
        return [f"its class names are {names!r}: expected a text for each class."]
    if odd := [name for name in names if len(name) > LONGEST or not name.isprintable()]:
        return [f"the class name {odd[0]!r} is not usable: expected up to {LONGEST} printable characters."]
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        return [f"more than one class is called {twice[0]!r}: expected a name of its own for each."]
    present = {
        split: {name: set(values.unique().tolist()) for name, values in of.items()}
        for split, of in labels.items()
    }
    every = set().union(*(classes for of in present.values() for classes in of.values()))
    count = len(names) or max(every) + 1
    if max(every) >= count:
        return [f"a label is {max(every)}, but only {count} classes have names: expected 0 to {count - 1}."]
    if count < 2:
        return ["all labels are 0: expected two classes or more."]
    if len(every) < count:
        first = next(number for number in range(count) if number not in every)
        return [
            f"the labels go from {min(every)} to {max(every)}, and no item is of class {first}: "
            f"expected all of 0 to {count - 1}. Number the classes from 0 on without gaps; "
            "`classes` may give them any names."
        ]
    if count > MOST_CLASSES:
        return [f"it has {count:,} classes: expected {MOST_CLASSES:,} at most, the kinds of items."]
    problems = []
    for split, of in present.items():
        for name, classes in () if by_row else of.items():
            if missing := sorted(set().union(*of.values()) - classes):
                problems.append(
                    f"{name} has no {split} item of class {', '.join(map(str, missing))}, which another "
                    "modality has: pairs share their class, so every modality needs items of all of them."
                )
    return problems


def _results(what: str, problems: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    """A pair for every problem of one check; one with None where there is none."""
    found: Sequence[str | None] = problems or [None]
    yield from ((what, problem) for problem in found)


def _check_shape(modality: Modality) -> list[str]:
    """Problems of a modality's shape, likelihood and weight."""
    shape, what = modality.shape, f"the modality {modality.name!r}"
    if not (isinstance(shape, tuple) and shape and all(type(size) is int and size > 0 for size in shape)):
        return [f"{what} has the shape {shape!r}: expected a tuple of positive whole numbers."]
    problems = []
    if modality.likelihood == "categorical":
        if len(shape) != 2:
            problems.append(f"{what} is text of shape {shape}: expected (positions, symbols).")
    elif modality.kind == "counts":
        if len(shape) != 1:
            problems.append(f"{what} is counts of shape {shape}: expected (symbols,).")
    elif modality.kind == "image" and len(shape) != 3:
        problems.append(
            f"{what} has the shape {shape}: expected images (C, H, W), or categorical text, multinomial or "
            "poisson counts, or gaussian vectors."
        )
    if modality.likelihood not in (None, *FAMILIES):
        problems.append(
            f"{what} has the likelihood {modality.likelihood!r}: expected {', '.join(FAMILIES)} or None."
        )
    if not (isinstance(modality.weight, (int, float)) and 0 < modality.weight < math.inf):
        problems.append(f"{what} has the weight {modality.weight!r}: expected a positive number.")
    return problems


def _check_items(what: str, modality: Modality, items: object) -> list[str]:
    """Problems of items (N, *shape) uint8, in which 255 stands for 1, or float32 of vectors and counts."""
    if not isinstance(items, Tensor) or items.layout != torch.strided or items.device.type != "cpu":
        return [f"{what} are {_described(items)}: expected a dense torch.Tensor on the CPU."]
    shape = ", ".join(map(str, modality.shape))
    if modality.kind == "vector" or modality.likelihood == "poisson":
        return _check_floats(what, modality, items)
    if items.dtype != torch.uint8:
        remedy = "for floats in [0, 1] write (items * 255).round().to(torch.uint8)"
        return [f"{what} are {_described(items)}: expected uint8 from 0 to 255; {remedy}."]
    if items.shape[1:] != modality.shape or len(items) < 2:
        return [
            f"{what} are {_described(items)}: expected (N, {shape}) as the modality declares, N two or more."
        ]
    if modality.likelihood == "categorical":
        if not ((items == 255).sum(-1) == 1).all() or not ((items == 0) | (items == 255)).all():
            return [
                f"{what} are no one-hot text: expected 255 at one symbol of every position and 0 elsewhere."
            ]
    elif modality.likelihood == "multinomial":
        return _check_counts(what, modality, items)
    elif items.max() <= 1:
        return [f"{what} are all 0 or 1, almost black: 255 stands for white, so multiply them by 255."]
    return []


def _check_floats(what: str, modality: Modality, items: Tensor) -> list[str]:
    """Problems of (N, D) float32 in [0, 1]; of counts, whole multiples of 1 / `words`."""
    right = items.dtype == torch.float32 and items.shape[1:] == modality.shape and len(items) > 1
    if not right or not ((items >= 0) & (items <= 1)).all():
        return [
            f"{what} are {_described(items)}: expected (N, {modality.shape[0]}) float32 from 0 to 1, N two "
            "or more; `low` and `high` of the modality say what 0 and 1 stand for."
        ]
    counts = items.double() * modality.words
    if modality.likelihood == "poisson" and ((counts - counts.round()).abs() > 1e-6 * modality.words).any():
        return [f"{what} are no counts up to {modality.words:,}: expected counts / {modality.words}."]
    return []


def _check_counts(what: str, modality: Modality, items: Tensor) -> list[str]:
    """Problems of counts (N, symbols) uint8, in which 255 stands for as many words as an item may have."""
    counts = (items.double() * modality.words / 255).round()
    if not (items == (counts * 255 / modality.words).round()).all():
        remedy = f"expected (counts * 255 / {modality.words}).round().to(torch.uint8)"
        return [f"{what} are no counts of up to {modality.words} words: {remedy}."]
    least, most = int(counts.sum(-1).min()), int(counts.sum(-1).max())
    if least < 1 or most > modality.words:
        expected = f"expected 1 to {modality.words}, as the modality declares"
        return [f"{what} have {least} to {most} words each: {expected}."]
    return []


def _check_split(part: str, split: object, modalities: Sequence[Modality]) -> list[str]:
    """Problems of the items and labels of one split."""
    if not isinstance(split, Split):
        return [f"its {part} split is {_described(split)}: expected a mmbench.data.Split."]
    names = [m.name for m in modalities]
    for field, of in (("items", split.items), ("labels", split.labels)):
        if not isinstance(of, dict) or list(of) != names:
            held = ", ".join(map(str, of)) if isinstance(of, dict) else _described(of)
            return [
                f"the {field} of its {part} split are of {held}: "
                f"expected a dict in the order of the modalities, {', '.join(names)}."
            ]
    return [
        problem
        for m in modalities
        for problem in check_arrays(f"{m.name}, {part} split", m, split.items[m.name], split.labels[m.name])
    ]


def _check_pairs(part: str, split: Split) -> list[str]:
    """Problems of pairs (P, M): their type, their range, and that a pair has one class."""
    pairs, what = split.pairs, f"the pairs of its {part} split"
    if not isinstance(pairs, Tensor) or pairs.dtype != torch.int64:
        return [f"{what} are {_described(pairs)}: expected int64."]
    if pairs.ndim != 2 or pairs.shape[1] != len(split.items) or not len(pairs):
        return [f"{what} are {_described(pairs)}: expected (P, {len(split.items)}), P not 0."]
    least = 0 if split.rows is None else -1  # where a row lacks a modality
    for (name, labels), column in zip(split.labels.items(), pairs.t(), strict=True):
        if column.min() < least or column.max() >= len(labels):
            return [
                f"{what} name items {column.min()} to {column.max()} of {name}: "
                f"expected 0 to {len(labels) - 1}."
            ]
    classes = torch.stack(
        [labels[column].long() for labels, column in zip(split.labels.values(), pairs.t(), strict=True)]
    )
    there = pairs.t() >= 0
    own = classes.gather(0, there.int().argmax(0, keepdim=True))  # of the first modality that a row has
    if (wrong := ((classes != own) & there).any(0)).any():
        first = int(wrong.nonzero()[0])
        return [
            f"{int(wrong.sum()):,} of {what} are of more than one class (row {first} of "
            f"{', '.join(map(str, classes[:, first].tolist()))}): expected items of one class in a pair."
        ]
    return []


def _check_provenance(data: MultimodalData) -> list[str]:
    """Problems of what the hash of a run covers: it must say how many items of which content there are."""
    remedy = "mmbench.data.splits.assemble makes it."
    try:
        json.dumps(data.provenance, allow_nan=False)
        for name in (m.name for m in data.modalities):
            for part, split in splits_of(data).items():
                stated = data.provenance["modalities"][name][part]
                if stated["images"] != len(split.labels[name]) or len(stated["sha256"]) != 64:
                    return [f"its provenance does not describe the {part} items of {name}: {remedy}"]
        for part, split in splits_of(data).items():
            if data.provenance["pairs"][part] != len(split.pairs):
                count = len(split.pairs)
                return [f"its provenance does not state the {count} pairs of its {part} split: {remedy}"]
        if not all(isinstance(note, str) for note in data.provenance["notes"]):
            return [f"the notes of its provenance are no sentences: {remedy}"]
    except (LookupError, TypeError, ValueError, RecursionError) as error:
        return [f"its provenance is incomplete or no JSON ({type(error).__name__}: {error}): {remedy}"]
    return []


def _described(value: object) -> str:
    """The type of something; of a tensor its shape and numbers."""
    if not isinstance(value, Tensor):
        return f"of type {type(value).__name__}"
    where = "" if value.device.type == "cpu" else f" on {value.device}"
    return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}{where}"
