"""MNIST and SVHN as torchvision keeps them on disk: read, or downloaded first where they are missing."""

import shutil
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mmbench.data.arrays import LabelledArrays, check_labels
from mmbench.storage.files import cache_dir, content_hash
from mmbench.storage.locks import locked
from models.errors import InputError

__all__ = ["OFFICIAL", "read_official"]

FAILURES = (
    OSError,
    RuntimeError,
    ValueError,
    TypeError,
    AssertionError,
    HTTPException,
)  # of torchvision's readers and downloads


class Official(NamedTuple):
    """A published data set: shape of an image as an array, images of its train and test parts, what they are, torchvision's files."""

    shape: tuple[int, ...]
    train: int
    test: int
    noun: str
    files: tuple[str, ...]


OFFICIAL = {
    "mnist": Official(
        (28, 28),
        60_000,
        10_000,
        "images",
        tuple(
            f"MNIST/raw/{part}-{kind}-ubyte"
            for part in ("train", "t10k")
            for kind in ("images-idx3", "labels-idx1")
        ),
    ),
    # SVHN's third part, extra, is not used.
    "svhn": Official((32, 32, 3), 73_257, 26_032, "crops", ("train_32x32.mat", "test_32x32.mat")),
}


def read_official(name: str, folder: Path) -> tuple[LabelledArrays, LabelledArrays]:
    """The train and the test part of "mnist" or "svhn" from torchvision's files in `folder`.

    Raises:
        InputError: if they are missing and cannot be downloaded, or damaged.
    """
    official, open_part = OFFICIAL[name], {"mnist": _open_mnist, "svhn": _open_svhn}[name]
    files = ", ".join(official.files)
    if not _are_there(official, folder):
        try:
            lock = cache_dir() / "downloads" / f".{content_hash(str(folder.resolve()))}.lock"
            with locked(
                lock,
                lambda: print(f"Waiting for another command that downloads {name} to {folder}.", flush=True),
            ):
                if not _are_there(official, folder):  # the other one has not made them
                    _download(open_part, folder)
        except FAILURES as error:
            raise InputError(
                f"{folder} holds neither {name}_train.npz and {name}_test.npz nor torchvision's {files}, "
                f"and their download failed ({_first_line(error)}): put the one or the other there."
            ) from error
    try:
        train, test = (_to_arrays(open_part(folder, train, False), official.shape) for train in (True, False))
    except FAILURES as error:
        raise InputError(
            f"torchvision cannot read its files in {folder} ({files}; {_first_line(error)}): delete them to have them downloaded again."
        ) from error
    check_labels(folder / official.files[0], train.labels)
    check_labels(folder / official.files[-1], test.labels)
    return train, test


def _open_mnist(folder: Path, train: bool, download: bool) -> tuple[np.ndarray, np.ndarray]:
    from torchvision.datasets import MNIST

    data = MNIST(str(folder), train=train, download=download)
    return data.data.numpy(), data.targets.numpy()


def _open_svhn(folder: Path, train: bool, download: bool) -> tuple[np.ndarray, np.ndarray]:
    from torchvision.datasets import SVHN

    data = SVHN(
        str(folder), split="train" if train else "test", download=download
    )  # checks MD5, maps label 10 to 0
    return data.data.transpose(0, 2, 3, 1), data.labels


def _are_there(official: Official, folder: Path) -> bool:
    return all((folder / file).exists() for file in official.files)


def _download(open_part: Callable[[Path, bool, bool], Any], folder: Path) -> None:
    """Let torchvision download both parts to a scratch folder, and keep them only once they are whole."""
    scratch = folder / ".download"
    shutil.rmtree(scratch, ignore_errors=True)  # of a command that was killed
    scratch.mkdir()
    try:
        for train in (True, False):
            open_part(scratch, train, True)
        for file in filter(Path.is_file, scratch.rglob("*")):
            target = folder / file.relative_to(scratch)
            target.parent.mkdir(parents=True, exist_ok=True)
            file.replace(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _to_arrays(part: tuple[np.ndarray, np.ndarray], shape: tuple[int, ...]) -> LabelledArrays:
    images, labels = part
    if images.shape != (len(labels), *shape):
        raise ValueError(f"images {images.shape} with {len(labels)} labels, expected {shape} each")
    return LabelledArrays(images, labels, None)


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
