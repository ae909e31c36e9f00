"""The arrays of a data file: those of an .npz, or of a folder of files that are paired by their names.

    mine/photo/cat-1.png, ...     a modality of pictures of one size, grey or colour: the item of row `cat-1`
    mine/sound/cat-1.npy, ...     a modality of arrays of one shape
    mine/blood.csv                a modality of numbers: row names in the first column, a head above
    mine/labels.csv               row names, and a class each

The same below mine/train/ and mine/test/ where it is split. A row that a modality has no file or line of
lacks it. Numbers without a point are counts.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from mmbench.data.own.arrays import LABELS, PARTS
from mmbench.storage.archives import read_npz
from mmbench.storage.bounds import MOST, check_file
from models.errors import InputError

__all__ = ["read_arrays"]

PICTURES = (".png", ".webp", ".bmp", ".jpg", ".jpeg", ".gif", ".tif", ".tiff")


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays in an .npz or a folder by name, as `mmbench.data.own.arrays` names them.

    Raises:
        InputError: for anything that cannot be read; no file is ever unpickled.
    """
    if not path.is_dir():
        return _attempt(path, read_npz)
    parts = [part for part in PARTS if (path / part).is_dir()]
    if not parts:
        return _read_folder(path, "")
    return {name: array for part in parts for name, array in _read_folder(path / part, f"_{part}").items()}


def _attempt(path: Path, read: Callable[[Path], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """What `read` gives; an InputError where it fails."""
    try:
        return read(path)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise InputError(
            f"The data file {path} cannot be read ({reason}): expected arrays of numbers, as "
            "numpy.savez_compressed writes them; Python objects are never unpickled."
        ) from error


def _read_folder(folder: Path, suffix: str) -> dict[str, np.ndarray]:
    """The arrays of one folder, their rows in the order of the names of all rows."""
    modalities: dict[str, dict[str, np.ndarray]] = {}
    labels: dict[str, str] = {}
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            modalities[path.name] = _read_files(path)
        elif path.name == f"{LABELS}.csv":
            table = _read_csv(path)
            labels = dict(zip(table.index, table.iloc[:, 0].astype(str), strict=True))
        elif path.suffix == ".csv":
            modalities[path.stem] = _read_numbers(path)
    if not modalities:
        raise InputError(
            f"The data folder {folder} holds no modality: expected folders of pictures or arrays, or .csv "
            "files (docs/own-data.md)."
        )
    names = sorted(set().union(*modalities.values()))
    found = {}
    for modality, items in modalities.items():
        first = next(iter(items.values()))
        array = np.zeros((len(names), *first.shape), first.dtype)
        there = np.array([name in items for name in names])
        array[there] = np.stack([items[name] for name in names if name in items])
        found[f"{modality}{suffix}"] = array
        if not there.all():
            found[f"{modality}_mask{suffix}"] = there
    if labels:
        if lacking := [name for name in names if name not in labels]:
            raise InputError(
                f"{folder / LABELS}.csv has no class of {lacking[0]!r} ({len(lacking)} in all): expected a "
                "line for every row."
            )
        found[f"{LABELS}{suffix}"] = np.array([labels[name] for name in names])
    return found


def _read_files(folder: Path) -> dict[str, np.ndarray]:
    """Row name -> item, of the pictures or arrays in a folder, all of one shape and type."""
    items: dict[str, np.ndarray] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in (*PICTURES, ".npy"):
            continue
        if path.stem in items:
            raise InputError(f"{folder} has two files of the row {path.stem!r}: leave one of them.")
        items[path.stem] = _read_array(path) if path.suffix.lower() == ".npy" else _read_picture(path)
        first = next(iter(items.values()))
        if (items[path.stem].shape, items[path.stem].dtype) != (first.shape, first.dtype):
            raise InputError(
                f"{path} is {items[path.stem].dtype} {items[path.stem].shape}, and {next(iter(items))!r} "
                f"beside it {first.dtype} {first.shape}: expected items of one size and colour."
            )
    if not items:
        raise InputError(f"{folder} holds no pictures and no .npy: expected an item of every row.")
    return items


def _read_picture(path: Path) -> np.ndarray:
    """(H, W) or (3, H, W) bytes."""
    try:
        with Image.open(path) as picture:
            grey = picture.mode in ("1", "L", "LA", "I", "I;16")
            pixels = np.array(picture.convert("L" if grey else "RGB"), np.uint8)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} cannot be read as a picture ({error}).") from None
    return pixels if grey else pixels.transpose(2, 0, 1)


def _read_array(path: Path) -> np.ndarray:
    try:
        check_file(path, MOST["archive"])
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} cannot be read as an array ({error}).") from None


def _read_csv(path: Path) -> pd.DataFrame:
    """A table whose rows are called as its first column says."""
    try:
        table = pd.read_csv(path, index_col=0)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as a table ({error}).") from None
    table.index = table.index.astype(str)
    if not table.shape[1] or not len(table):
        raise InputError(f"{path} has no values: expected row names, then a value or more in every line.")
    if table.index.has_duplicates:
        twice = table.index[table.index.duplicated()][0]
        raise InputError(f"{path} has two lines of the row {twice!r}: leave one of them.")
    return table


def _read_numbers(path: Path) -> dict[str, np.ndarray]:
    """Row name -> its numbers; a line of empty fields is a row that lacks the modality."""
    table = _read_csv(path).dropna(how="all")
    if odd := [str(name) for name, kind in table.dtypes.items() if kind.kind not in "biuf"]:
        raise InputError(f"{path} has texts in column {odd[0]!r}: expected numbers, one-hot for kinds.")
    values = table.to_numpy()
    return dict(zip(table.index, values, strict=True))
