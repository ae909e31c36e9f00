"""The arrays of a data file by what their names say: modalities, labels, and which rows lack what.

    image, audio              (N, ...) each: row i of all of them is one item
    image_train, image_test   the same, split already; all of the arrays then are
    labels                    (N,) whole numbers or texts, any; or none
    audio_mask                (N,) true where a row has the modality
    audio_missing             (N,) true where a row lacks it, or the numbers of such rows
    mask                      (N, M) in place of these: true where row i has modality m, in the file's order

`labels_train`, `audio_mask_train`, `mask_test` and so on where the file is split already.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from mmbench.data.check import DatasetError

__all__ = ["PARTS", "Part", "sort_arrays"]

PARTS = ("train", "test")
LABELS, MASK = "labels", "mask"
_NAME = re.compile(r"(.+?)(?:_(train|test))?(?:_(mask|missing))?(?:_(train|test))?")


@dataclass(frozen=True)
class Part:
    """Rows that belong to one part of a file: "train", "test", or "" where it is not split.

    Attributes:
        name: of the part.
        arrays: modality name -> (N, ...).
        there: modality name -> (N,) bool, whether a row has the modality.
        labels: (N,), None without labels.
        numbers: (N,) the numbers of the rows in the file.
    """

    name: str
    arrays: dict[str, np.ndarray]
    there: dict[str, np.ndarray]
    labels: np.ndarray | None
    numbers: np.ndarray

    def __len__(self) -> int:
        return len(self.numbers)

    def at(self, index: np.ndarray) -> "Part":
        """Some of its rows."""
        arrays = {name: array[index] for name, array in self.arrays.items()}
        there = {name: present[index] for name, present in self.there.items()}
        labels = None if self.labels is None else self.labels[index]
        return replace(self, arrays=arrays, there=there, labels=labels, numbers=self.numbers[index])

    def called(self, modality: str) -> str:
        """The name of the array of a modality in the file."""
        return f"{modality}_{self.name}" if self.name else modality


class _Key(NamedTuple):
    """What the name of an array says."""

    name: str
    part: str
    what: str


def sort_arrays(dataset: str, found: Mapping[str, np.ndarray], command: str) -> list[Part]:
    """The one part of a file, or its train and its test part.

    Args:
        dataset: its name, and `command` the one that lists all of its problems, for messages.
        found: name -> array.

    Raises:
        DatasetError: for arrays that do not belong together.
    """
    keys = {_parse(name): name for name in found}
    modalities = list(dict.fromkeys(key.name for key in keys if _is_modality(key)))
    parts = [part for part in ("", *PARTS) if any(key.part == part for key in keys)]
    problems = _check_names(keys, modalities, parts)
    if not problems:
        by_key = {key: found[name] for key, name in keys.items()}
        problems = [p for part in parts for p in _check_lengths(by_key, modalities, part)]
    if problems:
        raise DatasetError(dataset, problems, command)
    sorted_parts = []
    for part in parts:
        arrays = {name: by_key[_Key(name, part, "")] for name in modalities}
        count = len(next(iter(arrays.values())))
        there: dict[str, np.ndarray] = {}
        for column, name in enumerate(modalities):
            present, problem = _presence(by_key, name, column, part, count)
            there[name] = present
            problems += [problem] if problem else []
        problems += [] if problems else _check_rows(there, part)
        labels = by_key.get(_Key(LABELS, part, ""))
        sorted_parts.append(Part(part, arrays, there, labels, np.arange(count)))
    if problems:
        raise DatasetError(dataset, problems, command)
    return sorted_parts


def _parse(name: str) -> _Key:
    match = _NAME.fullmatch(name)
    assert match
    base, early, what, late = match.groups()
    return _Key(base, early or late or "", what or "")


def _is_modality(key: _Key) -> bool:
    return not key.what and key.name not in (LABELS, MASK)


def _spelled(key: _Key) -> str:
    return "_".join(filter(None, key))


def _check_names(keys: Mapping[_Key, str], modalities: list[str], parts: list[str]) -> list[str]:
    """Problems of arrays that are missing, or there in two ways."""
    held = ", ".join(keys.values()) or "nothing"
    if not modalities:
        return [f"it holds no modality ({held}): expected an array for each, (N, ...) with an item per row."]
    if "" in parts and len(parts) > 1:
        whole = next(name for key, name in keys.items() if not key.part)
        split = next(name for key, name in keys.items() if key.part)
        return [
            f"`{whole}` is one array and `{split}` a part: expected all arrays whole, or all of them as "
            "NAME_train and NAME_test."
        ]
    if parts != [""] and parts != [*PARTS]:
        return [f"it has {parts[0]} rows alone ({held}): expected NAME_train and NAME_test of every array."]
    problems = [
        f"there is no `{_spelled(_Key(name, part, ''))}`: expected both parts of every modality."
        for part in parts
        for name in modalities
        if _Key(name, part, "") not in keys
    ]
    if (labelled := [part for part in parts if _Key(LABELS, part, "") in keys]) and labelled != parts:
        problems.append(f"there is `labels_{labelled[0]}` alone: expected labels of both parts, or of none.")
    problems += [
        f"`{name}` says which rows have {key.name}, which is no array of the file: rename one of them."
        for key, name in keys.items()
        if key.what and key.name not in modalities
    ]
    return problems


def _check_lengths(arrays: Mapping[_Key, np.ndarray], modalities: Iterable[str], part: str) -> list[str]:
    """Problems of arrays without rows, or with other numbers of rows than the first."""
    names = [_Key(name, part, "") for name in modalities]
    names += [_Key(LABELS, part, "")] if _Key(LABELS, part, "") in arrays else []
    for key in names:
        if arrays[key].ndim < 1 or not len(arrays[key]):
            return [f"`{_spelled(key)}` has no rows: expected (N, ...) with an item in every row."]
    first = names[0]
    count = len(arrays[first])
    return [
        f"`{_spelled(key)}` has {len(arrays[key]):,} rows and `{_spelled(first)}` {count:,}: expected as "
        "many, as row i of all arrays is one item. Fill rows that lack a modality with zeros, and name "
        "them in "
        f"`{_spelled(_Key(key.name, part, 'missing'))}`."
        for key in names[1:]
        if len(arrays[key]) != count
    ]


def _presence(
    arrays: Mapping[_Key, np.ndarray], name: str, column: int, part: str, count: int
) -> tuple[np.ndarray, str | None]:
    """(N,) whether a row has a modality, the file's number `column`; and what is wrong with what says so."""
    own = [_Key(name, part, what) for what in ("mask", "missing") if _Key(name, part, what) in arrays]
    whole = _Key(MASK, part, "")
    everywhere = np.ones(count, bool)
    if len(own) + (whole in arrays) > 1:
        both = ", ".join(f"`{_spelled(key)}`" for key in [*own, *([whole] if whole in arrays else [])])
        return everywhere, f"{both} all say which rows have {name}: leave one of them."
    if not own:
        if whole not in arrays:
            return everywhere, None
        mask = arrays[whole]
        if mask.ndim != 2 or len(mask) != count or column >= mask.shape[1] or not _is_truth(mask):
            return everywhere, f"`{_spelled(whole)}` is {_shown(mask)}: expected ({count}, M) true or false."
        return mask[:, column].astype(bool), None
    (key,) = own
    value = arrays[key]
    if value.shape == (count,) and _is_truth(value) and (value.dtype == bool or count > 2):
        return (value.astype(bool) if key.what == "mask" else ~value.astype(bool)), None
    if key.what == "mask":
        return everywhere, f"`{_spelled(key)}` is {_shown(value)}: expected ({count},) true or false."
    if value.ndim != 1 or (len(value) and value.dtype.kind not in "iu"):
        return everywhere, f"`{_spelled(key)}` is {_shown(value)}: expected the numbers of rows."
    if len(value) and (value.min() < 0 or value.max() >= count):
        row = int(value.min() if value.min() < 0 else value.max())
        return everywhere, f"`{_spelled(key)}` names row {row}: expected 0 to {count - 1}."
    everywhere[value.astype(np.int64)] = False
    return everywhere, None


def _check_rows(there: Mapping[str, np.ndarray], part: str) -> list[str]:
    """Problems of rows without any modality, and of modalities without rows."""
    empty = np.flatnonzero(~np.stack(list(there.values())).any(0))
    where = f" of the {part} part" if part else ""
    problems = []
    if len(empty):
        problems.append(f"row {empty[0]}{where} lacks every modality ({len(empty)} in all): leave it out.")
    return problems + [
        f"every row{where} lacks {name}: leave the modality out, or name fewer rows."
        for name, present in there.items()
        if not present.any()
    ]


def _is_truth(value: np.ndarray) -> bool:
    return value.dtype == bool or (value.dtype.kind in "iu" and bool(np.isin(value, (0, 1)).all()))


def _shown(value: np.ndarray) -> str:
    return f"{value.dtype} {value.shape}"
