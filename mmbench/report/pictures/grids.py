"""Samples of all models beside each other, for the page: joint draws, and outputs for the same conditions."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from PIL import Image

from mmbench.report.pictures.canvas import data_uri
from mmbench.report.pictures.classes import class_names
from mmbench.storage.runs import StoredRun
from mmbench.storage.samples import CrossSamples, SampleSet
from mmbench.storage.tiles import Tiles, tile

__all__ = ["ClassGrids", "Direction", "Sheet", "cross_grids", "joint_sheets", "owner"]

Shown: TypeAlias = Sequence[tuple[StoredRun, SampleSet]]

_COLUMNS = 4  # tiles in a row
_JOINT = 16  # draws


@dataclass(frozen=True)
class Sheet:
    """Tiles of one model.

    Attributes:
        name: what they are, or whose.
        source: images as a data URI; empty for texts.
        texts: instead of images.
        alt: what the images are.
        size: of the image in pixels.
        owner: the folder of the model, which tells models of one name apart.
    """

    name: str
    source: str = ""
    texts: tuple[str, ...] = ()
    alt: str = ""
    size: tuple[int, int] = (0, 0)
    owner: str = ""


@dataclass(frozen=True)
class Direction:
    """One modality from another: the conditions, and what every model made of them."""

    source: str
    target: str
    conditions: Sheet
    outputs: list[Sheet]


@dataclass(frozen=True)
class ClassGrids:
    """All directions for the conditions of one class.

    Attributes:
        name: of the class.
        directions: those that have conditions of the class.
    """

    name: str
    directions: list[Direction]


def cross_grids(shown: Shown) -> tuple[list[ClassGrids], list[str]]:
    """Grids by class, and the names of models that are missing in some direction.

    A model is left out of a direction where it was evaluated on other conditions than the first one.

    Args:
        shown: the run of each model, and its samples; the first one's classes have the names.
    """
    by_direction: dict[tuple[str, str], list[tuple[StoredRun, CrossSamples]]] = {}
    for run, samples in shown:
        for cross in samples.cross:
            by_direction.setdefault((cross.source, cross.target), []).append((run, cross))
    strangers: dict[str, None] = {}
    for ways in by_direction.values():
        first = ways[0][1]
        strangers |= {run.name: None for run, cross in ways if not _same_conditions(first, cross)}
        ways[:] = [(run, cross) for run, cross in ways if _same_conditions(first, cross)]
    numbers = sorted({label for ways in by_direction.values() for label in ways[0][1].labels})
    names = class_names(max(numbers, default=-1) + 1, shown[0][0].classes if shown else ())
    grids = []
    for number in numbers:
        here = [ways for ways in by_direction.values() if number in ways[0][1].labels]
        directions = [_direction(ways, number, f"class {names[number]}") for ways in here]
        grids.append(ClassGrids(names[number], directions))
    return grids, list(strangers)


def joint_sheets(samples: SampleSet, name: str) -> list[Sheet]:
    """The first joint draws of a model, a sheet per modality: the same place is the same draw."""
    return [
        _sheet(modality, tiles[:_JOINT], f"{name}: joint draws of {modality}")
        for modality, tiles in samples.joint.items()
    ]


def owner(run: StoredRun) -> str:
    """The folder of a run's model, which no other model of a preset has."""
    return run.folder.parent.name


def _direction(ways: Sequence[tuple[StoredRun, CrossSamples]], number: int, called: str) -> Direction:
    """One direction for the conditions of the class `number`, which is called so."""
    first = ways[0][1]
    chosen = [place for place, label in enumerate(first.labels) if label == number]
    alt = f"Conditions: {first.source} of the {called}"
    conditions = _sheet("Conditions", _pick(first.conditions, chosen), alt)
    outputs = []
    for run, cross in ways:
        alt = f"{run.name}: {first.target} generated from them"
        sheet = _sheet(run.name, _pick(cross.outputs, chosen), alt)
        outputs.append(replace(sheet, owner=owner(run)))
    return Direction(first.source, first.target, conditions, outputs)


def _sheet(name: str, tiles: Tiles, alt: str) -> Sheet:
    """Tiles as one picture; texts as they are."""
    if isinstance(tiles, list):
        return Sheet(name, texts=tuple(tiles))
    sheet = tile(tiles, _COLUMNS, gap=2, fill=255)
    # 52 shades: two thirds of the bytes, and nobody sees it on small images
    sheet = ((sheet.astype(int) + 2) // 5 * 5).astype(np.uint8)
    picture = Image.fromarray(sheet[..., 0] if sheet.shape[-1] == 1 else sheet)
    return Sheet(name, data_uri(picture), alt=alt, size=picture.size)


def _pick(tiles: Tiles, chosen: Sequence[int]) -> Tiles:
    return [tiles[i] for i in chosen] if isinstance(tiles, list) else tiles[chosen]


def _same_conditions(a: CrossSamples, b: CrossSamples) -> bool:
    return a.labels == b.labels and np.array_equal(a.conditions, b.conditions)
