"""PolyMNIST (Sutter et al. 2021): MNIST digits on crops of five photos, one photo for each modality.

Made by the authors' recipe from MNIST and `polymnist/`, a folder of photos (the first five .jpg or .png by
name); or read from the folders of the published images, `train/m0/<i>.<label>.png` to `test/m4/...`, in
`polymnist/` or in the data folder itself.
"""

import hashlib
import io
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mmbench.data.base import DataSettings, MultimodalData, register_dataset
from mmbench.data.mnist_svhn import read_mnist
from mmbench.data.poly import SIDE, modalities_of, on_photos
from mmbench.data.splits import Images, assemble
from mmbench.storage.files import exists
from models.about import cite
from models.errors import InputError

__all__ = ["MODALITIES", "Photo", "load_polymnist", "read_photos", "read_published"]

MODALITIES = modalities_of(5)
FOLDER = "polymnist"
NAME = re.compile(r"(\d+)\.(\d)\.png")  # of a published image: its number and its class
PUBLISHED = 60_000, 10_000  # images of each modality
PAIRS = "the published data have one tuple of images per digit, here tuples are drawn within the class"


class Photo(NamedTuple):
    """A photo: its file's name, the SHA-256 of the file, and (3, H, W) uint8."""

    file: str
    sha256: str
    pixels: Tensor


@register_dataset(
    "polymnist",
    source="LeCun et al. 1998; Sutter et al. 2021",
    default_preset="cpu",
    needs_data_dir=True,
    description="MNIST digits on crops of five photos, five modalities, by the recipe of PolyMNIST or as "
    "published, from --data-dir",
    licence="MNIST is CC BY-SA 3.0. Photos keep the licences of their authors; for the published images none "
    "is stated.",
    bibtex=cite("lecun1998mnist", "sutter2021mopoe"),
)
def load_polymnist(data_dir: Path | None, settings: DataSettings) -> MultimodalData:
    """Five modalities 3x28x28 from `data_dir`, whose `polymnist/` has photos or the published images.

    A digit of MNIST is where its pixels are above 128: there the colours of a random crop of the photo are
    inverted. Tuples are drawn within the class, so that modalities show different writings; the published
    data have one tuple of images per digit.

    Raises:
        InputError: for files that are missing, or that are not as they should be.
    """
    assert data_dir is not None  # `load_data` has seen to it
    folder = data_dir / FOLDER
    for published in (folder, data_dir):
        if exists(published / "train" / "m0"):
            train, test = (read_published(published / part) for part in ("train", "test"))
            parts = {m.name: (train[m.name], test[m.name]) for m in MODALITIES}
            return assemble("polymnist", MODALITIES, parts, settings, [_published_note(train, test)])
    photos = read_photos(folder)
    (train_digits, test_digits), notes = read_mnist(data_dir)
    named = {m.name: photo for m, photo in zip(MODALITIES, photos, strict=True)}
    made = on_photos({name: photo.pixels for name, photo in named.items()}, train_digits, test_digits)
    data = assemble("polymnist", MODALITIES, made, settings, [*notes, _recipe_note(photos)])
    files = {name: {"file": photo.file, "sha256": photo.sha256} for name, photo in named.items()}
    return replace(data, provenance={**data.provenance, "photos": files})


def _recipe_note(photos: Sequence[Photo]) -> str:
    """A sentence for under the tables."""
    backgrounds = ", ".join(f"{photo.file} ({photo.sha256[:8]})" for photo in photos)
    return (
        f"PolyMNIST by recipe, not the published images: backgrounds {backgrounds}, with their SHA-256, "
        f"the same ones for train and test items; {PAIRS}."
    )


def _published_note(*parts: dict[str, Images]) -> str:
    """A sentence for under the tables."""
    counts = [len(part[MODALITIES[0].name].labels) for part in parts]
    shown = " and ".join(
        f"{count:,} of {of:,} {part}"
        for part, count, of in zip(("train", "test"), counts, PUBLISHED, strict=True)
    )
    return f"PolyMNIST: {shown} images of each modality in the published folders; {PAIRS}."


def read_photos(folder: Path) -> list[Photo]:
    """As many photos as there are modalities, the first by name.

    Raises:
        InputError: for a folder that holds too few, and for a photo that cannot be read or is too small.
    """
    found = sorted(_pictures(folder), key=lambda path: path.name) if exists(folder) else []
    if len(found) < len(MODALITIES):
        raise InputError(
            f"{folder} holds {len(found)} photos (.jpg or .png) and no folders of published images "
            f"(train/m0): put {len(MODALITIES)} photos or these there, as docs/data-sets.md says."
        )
    photos = []
    for path in found[: len(MODALITIES)]:
        content = path.read_bytes()
        pixels = torch.from_numpy(_decode(path, content)).permute(2, 0, 1)
        if min(pixels.shape[1:]) < SIDE:
            raise InputError(
                f"The photo {path} is {tuple(pixels.shape[1:])}: expected {SIDE} pixels or more."
            )
        photos.append(Photo(path.name, hashlib.sha256(content).hexdigest(), pixels))
    return photos


def _pictures(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png"))


def read_published(part: Path) -> dict[str, Images]:
    """Modality name -> the images of a part, `<part>/m0/<i>.<label>.png` and so on, in the order of i.

    Raises:
        InputError: for a folder that is missing or lacks an image that another one has, and for an image that
            cannot be read or is of another size.
    """
    found: dict[str, Images] = {}
    names: list[str] = []
    for modality in MODALITIES:
        folder = part / modality.name
        if not exists(folder):
            raise InputError(f"{folder} is missing: expected a folder of images for each of five modalities.")
        here = sorted((p.name for p in folder.iterdir() if NAME.fullmatch(p.name)), key=_number)
        names = names or here
        if not here or here != names:
            first = min(set(here) ^ set(names), key=_number, default="<i>.<label>.png")
            raise InputError(
                f"{folder} holds other images than {part / MODALITIES[0].name} ({first} is in one of them): "
                "copy both again."
            )
        found[modality.name] = _read_images(folder, names)
    return found


def _number(name: str) -> tuple[int, ...]:
    """The number and the class in the name of a published image."""
    return tuple(map(int, name.split(".")[:2]))


def _read_images(folder: Path, names: Sequence[str]) -> Images:
    """The images of one modality; InputError as `read_published`."""

    def read(name: str) -> Any:
        path = folder / name
        pixels = _decode(path, path.read_bytes())
        if pixels.shape != (SIDE, SIDE, 3):
            raise InputError(f"{path} is {pixels.shape}: expected an image of ({SIDE}, {SIDE}, 3).")
        return pixels

    with ThreadPoolExecutor() as pool:  # decoding is most of the time, and lets other threads run
        pixels = np.stack(list(pool.map(read, names, chunksize=256)))
    labels = torch.tensor([_number(name)[1] for name in names])
    return Images(torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy()), labels)


def _decode(path: Path, content: bytes) -> np.ndarray:
    """(H, W, 3) uint8; an InputError names a picture that cannot be read."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content), formats=["PNG", "JPEG"]) as picture:
            return np.array(picture.convert("RGB"))
    # Pillow reports a broken picture with any of them
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"The picture {path} cannot be read ({error}): copy it again.") from error
