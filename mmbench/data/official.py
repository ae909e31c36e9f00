"""MNIST and SVHN as they are published: read from a folder, or downloaded first where they are missing.

MNIST is four IDX files, with a dash or a dot in their names, packed (.gz) or not, in the folder itself or
where torchvision unpacks them (MNIST/raw). SVHN is two .mat files, which must be the published ones.
"""

import gzip
import hashlib
import shutil
import struct
import zlib
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mmbench.data.arrays import LabelledArrays, check_labels
from mmbench.storage.files import cache_dir, content_hash
from mmbench.storage.locks import locked
from models.errors import InputError

__all__ = ["OFFICIAL", "read_official"]

# of torchvision's downloads
FAILURES = (OSError, RuntimeError, ValueError, TypeError, AssertionError, HTTPException)


class Official(NamedTuple):
    """A published data set.

    Attributes:
        shape: of an image as an array.
        train, test: how many images each part has.
        noun: what they are.
        files: as torchvision names them, those of the train part first.
    """

    shape: tuple[int, ...]
    train: int
    test: int
    noun: str
    files: tuple[str, ...]


_MNIST_FILES = tuple(
    f"MNIST/raw/{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")
)
OFFICIAL = {
    "mnist": Official((28, 28), 60_000, 10_000, "images", _MNIST_FILES),
    # SVHN's third part, extra, is not used.
    "svhn": Official((32, 32, 3), 73_257, 26_032, "crops", ("train_32x32.mat", "test_32x32.mat")),
}


def read_official(name: str, folder: Path) -> tuple[LabelledArrays, LabelledArrays]:
    """The train and the test part of "mnist" or "svhn" from the published files in `folder`.

    Raises:
        InputError: if they are missing and cannot be downloaded, or damaged.
    """
    found = _find(name, folder) or _find_after_download(name, folder)
    parts = []
    for paths in (found[: len(found) // 2], found[len(found) // 2 :]):
        images, labels = _read_mnist(*paths) if name == "mnist" else _read_svhn(*paths)
        shape = OFFICIAL[name].shape
        if images.dtype != np.uint8 or images.shape[1:] != shape or len(images) != len(labels):
            found_in = f"{' and '.join(map(str, paths))} hold images {images.shape} {images.dtype}"
            raise InputError(
                f"{found_in} and {len(labels)} labels, expected uint8 images of {shape} and one label each: "
                f"get them again, or {_own(name)}."
            )
        check_labels(paths[-1], labels)
        parts.append(LabelledArrays(images, labels, None))
    train, test = parts
    return train, test


def _find(name: str, folder: Path) -> list[Path]:
    """The files of `name` in `folder`, in the order of OFFICIAL; empty unless all are there."""
    found = [_find_file(folder / file) for file in OFFICIAL[name].files]
    paths = [path for path in found if path is not None]
    return paths if len(paths) == len(found) else []


def _find_file(path: Path) -> Path | None:
    """The file at `path`, or one of another spelling of its name."""
    places = [path]
    if path.name.endswith("-ubyte"):
        dotted = path.name.replace("-idx", ".idx")
        names = [spelling + end for end in ("", ".gz") for spelling in (path.name, dotted)]
        places = [place / name for place in (path.parent, path.parents[2]) for name in names]
    return next((place for place in places if place.is_file()), None)


def _find_after_download(name: str, folder: Path) -> list[Path]:
    """The files of `name`, downloaded to `folder` unless another command did so meanwhile."""
    lock = cache_dir() / "downloads" / f".{content_hash(str(folder.resolve()))}.lock"

    def wait() -> None:
        print(f"Waiting for another command that downloads {name} to {folder}.", flush=True)

    try:
        with locked(lock, wait):
            if not (found := _find(name, folder)):
                _download(name, folder)
                found = _find(name, folder)
    except FAILURES as error:
        files = OFFICIAL[name].files
        there = [path.name for file in files if (path := _find_file(folder / file))]
        some = f" Of the latter there is {', '.join(there)} alone." if there else ""
        raise InputError(
            f"{folder} holds neither {name}_train.npz and {name}_test.npz nor torchvision's "
            f"{', '.join(files)}, and their download failed ({_first_line(error)}): "
            f"put the one or the other there.{some}"
        ) from error
    return found


def _download(name: str, folder: Path) -> None:
    """Let torchvision download both parts to a scratch folder, and keep them only once they are whole."""
    from torchvision.datasets import MNIST, SVHN

    downloads: dict[str, Callable[[str], list[object]]] = {
        "mnist": lambda to: [MNIST(to, train=train, download=True) for train in (True, False)],
        "svhn": lambda to: [SVHN(to, split=split, download=True) for split in ("train", "test")],
    }
    scratch = folder / ".download"
    shutil.rmtree(scratch, ignore_errors=True)  # of a command that was killed
    scratch.mkdir()
    try:
        downloads[name](str(scratch))
        for file in filter(Path.is_file, scratch.rglob("*")):
            target = folder / file.relative_to(scratch)
            target.parent.mkdir(parents=True, exist_ok=True)
            file.replace(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _read_mnist(images: Path, labels: Path) -> tuple[np.ndarray, np.ndarray]:
    return _read_idx(images, 3), _read_idx(labels, 1)


def _read_idx(path: Path, dimensions: int) -> np.ndarray:
    """The array in an IDX file: two zeros, 8 for bytes, the number of dimensions, their sizes, the bytes."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            if (magic := file.read(4)) != bytes((0, 0, 8, dimensions)):
                raise ValueError(f"it begins with {magic.hex(' ') or 'nothing'}")
            shape = struct.unpack(f">{dimensions}I", file.read(4 * dimensions))
            content = file.read()
        return np.frombuffer(content, np.uint8).reshape(shape)
    except (OSError, EOFError, ValueError, struct.error, zlib.error) as error:
        reason = getattr(error, "strerror", None) or _first_line(error)
        raise InputError(
            f"{path} cannot be read as an IDX file of bytes in {dimensions} dimensions ({reason}): "
            f"get it again, or {_own('mnist')}."
        ) from error


def _read_svhn(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 32, 32, 3) and labels (N,), the digit 0 as 0 and not as 10.

    InputError unless it is the published file.
    """
    from scipy.io import loadmat
    from torchvision.datasets import SVHN

    url, _, published = next(of for of in SVHN.split_list.values() if of[1] == path.name)
    try:
        found = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): change its permissions.") from error
    if found != published:
        raise InputError(
            f"{path} is not the published file, its MD5 is {found} and not {published}: "
            f"get it from {url}, or, where it differs on purpose, {_own('svhn')}."
        )
    content = loadmat(path)
    labels = content["y"].astype(np.int64).squeeze(1) % 10
    return content["X"].transpose(3, 0, 1, 2), labels


def _own(name: str) -> str:
    """What to do with files of one's own, in a clause."""
    return f"save its images and labels as {name}_train.npz and {name}_test.npz, which are read instead"


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
