"""Labelled images in .npz files, checked before they are believed.

A file holds `images` (N, H, W) or (N, H, W, C) uint8 and `labels` (N,) whole numbers from 0 to 9. Where a
data set was split anew, `official_part` (N,) says which official part each image comes from: 0 for train, 1
for test.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from mmbench.data.splits import Images
from mmbench.storage.archives import read_npz
from models.errors import InputError

__all__ = ["LabelledArrays", "check_labels", "open_archive", "read_arrays", "to_images"]

DIGITS = 10


class LabelledArrays(NamedTuple):
    """What a file holds: `images` (N, *shape) uint8, `labels` (N,) and, in some, `official_part` (N,)."""

    images: np.ndarray
    labels: np.ndarray
    official_part: np.ndarray | None


def read_arrays(path: Path, shape: tuple[int, ...]) -> LabelledArrays:
    """Read a file of images of (H, W[, C]) `shape`.

    Raises:
        InputError: for anything that is not as the docstring of this module says, naming the file.
    """
    found = open_archive(path)
    _check_arrays(path, found, shape)
    arrays = LabelledArrays(found["images"], found["labels"], found.get("official_part"))
    check_labels(path, arrays.labels)
    if arrays.official_part is not None and not np.isin(arrays.official_part, (0, 1)).all():
        raise InputError(
            f"`official_part` in {path} holds other values than 0 and 1: "
            "expected 0 for the official train part, 1 for its test part."
        )
    return arrays


def open_archive(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz by name; an InputError names a file that is missing or cannot be read."""
    try:
        return read_npz(path)
    except FileNotFoundError:
        raise InputError(
            f"{path.parent} holds no {path.name}: put it there, as docs/data-sets.md describes it."
        ) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise InputError(
            f"{path} cannot be read as an .npz archive ({reason}): "
            "copy or make it again, as numpy.savez_compressed does."
        ) from error


def check_labels(path: Path, labels: np.ndarray) -> None:
    """InputError for labels outside 0 to 9, and for digits of fewer than 2 images: one is held out."""
    if labels.min() < 0 or labels.max() >= DIGITS:
        raise InputError(
            f"The labels in {path} go from {labels.min()} to {labels.max()}: "
            "expected digits from 0 to 9 (SVHN's 10 is written 0)."
        )
    counts = np.bincount(labels.astype(np.int64), minlength=DIGITS)
    if rare := np.flatnonzero(counts < 2).tolist():
        classes = ", ".join(map(str, rare))
        raise InputError(f"{path} has fewer than 2 images of class {classes}: every digit needs at least 2.")


def to_images(arrays: LabelledArrays) -> Images:
    """From (N, H, W) or (N, H, W, C) arrays to (N, C, H, W) tensors."""
    channels_last = arrays.images[..., None] if arrays.images.ndim == 3 else arrays.images
    return Images(
        torch.from_numpy(channels_last.transpose(0, 3, 1, 2).copy()),
        torch.from_numpy(arrays.labels.astype(np.int64)),
    )


def _check_arrays(path: Path, found: dict[str, np.ndarray], shape: tuple[int, ...]) -> None:
    """InputError for arrays that are missing, of another type or shape, empty, or of different lengths."""
    wanted = f"`images` (N, {', '.join(map(str, shape))}) uint8 and `labels` (N,) whole numbers"
    for name in ("images", "labels"):
        if name not in found:
            held = ", ".join(found) or "nothing"
            raise InputError(f"{path} has no `{name}`: expected {wanted}; it holds {held}.")
    images = found["images"]
    right = images.dtype == np.uint8 and images.shape[1:] == shape and len(images) > 0
    if not right:
        raise InputError(f"`images` in {path} is {_describe(images)}: expected {wanted}.")
    for name in ("labels", "official_part"):
        array = found.get(name, np.zeros(len(images), np.uint8))
        if array.dtype.kind not in "iu" or array.ndim != 1:
            raise InputError(f"`{name}` in {path} is {_describe(array)}: expected {wanted}.")
        if len(array) != len(images):
            raise InputError(
                f"{path} holds {len(images):,} images but {len(array):,} of `{name}`: "
                "expected one for each image."
            )


def _describe(array: np.ndarray) -> str:
    return f"({', '.join(map(str, array.shape))}) {array.dtype}"
