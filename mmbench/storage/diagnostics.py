"""What a run keeps of its evaluation for pictures, beside its samples: confusions, and latents in a plane.

samples/diagnostics.json   "confusion": "a->b" -> K x K counts of generation of b from a for K classes,
                           row = class of the condition, column = class that the judge of b finds;
                           "latent": null, or "explained" (shares of the variance along two principal
                           components) and "points": modality -> "x", "y", "label";
                           "recall": "a->b" -> precision at evenly spaced levels of recall from 0 to 1
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mmbench.storage.bounds import MOST
from mmbench.storage.files import REMAKE, DamagedError, exists, read_json, write_json
from mmbench.storage.shapes import DIAGNOSTICS, misfit
from models.errors import InputError

__all__ = ["FILE", "StoredDiagnostics", "load_diagnostics", "save_diagnostics"]

FILE = "samples/diagnostics.json"  # in the run's folder


@dataclass(frozen=True, eq=False)
class StoredDiagnostics:
    """The contents of the file.

    Attributes:
        confusion: direction "a->b" -> (K, K) counts.
        points: modality -> (n, 3): two coordinates and a class. Empty without latents.
        explained: shares of the variance along the two components, in [0, 1]; empty without latents.
        recall: direction "a->b" -> precision at evenly spaced levels of recall from 0 to 1.
    """

    confusion: Mapping[str, npt.NDArray[Any]]
    points: Mapping[str, npt.NDArray[Any]]
    explained: tuple[float, ...]
    recall: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)

    @property
    def classes(self) -> int:
        """K, as far as it can be seen; 0 where nothing is stored."""
        seen = [len(counts) for counts in self.confusion.values()]
        seen += [int(table[:, 2].max()) + 1 for table in self.points.values() if len(table)]
        return max(seen, default=0)


def save_diagnostics(folder: Path, found: StoredDiagnostics, keep: bool) -> None:
    """Write `found` for the run in `folder`; with `keep`, added to what the file there holds already."""
    old: dict[str, Any] = {"confusion": {}, "latent": None, "recall": {}}
    if keep:
        with suppress(InputError):  # then there is nothing to keep
            load_diagnostics(folder)
            old |= read_json(folder / FILE, most=MOST["diagnostics"])
    latent = old["latent"]
    if found.points:
        points = {
            name: {"x": _rounded(x), "y": _rounded(y), "label": [int(label) for label in labels]}
            for name, (x, y, labels) in ((name, table.T) for name, table in found.points.items())
        }
        latent = {"explained": _rounded(found.explained), "points": points}
    confusion = {direction: counts.tolist() for direction, counts in found.confusion.items()}
    recall = {direction: _rounded(curve) for direction, curve in found.recall.items()}
    content = {"confusion": old["confusion"] | confusion, "latent": latent, "recall": old["recall"] | recall}
    write_json(folder / FILE, content)


def load_diagnostics(folder: Path) -> StoredDiagnostics | None:
    """The diagnostics of the run in `folder`; None where it has none. InputError for a damaged file."""
    path = folder / FILE
    if not exists(path):
        return None
    content = read_json(path, REMAKE, MOST["diagnostics"])
    if problem := misfit(content, DIAGNOSTICS):
        raise DamagedError(path, f"holds no diagnostics ({problem})", REMAKE)
    try:
        confusion = {str(name): np.array(counts, float) for name, counts in content["confusion"].items()}
        latent = content["latent"] or {"points": {}, "explained": []}
        points = {
            str(name): np.array([xy["x"], xy["y"], xy["label"]], float).T
            for name, xy in latent["points"].items()
        }
        explained = tuple(float(share) for share in latent["explained"])
        recall = {str(name): np.array(curve, float) for name, curve in (content.get("recall") or {}).items()}
    except ValueError as error:  # rows of several lengths
        raise DamagedError(path, f"holds no diagnostics ({error})", REMAKE) from None
    square = all(counts.ndim == 2 and len(set(counts.shape)) == 1 for counts in confusion.values())
    if not square or len(explained) != (2 if points else 0):
        raise InputError(
            f"The file {path} should hold square confusions and two components of the latents: {REMAKE}."
        )
    return StoredDiagnostics(confusion, points, explained, recall)


def _rounded(values: Iterable[float]) -> list[float]:
    """To four significant digits, all that a picture shows."""
    return [float(f"{value:.4g}") for value in values]
