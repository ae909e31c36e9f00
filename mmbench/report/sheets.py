"""Sample images on disk: PNG sheets of tiles without gaps, lossless, and an index of them.

samples/samples.json      what there is: file, count, columns and shape of each sheet
samples/joint-mnist.png   one sheet per modality; tile i of every sheet comes from the same prior draw
samples/cross-mnist-svhn-conditions.png, cross-mnist-svhn-outputs.png   tile i of one became tile i of the other
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from mmbench.files import read_json, write_atomically, write_json
from models.errors import InputError

__all__ = ["CROSS_COLUMNS", "JOINT_COLUMNS", "CrossSamples", "SampleSet", "load_samples", "save_samples", "tile"]

JOINT_COLUMNS = 8
CROSS_COLUMNS = 10
_MODES = {1: "L", 3: "RGB"}

Images: TypeAlias = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class CrossSamples:
    """Images of `target` generated from images of `source`.

    Attributes:
        source: the observed modality.
        target: the generated one.
        labels: n classes of the conditions.
        conditions: (n, C, H, W) uint8 images of the source.
        outputs: (n, C', H', W') uint8 images of the target, in the same order.
    """

    source: str
    target: str
    labels: list[int]
    conditions: Images
    outputs: Images


@dataclass(frozen=True)
class SampleSet:
    """What a figure shows of one run.

    Attributes:
        joint: modality name -> (n, C, H, W) uint8; item i of every modality comes from the same prior draw.
        cross: one entry per ordered pair of modalities.
    """

    joint: dict[str, Images]
    cross: list[CrossSamples]


def tile(images: Images, columns: int, gap: int = 0, fill: int = 0) -> Images:
    """One (rows*(H+gap), columns*(W+gap), C) sheet of (n, C, H, W) images, row by row, `gap` pixels of `fill` around each and after the last."""
    n, channels, height, width = images.shape
    rows = -(-n // columns)
    sheet = np.full((rows * columns, channels, height + gap, width + gap), fill, np.uint8)
    sheet[:n, :, gap // 2 : gap // 2 + height, gap // 2 : gap // 2 + width] = images
    sheet = sheet.reshape(rows, columns, *sheet.shape[1:]).transpose(0, 3, 1, 4, 2)
    return sheet.reshape(rows * (height + gap), columns * (width + gap), channels)


def save_samples(folder: Path, samples: SampleSet) -> None:
    """Write `samples` into `folder`, each file atomically and the index last.

    Raises:
        ValueError: for arrays that are not uint8 of shape (n, 1 or 3, H, W) with n > 0.
    """
    index: dict[str, Any] = {"joint": {}, "cross": []}
    for name, images in samples.joint.items():
        index["joint"][name] = _write_sheet(folder, f"joint-{name}.png", images, JOINT_COLUMNS)
    for cross in samples.cross:
        stem = f"cross-{cross.source}-{cross.target}"
        index["cross"].append(
            {
                "source": cross.source,
                "target": cross.target,
                "labels": [int(label) for label in cross.labels],
                "conditions": _write_sheet(folder, f"{stem}-conditions.png", cross.conditions, CROSS_COLUMNS),
                "outputs": _write_sheet(folder, f"{stem}-outputs.png", cross.outputs, CROSS_COLUMNS),
            }
        )
    write_json(folder / "samples.json", index)


def load_samples(folder: Path) -> SampleSet:
    """What `save_samples` wrote into `folder`; an InputError names a file that is missing or damaged."""
    index = read_json(folder / "samples.json")
    try:
        joint = {name: _read_sheet(folder, entry) for name, entry in index["joint"].items()}
        cross = [
            CrossSamples(c["source"], c["target"], c["labels"], _read_sheet(folder, c["conditions"]), _read_sheet(folder, c["outputs"]))
            for c in index["cross"]
        ]
    except (AttributeError, KeyError, TypeError) as error:
        raise InputError(f"The file {folder / 'samples.json'} is no index of sample sheets ({error}): evaluate the run again.") from None
    return SampleSet(joint, cross)


def _write_sheet(folder: Path, file: str, images: Images, columns: int) -> dict[str, Any]:
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] not in _MODES or not len(images):
        raise ValueError(f"{file}: expected uint8 images of shape (n, 1 or 3, H, W), not {images.dtype} {images.shape}")
    sheet = tile(images, columns)
    picture = Image.fromarray(sheet[..., 0] if sheet.shape[-1] == 1 else sheet)
    write_atomically(folder / file, lambda stream: picture.save(stream, format="PNG", optimize=True))
    return {"file": file, "count": len(images), "columns": columns, "shape": list(images.shape[1:])}


def _read_sheet(folder: Path, entry: dict[str, Any]) -> Images:
    path, count, columns = folder / entry["file"], entry["count"], entry["columns"]
    channels, height, width = entry["shape"]
    rows = -(-count // columns)
    try:
        with Image.open(path) as picture:
            mode, sheet = picture.mode, np.asarray(picture, np.uint8)
    except (OSError, SyntaxError, ValueError) as error:  # Pillow reports a broken PNG with any of them
        raise InputError(f"The sample sheet {path} cannot be read ({error}): evaluate the run again.") from None
    if mode != _MODES.get(channels) or sheet.shape[:2] != (rows * height, columns * width):
        raise InputError(f"The sample sheet {path} ({mode}, {sheet.shape}) does not match its entry in samples.json: evaluate the run again.")
    tiles = sheet.reshape(rows, height, columns, width, channels).transpose(0, 2, 4, 1, 3)
    return np.ascontiguousarray(tiles.reshape(rows * columns, channels, height, width)[:count])
