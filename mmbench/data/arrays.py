"""Labelled images in .npz files, checked before they are believed.

A file holds `images` (N, H, W) or (N, H, W, C) uint8 and `labels` (N,) whole numbers from 0 to 9. Arrays that mix the official
parts of a data set, split again by photo, say so in `official_part` (N,): 0 for an image of the official train part, 1 for the test part.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from mmbench.data.splits import Images
from mmbench.storage.archives import MAX_BYTES, Header, read_headers, read_npz
from models.errors import InputError

__all__ = ["LabelledArrays", "check_labels", "read_arrays", "to_images"]

CLASSES = 10


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
    try:
        with path.open("rb") as file:
            headers = read_headers(file)
        _check_headers(path, headers, shape)
        found = read_npz(path)
    except InputError:  # is a ValueError too
        raise
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise InputError(
            f"{path} cannot be read as an .npz archive ({reason}): copy or make it again, as numpy.savez_compressed does."
        ) from error
    arrays = LabelledArrays(found["images"], found["labels"], found.get("official_part"))
    check_labels(path, arrays.labels)
    if arrays.official_part is not None and not np.isin(arrays.official_part, (0, 1)).all():
        raise InputError(
            f"`official_part` in {path} holds other values than 0 and 1: expected 0 for the official train part, 1 for its test part."
        )
    return arrays


def check_labels(path: Path, labels: np.ndarray) -> None:
    """Refuse labels outside 0 to 9 and classes of fewer than 2 images (one must stay when one is held out)."""
    if labels.min() < 0 or labels.max() >= CLASSES:
        raise InputError(
            f"The labels in {path} go from {labels.min()} to {labels.max()}: expected digits from 0 to 9 (SVHN's 10 is written 0)."
        )
    counts = np.bincount(labels.astype(np.int64), minlength=CLASSES)
    if rare := np.flatnonzero(counts < 2).tolist():
        raise InputError(
            f"{path} has fewer than 2 images of class {', '.join(map(str, rare))}: every digit needs at least 2."
        )


def to_images(arrays: LabelledArrays) -> Images:
    """From (N, H, W) or (N, H, W, C) arrays to (N, C, H, W) tensors."""
    channels_last = arrays.images[..., None] if arrays.images.ndim == 3 else arrays.images
    return Images(
        torch.from_numpy(channels_last.transpose(0, 3, 1, 2).copy()),
        torch.from_numpy(arrays.labels.astype(np.int64)),
    )


def _check_headers(path: Path, headers: dict[str, Header], shape: tuple[int, ...]) -> None:
    wanted = f"`images` (N, {', '.join(map(str, shape))}) uint8 and `labels` (N,) whole numbers"
    for name in ("images", "labels"):
        if name not in headers:
            raise InputError(
                f"{path} has no `{name}`: expected {wanted}; it holds {', '.join(headers) or 'nothing'}."
            )
    for name, header in headers.items():
        right = (
            header.dtype == np.uint8 and header.shape[1:] == shape
            if name == "images"
            else header.dtype.kind in "iu" and len(header.shape) == 1
        )
        if name in LabelledArrays._fields and not (right and header.shape[0] > 0):
            raise InputError(f"`{name}` in {path} is {header}: expected {wanted}.")
    size = headers["images"].shape[0]
    if size * int(np.prod(shape)) > MAX_BYTES:
        raise InputError(
            f"`images` in {path} declares {size:,} images, more than {MAX_BYTES // 2**30} GiB: make the file again with fewer."
        )
    for name in ("labels", "official_part"):
        if name in headers and headers[name].shape[0] != size:
            raise InputError(
                f"{path} holds {size:,} images but {headers[name].shape[0]:,} of `{name}`: expected one for each image."
            )
