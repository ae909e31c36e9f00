"""How the time of a training step grows with batch, modalities, latent size and importance samples."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks import ours
from benchmarks.bench import Bench
from benchmarks.table import write_csv
from mmbench.execution.threads import computing_threads
from mmbench.storage.files import write_atomically
from models.base import Modality, MultimodalModel

__all__ = ["AXES", "Axis", "Curve", "growth", "worse_than_linear"]

STEEPEST = 1.1  # slope that still counts as linear


@dataclass(frozen=True)
class Axis:
    """What is varied: `setting` names the settings of models that have it, empty for what every model has."""

    name: str
    values: tuple[int, ...]
    setting: str = ""


AXES = (
    Axis("batch", (64, 128, 256, 512, 1024)),
    Axis("modalities", (2, 3, 4, 5)),
    Axis("latent size", (20, 40, 80, 160, 320), "latent_size"),
    Axis("K", (1, 3, 10, 30), "samples"),
)


@dataclass(frozen=True)
class Curve:
    """Time per step of one model along one axis.

    The least milliseconds of CPU time, and the least-squares slope of log time over log value.
    """

    axis: str
    model: str
    values: tuple[int, ...]
    milliseconds: tuple[float, ...]

    @property
    def slope(self) -> float:
        return float(np.polyfit(np.log(self.values), np.log(self.milliseconds), 1)[0])

    @property
    def flag(self) -> str:
        """Why the slope is worth a look, empty where it is not."""
        if self.slope <= STEEPEST:
            return ""
        return (
            "its subsets are 2^M"
            if (self.axis, self.model) == ("modalities", "mopoe")
            else "worse than linear"
        )


def _point(
    model: str, axis: Axis, value: int, bench: Bench
) -> tuple[MultimodalModel, dict[str, torch.Tensor]]:
    """The model and a batch of noise where `axis` has this value and all else is as everywhere."""
    # as many modalities of one shape as are asked for, so that each adds the same work
    modalities = [Modality(f"m{i}", (3, 32, 32)) for i in range(value if axis.name == "modalities" else 2)]
    settings = {"latent_size": bench.work.latent, **({axis.setting: value} if axis.setting else {})}
    items = value if axis.name == "batch" else bench.work.growth_batch
    return ours.make_model(model, modalities, **settings), {
        m.name: torch.rand(items, *m.shape) for m in modalities
    }


def _step(model: MultimodalModel, batch: Mapping[str, torch.Tensor]) -> None:
    """Loss and gradients of the longest stage."""
    stage = max(model.stages(), key=lambda stage: stage.share)
    model.zero_grad()
    stage.loss(batch, torch.tensor(0.5)).total.backward()


def growth(bench: Bench, axes: Sequence[Axis] = AXES) -> Iterator[Curve]:
    """A curve for every axis and every model that has it, in float32 on one thread.

    The values of an axis take turns.

    Processor time, and the least of the rounds: what else the machine does only adds.
    """
    for axis in axes:
        for entry in ours.latent_models():
            if axis.setting and axis.setting not in {f.name for f in fields(entry.settings)}:
                continue
            points = {value: _point(entry.name, axis, value, bench) for value in axis.values}
            taken: dict[int, list[float]] = defaultdict(list)
            for point in points.values():
                _step(*point)
            for _ in range(bench.few):
                for value, point in points.items():
                    taken[value] += [
                        _processor_seconds(partial(_step, *point)) for _ in range(bench.work.growth_steps)
                    ]
            yield Curve(
                axis.name, entry.name, axis.values, tuple(1e3 * min(taken[value]) for value in axis.values)
            )


def _processor_seconds(function: Callable[[], object]) -> float:
    with computing_threads(1):
        began = time.process_time()
        function()
        return time.process_time() - began


def worse_than_linear(curves: Sequence[Curve]) -> list[Curve]:
    """Those whose time grows faster than what is varied, MoPoE over its 2^M subsets excepted."""
    return [curve for curve in curves if curve.flag == "worse than linear"]


def write_growth(curves: Sequence[Curve], out: Path, sitting: Mapping[str, str]) -> None:
    """growth.csv, a row per point, and growth.png, a panel per axis."""
    rows = [
        {
            "axis": c.axis,
            "model": c.model,
            "value": str(v),
            "milliseconds": f"{ms:.4g}",
            "slope": f"{c.slope:.3f}",
            "flag": c.flag,
            **sitting,
        }
        for c in curves
        for v, ms in zip(c.values, c.milliseconds, strict=True)
    ]
    write_csv(out / "growth.csv", rows)
    _plot(curves, out / "growth.png")


def _plot(curves: Sequence[Curve], path: Path) -> None:
    """A panel per axis with the curves of all models that have it, on logarithmic scales."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = list(dict.fromkeys(curve.axis for curve in curves))
    models = dict.fromkeys(curve.model for curve in curves)
    palette = pyplot.get_cmap("tab10")
    colours = {model: palette(index) for index, model in enumerate(models)}
    size = (3.6 * len(names), 3.6)
    figure, axes = pyplot.subplots(1, len(names), figsize=size, squeeze=False, layout="constrained")
    for panel, name in zip(axes[0], names, strict=True):
        for curve in (c for c in curves if c.axis == name):
            style = "--" if curve.flag else "-"
            label = f"{curve.model} {curve.slope:.2f}"
            look = {"marker": "o", "markersize": 3, "color": colours[curve.model], "label": label}
            panel.plot(curve.values, curve.milliseconds, style, **look)
        values = next(c.values for c in curves if c.axis == name)
        panel.set(xscale="log", yscale="log", xlabel=name, ylabel="ms per step", title=f"{name} (slope)")
        panel.set_xticks(values, [str(v) for v in values])
        panel.minorticks_off()
        panel.legend(fontsize=7)
    write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=110))
    pyplot.close(figure)
