"""Samples on disk: images as sheets of tiles without gaps in lossless WebP, and an index with the texts.

    samples/
        samples.json       what there is: file, count, columns and shape of each sheet; texts as they are
        joint-mnist.webp   a sheet per modality; tile i of every sheet comes from the same prior draw
        cross-mnist-svhn-conditions.webp
                           what a direction starts from; directions with the same conditions share a sheet
        cross-mnist-svhn-outputs.webp
                           tile i was generated from tile i of the conditions
        found-mnist-svhn-queries.webp, found-mnist-svhn-hits.webp
                           queries, and what each finds first: as many hits of the first query, then more

A sheet that is read back gives the images that were written.
"""

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mmbench.storage.bounds import MOST, read_file
from mmbench.storage.files import DamagedError, exists, read_json, write_atomically, write_json
from mmbench.storage.shapes import SAMPLES, misfit
from mmbench.storage.tiles import CHANNELS, Images, Tiles, tile
from models.errors import InputError

__all__ = [
    "CROSS_COLUMNS",
    "INDEX",
    "JOINT_COLUMNS",
    "CrossSamples",
    "FoundSamples",
    "SampleSet",
    "found_name",
    "load_run_samples",
    "load_samples",
    "picture_name",
    "save_samples",
    "sheet_name",
]

INDEX = "samples.json"
JOINT_COLUMNS = 8
CROSS_COLUMNS = 10
PIXELS = 2**25  # of a sheet that is read: far more than any real one here
EVALUATE = "evaluate the run again"


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
class FoundSamples:
    """Samples of `target` that samples of `source` find first, by their representations.

    Attributes:
        source, target: modalities.
        labels: n classes of the queries.
        classes: n x k classes of the hits, those of a query side by side, the nearest first.
        queries: n images or texts of the source.
        hits: n x k of the target.
    """

    source: str
    target: str
    labels: list[int]
    classes: list[int]
    queries: Tiles
    hits: Tiles

    @property
    def depth(self) -> int:
        """k, the hits of a query."""
        return len(self.classes) // len(self.labels)


@dataclass(frozen=True)
class SampleSet:
    """What a figure shows of one run.

    Attributes:
        joint: modality name -> n images or texts; item i of every modality comes from the same prior draw.
            Empty without a prior.
        cross: one entry per ordered pair of modalities. Empty of a model that generates nothing.
        found: the same. Empty where no retrieval was measured.
    """

    joint: dict[str, Tiles]
    cross: list[CrossSamples]
    found: list[FoundSamples] = field(default_factory=list)


def sheet_name(*parts: str) -> str:
    """The file of a sheet: "joint" and a modality, or "cross" (or "found"), source, target, what it has."""
    return f"{'-'.join(parts)}.webp"


def picture_name(run: str) -> str:
    """The file of a report that shows the samples of `run`, <model>[+label]."""
    return f"samples-{run}.png"


def found_name(run: str) -> str:
    """The file of a report that shows what queries of `run`, <model>[+label], find."""
    return f"found-{run}.png"


def save_samples(folder: Path, samples: SampleSet) -> None:
    """Write `samples` into `folder`, each file atomically and the index last.

    Raises:
        ValueError: for anything but n > 0 uint8 images of shape (n, 1 or 3, H, W) or printable texts of one
            length.
    """
    index: dict[str, Any] = {"joint": {}, "cross": []}
    for name, tiles in samples.joint.items():
        index["joint"][name] = _write(folder, sheet_name("joint", name), tiles, JOINT_COLUMNS)
    written: dict[str, tuple[Tiles, dict[str, Any]]] = {}  # the last conditions of each source
    for cross in samples.cross:
        direction = "cross", cross.source, cross.target
        if cross.source not in written or not np.array_equal(written[cross.source][0], cross.conditions):
            written[cross.source] = (
                cross.conditions,
                _write(folder, sheet_name(*direction, "conditions"), cross.conditions, CROSS_COLUMNS),
            )
        index["cross"].append(
            {
                "source": cross.source,
                "target": cross.target,
                "labels": [int(label) for label in cross.labels],
                "conditions": written[cross.source][1],
                "outputs": _write(folder, sheet_name(*direction, "outputs"), cross.outputs, CROSS_COLUMNS),
            }
        )
    if samples.found:
        index["found"] = [_write_found(folder, found) for found in samples.found]
    write_json(folder / INDEX, index)


def _write_found(folder: Path, found: FoundSamples) -> dict[str, Any]:
    """The entry of a direction of retrieval in the index, after its sheets are written."""
    direction = "found", found.source, found.target
    return {
        "source": found.source,
        "target": found.target,
        "labels": [int(label) for label in found.labels],
        "classes": [int(label) for label in found.classes],
        "queries": _write(folder, sheet_name(*direction, "queries"), found.queries, CROSS_COLUMNS),
        "hits": _write(folder, sheet_name(*direction, "hits"), found.hits, found.depth),
    }


def load_run_samples(folder: Path) -> SampleSet | None:
    """The samples of the run in `folder`, None where it has none; InputError as `load_samples`."""
    samples = folder / "samples"
    return load_samples(samples) if exists(samples / INDEX) else None


def load_samples(folder: Path) -> SampleSet:
    """What `save_samples` wrote into `folder`; an InputError names a file that is missing or damaged."""
    path = folder / INDEX
    index = read_json(path)
    if problem := misfit(index, SAMPLES):
        raise DamagedError(path, f"is no index of sample sheets ({problem})", EVALUATE)
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
        found = [
            FoundSamples(
                *(f[key] for key in ("source", "target", "labels", "classes")),
                *(_read(folder, f[key]) for key in ("queries", "hits")),
            )
            for f in index.get("found") or ()
        ]
    except InputError:
        raise
    except (KeyError, TypeError, ValueError) as error:  # a sheet without its file or sizes
        raise DamagedError(path, f"is no index of sample sheets ({error})", EVALUATE) from None
    if (
        len({len(tiles) for tiles in joint.values()}) > 1
        or any(not len(c.labels) == len(c.conditions) == len(c.outputs) for c in cross)
        or not all(map(_belongs, found))
    ):
        raise InputError(
            f"The samples in {path} do not belong together, their numbers differ: evaluate the run again."
        )
    return SampleSet(joint, cross, found)


def _belongs(found: FoundSamples) -> bool:
    """Whether there is a label for every query, and for each of them as many hits with classes."""
    if not 0 < len(found.labels) == len(found.queries):
        return False
    return len(found.classes) == len(found.hits) == len(found.labels) * found.depth


def _write(folder: Path, file: str, tiles: Tiles, columns: int) -> dict[str, Any]:
    """The entry of `tiles` in the index, after their sheet is written where they are images."""
    if isinstance(tiles, list):
        if not _are_texts(tiles):
            raise ValueError(f"{file}: expected printable texts of one length, not {tiles}")
        return {"text": tiles}
    if tiles.dtype != np.uint8 or tiles.ndim != 4 or tiles.shape[1] not in CHANNELS or not len(tiles):
        raise ValueError(
            f"{file}: expected uint8 images of shape (n, 1 or 3, H, W), not {tiles.dtype} {tiles.shape}"
        )
    sheet = tile(tiles, columns)
    picture = Image.fromarray(sheet[..., 0] if sheet.shape[-1] == 1 else sheet)
    # 14 % smaller than PNG with `optimize`, and as quick; the highest quality and method save another 1 %
    encoding = {"lossless": True, "quality": 50, "method": 4}
    write_atomically(folder / file, lambda stream: picture.save(stream, "WEBP", **encoding))
    return {"file": file, "count": len(tiles), "columns": columns, "shape": list(tiles.shape[1:])}


def _are_texts(tiles: object) -> bool:
    """Whether these are printable texts of one length, one at least."""
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
            f"The texts in {folder / 'samples.json'} should be printable strings of one length: "
            "evaluate the run again."
        )
    return list(entry["text"])


def _read_sheet(folder: Path, entry: dict[str, Any]) -> Images:
    """The (n, C, H, W) images of the sheet that this entry of the index describes."""
    path = folder / Path(entry["file"]).name  # whatever the index says, no file elsewhere
    count, columns = entry["count"], entry["columns"]
    channels, height, width = entry["shape"]
    rows = -(-count // columns)
    try:
        content = io.BytesIO(read_file(path, MOST["sheet"]))
        with Image.open(content, formats=["WEBP"]) as picture:
            if picture.width * picture.height > PIXELS:
                raise ValueError(f"it has more than {PIXELS:,} pixels")
            mode, sheet = picture.mode, np.asarray(picture, np.uint8)
    # Pillow reports a broken picture with any of them
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(
            f"The sample sheet {path} cannot be read ({error}): evaluate the run again."
        ) from None
    # WebP has no grey: a grey sheet comes back in three equal channels
    if channels not in CHANNELS or mode != "RGB" or sheet.shape[:2] != (rows * height, columns * width):
        raise InputError(
            f"The sample sheet {path} ({mode}, {sheet.shape}) does not match its entry in samples.json: "
            "evaluate the run again."
        )
    tiles = sheet[..., :channels].reshape(rows, height, columns, width, channels).transpose(0, 2, 4, 1, 3)
    return np.ascontiguousarray(tiles.reshape(rows * columns, channels, height, width)[:count])
