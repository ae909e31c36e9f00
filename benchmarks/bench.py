"""What all rows share: how much work is measured, on which data, and how two sides are timed."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from mmbench.data import MultimodalData, load_data
from mmbench.plan.choices import pick_precision
from models.settings import setting

__all__ = ["Bench", "Work", "alternate", "seconds"]


@dataclass(frozen=True)
class Work:
    """How much is measured at a time; the defaults take about a quarter of an hour on two quiet cores."""

    batch: int = setting(256, "pairs per training step", low=2)
    latent: int = setting(40, "dimensions of the latent", low=1)
    steps: int = setting(
        40,
        "training steps between two looks at the clock; fewer where one step holds the work of several",
        low=1,
    )
    job_steps: int = setting(40, "training steps of each of the four runs of the row on --jobs", low=1)
    draws: int = setting(10_000, "prior draws for joint coherence", low=2)
    conditions: int = setting(
        2_000, "test items for cross coherence, each the condition of two images per direction", low=2
    )
    features: int = setting(2048, "dimensions of the Frechet distance", low=2)
    feature_rows: int = setting(5_000, "feature vectors of either half of the Frechet distance", low=2)
    images: int = setting(100, "images for Inception features", low=2)
    growth_batch: int = setting(64, "pairs per step of the growth curves over anything but the batch", low=2)
    growth_steps: int = setting(1, "steps per point of a growth curve and round", low=1)


@dataclass(frozen=True)
class Bench:
    """One sitting.

    Attributes:
        work: how much is measured.
        repeats: rounds of a quick row; slow ones take about half of them.
        threads: of either side.
        data_dir: folder of MNIST and SVHN; None measures on the embedded digits, of the same shapes.
    """

    work: Work
    repeats: int
    threads: int
    data_dir: Path | None = None

    @property
    def few(self) -> int:
        """Rounds of a slow row."""
        return max(1, (self.repeats + 1) // 2)

    @cached_property
    def data(self) -> MultimodalData:
        return load_data("mnist-svhn", self.data_dir) if self.data_dir else load_data("digits")

    @cached_property
    def auto(self) -> str:
        """What `--precision auto` means on this machine."""
        return pick_precision("auto", torch.device("cpu"))


def seconds(function: Callable[[], object]) -> float:
    """Wall time of one call."""
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def alternate(sides: Mapping[str, Callable[[], float]], repeats: int) -> dict[str, list[float]]:
    """Every side once per round, A B A B: name -> what it returned in each round.

    Whatever else the machine does then falls on both sides. They are compared within each round, and the
    median of the comparisons is taken afterwards.
    """
    rounds = [{name: side() for name, side in sides.items()} for _ in range(repeats)]
    return {name: [each[name] for each in rounds] for name in sides}
