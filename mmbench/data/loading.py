"""The way to a data set by its name: its loader is called, and what comes back is checked."""

import os
import traceback
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from mmbench.data.base import DATASETS, DatasetEntry, DataSettings, MultimodalData, Split
from mmbench.data.check import LONGEST, DatasetError, check_data, is_usable_name, splits_of
from mmbench.data.own import register_data_file
from mmbench.storage.files import exists
from models.errors import InputError, error_words
from models.parts.own_networks import NETWORKS

__all__ = ["check_dataset", "load_data"]


def load_data(
    name: str | Path, data_dir: str | Path | None = None, settings: DataSettings | None = None
) -> MultimodalData:
    """The data set called `name`, split and paired.

    Args:
        name: a registered data set, or the path of a data file of one's own.
        data_dir: its folder, for those that need one; by default the environment variable MMBENCH_DATA.
        settings: by default DataSettings().

    Raises:
        InputError: for an unknown name, a folder that is missing or unreadable, files that are not as they
            should be, a loader that fails, and data that are not what `MultimodalData` says.
    """
    if isinstance(name, Path):
        name = register_data_file(name).name
    data = _load(name, data_dir, settings)
    if problems := [problem for _, problem in check_data(data) if problem]:
        raise DatasetError(name, problems)
    return _complete(data)


def check_dataset(
    name: str, data_dir: str | Path | None = None, settings: DataSettings | None = None
) -> Iterator[tuple[str, str | None]]:
    """Load a data set and look through it: what was checked, and what is wrong (None where nothing is).

    Raises:
        InputError: for an unknown name.
    """
    DATASETS.get(name)
    try:
        data = _load(name, data_dir, settings)
    except DatasetError as error:
        yield from (("loading", problem) for problem in error.problems)
    except InputError as error:
        yield "loading", str(error)
    else:
        yield "loading", None
        yield from check_data(data)


def _load(name: str, data_dir: str | Path | None, settings: DataSettings | None) -> MultimodalData:
    """What the loader returns, a MultimodalData of this name; it may be wrong in any other way."""
    entry = DATASETS.get(name)
    if not is_usable_name(name):
        raise DatasetError(
            name, [f"files are called by its name: use letters, digits and dashes, at most {LONGEST}."]
        )
    chosen = data_dir or os.environ.get("MMBENCH_DATA")
    folder = Path(os.path.expanduser(chosen)) if chosen else None  # unlike Path's, never raises
    if entry.needs_data_dir:
        _check_folder(name, folder)
    try:
        data = entry.load(folder, settings or DataSettings())
    except InputError:
        raise
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # the author's code may raise anything
        raise InputError(f"The data set {name!r} could not be loaded: {_described(error, entry)}") from error
    if not isinstance(data, MultimodalData):
        raise DatasetError(
            name,
            [
                f"its loader returned {type(data).__name__}: expected a MultimodalData, as "
                f"mmbench.data.splits.assemble makes one{_place(entry)}."
            ],
        )
    if data.name != name:
        raise DatasetError(name, [f"its loader calls it {data.name!r}: expected {name!r}, as registered."])
    return data


def _complete(data: MultimodalData) -> MultimodalData:
    """Make labels int64, name the classes that have no names, note classes that training never sees.

    And look up the networks that modalities ask for.
    """
    train, validation, test = (_with_long_labels(split) for split in splits_of(data).values())
    classes = data.classes or tuple(map(str, range(data.class_count)))
    seen = _classes(train)
    notes = []
    for part, split in (("Validation", validation), ("Test", test)) if data.has_labels else ():
        if unseen := sorted(_classes(split) - seen):
            names = ", ".join(classes[number] for number in unseen)
            notes.append(
                f"{part} items of class {names} are judged and made by networks "
                "that were trained on no item of it"
            )
    networks = {m.name: NETWORKS.get(m.networks) for m in data.modalities if m.networks}
    provenance = {**data.provenance, "notes": [*data.provenance["notes"], *notes]}
    if networks:
        provenance["networks"] = {name: each.code for name, each in networks.items()}
    splits = replace(data, train=train, validation=validation, test=test)
    return replace(splits, classes=classes, provenance=provenance, networks=tuple(networks.values()))


def _with_long_labels(split: Split) -> Split:
    return replace(split, labels={name: labels.long() for name, labels in split.labels.items()})


def _classes(split: Split) -> set[int]:
    return set().union(*(_unique(labels) for labels in split.labels.values()))


def _unique(labels: Tensor) -> list[int]:
    return labels.unique().tolist()


def _described(error: BaseException, entry: DatasetEntry) -> str:
    """Type, message and place of what a loader raised: the innermost line of the package that it is from."""
    frames = list(traceback.walk_tb(error.__traceback__))[1:]
    package = _package(getattr(entry.load, "__module__", ""))
    own = [each for each in frames if _package(each[0].f_globals.get("__name__", "")) == package]
    words = error_words(error)
    if not (own or frames):
        return f"{words}."
    frame, line = (own or frames)[-1]
    return f"{words} ({frame.f_code.co_filename}, line {line}, in {frame.f_code.co_name})."


def _place(entry: DatasetEntry) -> str:
    """Where the loader begins, where that can be told."""
    code = getattr(entry.load, "__code__", None)
    return f" ({code.co_filename}, line {code.co_firstlineno}, in {code.co_name})" if code else ""


def _package(module: object) -> str:
    return str(module).partition(".")[0]


def _check_folder(name: str, folder: Path | None) -> None:
    """InputError unless there is a folder that can be read."""
    if folder is None:
        raise InputError(
            f"Data set {name!r} is read from a folder: "
            "name it with --data-dir or the environment variable MMBENCH_DATA."
        )
    if not exists(folder):
        raise InputError(
            f"The data directory {folder} does not exist: "
            "give the folder with the images, or create it for a download."
        )
    if not folder.is_dir():
        raise InputError(f"The data directory {folder} is a file: give the folder that holds it.")
    if not os.access(folder, os.R_OK | os.X_OK):
        raise InputError(
            f"The data directory {folder} cannot be read: change its permissions or give another one."
        )
