"""Small charts: coherence against quality, seed spread, learning curves on validation data.

Models are told apart by colour, marker and line; every number is in the page's tables too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.ticker import EngFormatter

from metrics.catalogue import kind_of
from metrics.names import MetricName
from mmbench.report.numbers.columns import Column
from mmbench.report.numbers.leaderboard import Leaderboard, Line, name_of
from mmbench.report.pictures.canvas import Look, Picture, figure_png, looks, plain_style, shorten
from mmbench.report.pictures.frames import Looks, draw_legend, label, points, small_axes
from mmbench.report.pictures.retrieval import draw_recall
from mmbench.storage.history import has_looks, read_history
from mmbench.storage.records import LOOK
from mmbench.storage.runs import StoredRun

__all__ = ["Charts", "draw_charts"]

_HEIGHT = 2.6  # inches of a frame
_BESIDE = 1.4  # for names beside a frame
_UNITS = {"fraction": "per cent, ", "nats": "", "distance": ""}


@dataclass(frozen=True)
class Charts:
    """Those of all models of a preset folder; any of them may be missing.

    Attributes:
        trade_off: joint coherence against the Fréchet distance of each modality: FID where a model has one,
            FD-clf otherwise.
        spread: for every metric that is better one way, a point per seed and a bar at the mean; none where no
            model has two seeds.
        learning: what was computed on validation data during training, over steps.
        recall: precision over recall of each direction of retrieval.
    """

    trade_off: list[Picture]
    spread: list[Picture]
    learning: list[Picture]
    recall: list[Picture]

    @property
    def reading(self) -> str:
        """How `trade_off` is read."""
        bars = "One seed, so there are no error bars."
        if self.spread:
            bars = "Bars are standard deviations over seeds, where a model has two or more."
        return f"Up and left is better. {bars} Models without one of the two are not drawn."


class _Series(NamedTuple):
    """One metric of one model on validation data: its values, grouped by step, and how they are drawn."""

    name: str
    look: Look
    by_step: Any


def draw_charts(models: Sequence[Sequence[StoredRun]], board: Leaderboard) -> Charts:
    """The charts of the runs of each model; bars and bands are standard deviations over seeds."""
    named = dict(zip([line.key for line in board.lines], looks(len(board.lines)), strict=True))
    spread = [
        _spread(board, place, column, named)
        for place, column in enumerate(board.columns)
        if column.better and any(len(line.entries[place].cell.values) > 1 for line in board.lines)
    ]
    learning = _draw_learning(models, board, named)
    return Charts(_draw_trade_off(board, named), spread, learning, draw_recall(models, named))


def _draw_trade_off(board: Leaderboard, named: Looks) -> list[Picture]:
    """Joint coherence against the distance of each modality."""
    places = {column.metric: place for place, column in enumerate(board.columns)}
    if "joint_coherence" not in places:
        return []
    joint = places["joint_coherence"]
    names = {MetricName.parse(metric): place for metric, place in places.items()}
    distances = {name: place for name, place in names.items() if (kind := kind_of(name)) and kind.floor}
    pictures = []
    for modality in dict.fromkeys(name.target for name in distances):
        here = (place for name, place in distances.items() if name.target == modality)  # FID first
        place = next((each for each in here if any(_has(line, each) for line in board.lines)), None)
        if place is not None and any(_has(line, joint) and _has(line, place) for line in board.lines):
            pictures.append(_trade_off(board, joint, place, named))
    return pictures


def _trade_off(board: Leaderboard, joint: int, distance: int, named: Looks) -> Picture:
    """The column `joint` against the column `distance`, a point per model that has both."""
    column = board.columns[distance]
    drawn = [line for line in board.lines if _has(line, joint) and _has(line, distance)]
    words = []
    with plain_style():
        figure, axes = small_axes(_HEIGHT, legend=len(drawn))
        for line in drawn:
            x, y = _shown(line, distance, column), _shown(line, joint, board.columns[joint])
            across, along = (np.std(values, ddof=1) if len(values) > 1 else None for values in (x, y))
            axes.errorbar(
                np.mean(x),
                np.mean(y),
                xerr=across,
                yerr=along,
                capsize=2,
                elinewidth=1,
                label=label(line.name),
                **points(named[line.key]),
            )
            words.append(f"{line.name}: {np.mean(y):.2f} % at {np.mean(x):.2f}")
        axes.set_xlabel(f"{name_of(column)}, lower is better")
        axes.set_ylabel("Joint coherence in per cent, higher is better")
        axes.margins(0.12)
        draw_legend(figure, axes)
        title = f"Joint coherence against {name_of(column)}"
        return figure_png(figure, title, f"{title}. {'; '.join(words)}.")


def _spread(board: Leaderboard, place: int, column: Column, named: Looks) -> Picture:
    """The values of all seeds, a line per model."""
    lines = [line for line in board.lines if _has(line, place)]
    with plain_style():
        figure, axes = small_axes(0.45 + 0.2 * len(lines), left=_BESIDE + 0.1)
        words = []
        for y, line in enumerate(lines):
            values = _shown(line, place, column)
            look = named[line.key]
            edge = 0 if look.face == look.colour else 0.8
            marks = points(look) | {"markersize": 4, "markeredgewidth": edge}
            axes.plot(values, [y] * len(values), alpha=0.8, **marks)
            axes.plot([np.mean(values)] * 2, [y - 0.35, y + 0.35], color="0.1", linewidth=1.2)
            words.append(f"{line.name}: {', '.join(f'{value:.2f}' for value in values)}")
        axes.set_yticks(range(len(lines)), [shorten(line.name, _BESIDE, 8) for line in lines])
        axes.set_ylim(len(lines) - 0.4, -0.6)
        axes.set_xlabel(f"{_UNITS[column.unit]}{column.better} is better")
        alt = f"{name_of(column)} of every seed. {'; '.join(words)}."
        return figure_png(figure, name_of(column), alt)


def _draw_learning(models: Sequence[Sequence[StoredRun]], board: Leaderboard, named: Looks) -> list[Picture]:
    """Every metric that was computed on validation images while training."""
    histories = [_history(runs) for runs in models]
    pictures = []
    for column in board.columns:
        metric = f"{LOOK}{column.metric}"
        series = [
            _Series(line.name, named[line.key], known.groupby("step")[metric])
            for line, rows in zip(board.lines, histories, strict=True)
            if metric in rows and len(known := rows.dropna(subset=[metric]))
        ]
        if column.better and series:
            pictures.append(_learning(column, series))
    return pictures


def _history(runs: Sequence[StoredRun]) -> pd.DataFrame:
    """The histories, below each other, of those runs that have metrics of validation images."""
    histories = [read_history(run.folder).assign(seed=run.seed) for run in runs if has_looks(run.folder)]
    return pd.concat(histories, ignore_index=True) if histories else pd.DataFrame()


def _learning(column: Column, series: Sequence[_Series]) -> Picture:
    """One metric over steps: a line per model, and a band of a standard deviation over its seeds."""
    scale = 100 if column.unit == "fraction" else 1
    ends = []
    with plain_style():
        figure, axes = small_axes(_HEIGHT, legend=len(series))
        for name, look, values in series:
            mean, spread = scale * values.mean(), scale * values.std(ddof=1).fillna(0)
            marks = points(look) | {"linestyle": look.line, "linewidth": 1.2, "markersize": 3.5}
            axes.plot(mean.index, mean, label=label(name), **marks)
            low, high = mean - spread, mean + spread
            axes.fill_between(mean.index, low, high, color=look.colour, alpha=0.15, linewidth=0)
            ends.append(f"{name} ends at {column.shown(values.mean().iloc[-1]):.2f}")
        axes.set_xlabel("step")
        axes.set_ylabel(f"{_UNITS[column.unit]}{column.better} is better")
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        draw_legend(figure, axes)
        title = f"{name_of(column)} on validation data"
        return figure_png(figure, title, f"{title} over training steps. {'; '.join(ends)}.")


def _has(line: Line, place: int) -> bool:
    return bool(line.entries[place].cell.values)


def _shown(line: Line, place: int, column: Column) -> list[float]:
    return [column.shown(value) for value in line.entries[place].cell.values.values()]
