"""Pen trajectories of digits as vectors: where the pen was at eight times, as a Gaussian modality.

`pendigits.npz` holds `train_points` (N, 8, 2) uint8, eight points (x, y) from 0 to 100, evenly spaced along
what was written, y upwards, `train_labels` (N,) whole numbers from 0 to 9, and the same of `test`.
"""

from pathlib import Path

import numpy as np
import torch

from mmbench.data.arrays import check_labels, open_archive
from mmbench.data.splits import Images
from models.base import Modality
from models.errors import InputError

__all__ = ["NOTE", "TRAJECTORY", "read_trajectories"]

POINTS, REACH = 8, 100  # points of a trajectory, and the largest coordinate: every writing is scaled to it
SPREAD = 0.31  # standard deviation of a number around the mean of its dimension, in [0, 1], of the train part
NUMBERS = 2 * POINTS
TRAJECTORY = Modality(
    "trajectory",
    (NUMBERS,),
    likelihood="gaussian",
    spread=SPREAD,
    low=(0.0,) * NUMBERS,
    high=(float(REACH),) * NUMBERS,
    polyline=True,
)
NOTE = (
    "Trajectories: UCI pen-based recognition of handwritten digits (CC BY 4.0) in its official split: "
    "the test items are by other writers than the train and validation items."
)
"""A sentence for under the tables."""


def read_trajectories(folder: Path) -> tuple[Images, Images]:
    """The train and the test trajectories (N, 16) float32 in [0, 1], x and y in turn.

    Raises:
        InputError: for a file that is missing or not as the docstring of this module says.
    """
    path = folder / "pendigits.npz"
    found = open_archive(path)
    parts = []
    for part in ("train", "test"):
        points, labels = (_read(path, found, f"{part}_{what}") for what in ("points", "labels"))
        if points.shape != (len(labels), POINTS, 2) or labels.ndim != 1 or not len(labels):
            raise InputError(
                f"{path} holds `{part}_points` {points.shape} and `{part}_labels` {labels.shape}: expected "
                f"(N, {POINTS}, 2) and (N,)."
            )
        if points.min() < 0 or points.max() > REACH:
            raise InputError(
                f"`{part}_points` in {path} go from {points.min()} to {points.max()}: expected 0 to {REACH}."
            )
        check_labels(path, labels)
        items = (points.reshape(-1, NUMBERS) / np.float64(REACH)).astype(np.float32)
        parts.append(Images(torch.from_numpy(items), torch.from_numpy(labels.astype(np.int64))))
    train, test = parts
    return train, test


def _read(path: Path, found: dict[str, np.ndarray], name: str) -> np.ndarray:
    if name not in found or found[name].dtype.kind not in "iu":
        raise InputError(f"{path} has no whole numbers `{name}`: see docs/data-sets.md for what it holds.")
    return found[name]
