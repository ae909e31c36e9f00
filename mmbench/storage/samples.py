"""Samples on disk: images as PNG sheets of tiles without gaps, lossless, and an index of them that holds the texts.

samples/samples.json      what there is: file, count, columns and shape of each sheet; texts as they are
samples/joint-mnist.png   one sheet per modality; tile i of every sheet comes from the same prior draw
samples/cross-mnist-svhn-conditions.png, cross-mnist-svhn-outputs.png   tile i of one became tile i of the other
                          (conditions of two directions that are the same images lie there once)
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from mmbench.storage.files import read_json, write_atomically, write_json
from models.errors import InputError

__all__ = [
    "CROSS_COLUMNS",
    "JOINT_COLUMNS",
    "CrossSamples",
    "Images",
    "SampleSet",
    "Tiles",
    "as_tiles",
    "load_run_samples",
    "load_samples",
    "save_samples",
    "tile",
]

JOINT_COLUMNS = 8
CROSS_COLUMNS = 10
_MODES = {1: "L", 3: "RGB"}

Images: TypeAlias = npt.NDArray[np.uint8]
Tiles: TypeAlias = Images | list[str]
"""Samples of one modality: images (n, C, H, W) uint8 with C 1 or 3, or n texts of one length, blanks included."""


@dataclass(frozen=True)
class CrossSamples:
    """Samples of `target` generated from samples of `source`.

    Attributes:
        source: the observed modality.
        target: the generated one.
        labels: n classes of the conditions.
        conditions: n images or texts of the source.
        outputs: n of the target, in the same order.
    """

    source: str
    target: str
    labels: list[int]
    conditions: Tiles
    outputs: Tiles


@dataclass(frozen=True)
class SampleSet:
    """What a figure shows of one run.

    Attributes:
        joint: modality name -> n images or texts; item i of every modality comes from the same prior draw. Empty without a prior.
        cross: one entry per ordered pair of modalities.
    """

    joint: dict[str, Tiles]
    cross: list[CrossSamples]


def as_tiles(items: npt.NDArray[np.uint8], symbols: str = "") -> Tiles:
    """Images (n, C, H, W) as they are; with `symbols`, (n, positions, symbols) scores as texts of the likeliest ones."""
    if not symbols:
        return items
    spelled = np.array(list(symbols))[items.argmax(-1)]  # (n, positions)
    return ["".join(text) for text in spelled]


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
        ValueError: for anything but uint8 images of shape (n, 1 or 3, H, W) or printable texts of one length, n > 0.
    """
    index: dict[str, Any] = {"joint": {}, "cross": []}
    for name, tiles in samples.joint.items():
        index["joint"][name] = _write(folder, f"joint-{name}.png", tiles, JOINT_COLUMNS)
    written: dict[str, tuple[Tiles, dict[str, Any]]] = {}  # the last conditions of each source
    for cross in samples.cross:
        stem = f"cross-{cross.source}-{cross.target}"
        if cross.source not in written or not np.array_equal(written[cross.source][0], cross.conditions):
            written[cross.source] = (
                cross.conditions,
                _write(folder, f"{stem}-conditions.png", cross.conditions, CROSS_COLUMNS),
            )
        index["cross"].append(
            {
                "source": cross.source,
                "target": cross.target,
                "labels": [int(label) for label in cross.labels],
                "conditions": written[cross.source][1],
                "outputs": _write(folder, f"{stem}-outputs.png", cross.outputs, CROSS_COLUMNS),
            }
        )
    write_json(folder / "samples.json", index)


def load_run_samples(folder: Path) -> SampleSet | None:
    """The samples of the run in `folder`, None where it has none; InputError as `load_samples`."""
    samples = folder / "samples"
    return load_samples(samples) if (samples / "samples.json").exists() else None


def load_samples(folder: Path) -> SampleSet:
    """What `save_samples` wrote into `folder`; an InputError names a file that is missing or damaged."""
    path = folder / "samples.json"
    index = read_json(path)
    try:
        joint = {name: _read(folder, entry) for name, entry in index["joint"].items()}
        cross = [
            CrossSamples(
                c["source"],
                c["target"],
                list(c["labels"]),
                _read(folder, c["conditions"]),
                _read(folder, c["outputs"]),
            )
            for c in index["cross"]
        ]
    except InputError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise InputError(
            f"The file {path} is no index of sample sheets ({error}): evaluate the run again."
        ) from None
    if len({len(tiles) for tiles in joint.values()}) > 1 or any(
        not len(c.labels) == len(c.conditions) == len(c.outputs) for c in cross
    ):
        raise InputError(
            f"The samples in {path} do not belong together, their numbers differ: evaluate the run again."
        )
    return SampleSet(joint, cross)


def _write(folder: Path, file: str, tiles: Tiles, columns: int) -> dict[str, Any]:
    """The entry of `tiles` in the index, after their sheet is written where they are images."""
    if isinstance(tiles, list):
        if not _are_texts(tiles):
            raise ValueError(f"{file}: expected printable texts of one length, not {tiles}")
        return {"text": tiles}
    if tiles.dtype != np.uint8 or tiles.ndim != 4 or tiles.shape[1] not in _MODES or not len(tiles):
        raise ValueError(
            f"{file}: expected uint8 images of shape (n, 1 or 3, H, W), not {tiles.dtype} {tiles.shape}"
        )
    sheet = tile(tiles, columns)
    picture = Image.fromarray(sheet[..., 0] if sheet.shape[-1] == 1 else sheet)
    write_atomically(folder / file, lambda stream: picture.save(stream, format="PNG", optimize=True))
    return {"file": file, "count": len(tiles), "columns": columns, "shape": list(tiles.shape[1:])}


def _are_texts(tiles: object) -> bool:
    if not (
        isinstance(tiles, list)
        and tiles
        and all(isinstance(text, str) and text.isprintable() for text in tiles)
    ):
        return False
    return len({len(text) for text in tiles}) == 1 and bool(tiles[0])


def _read(folder: Path, entry: dict[str, Any]) -> Tiles:
    """What `_write` made this entry of."""
    if "text" not in entry:
        return _read_sheet(folder, entry)
    if not _are_texts(entry["text"]):
        raise InputError(
            f"The texts in {folder / 'samples.json'} should be printable strings of one length: evaluate the run again."
        )
    return list(entry["text"])


def _read_sheet(folder: Path, entry: dict[str, Any]) -> Images:
    path, count, columns = (
        folder / Path(entry["file"]).name,
        entry["count"],
        entry["columns"],
    )  # whatever the index says, no file elsewhere
    channels, height, width = entry["shape"]
    rows = -(-count // columns)
    try:
        with Image.open(path) as picture:
            mode, sheet = picture.mode, np.asarray(picture, np.uint8)
    except (
        OSError,
        SyntaxError,
        ValueError,
        Image.DecompressionBombError,
    ) as error:  # Pillow reports a broken PNG with any of them
        raise InputError(
            f"The sample sheet {path} cannot be read ({error}): evaluate the run again."
        ) from None
    if mode != _MODES.get(channels) or sheet.shape[:2] != (rows * height, columns * width):
        raise InputError(
            f"The sample sheet {path} ({mode}, {sheet.shape}) does not match its entry in samples.json: evaluate the run again."
        )
    tiles = sheet.reshape(rows, height, columns, width, channels).transpose(0, 2, 4, 1, 3)
    return np.ascontiguousarray(tiles.reshape(rows * columns, channels, height, width)[:count])
