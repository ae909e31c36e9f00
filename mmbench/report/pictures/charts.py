"""Small charts: coherence against quality, seed spread, learning curves on validation data. Each is as wide as a phone.

Models are told apart by colour and by marker; every number is in the page's tables too.
"""

import base64
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from typing import TypeAlias

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator
from PIL import Image

from mmbench.report.numbers.leaderboard import Leaderboard, Line, name_of
from mmbench.report.numbers.tables import Column
from mmbench.report.pictures.figures import shorten, style, to_png
from mmbench.storage.records import LOOK
from mmbench.storage.runs import StoredRun, read_history

__all__ = ["Charts", "Picture", "data_uri", "draw_charts", "figure_png", "plain_style"]

WIDTH = 4.0  # inches of a chart
_HEIGHT, _LINE = 2.6, 0.15  # of a frame, and of a line of a legend
_BESIDE, _BELOW = 1.4, 1.5  # for names beside a frame and in a legend
_MARKERS = (
    "o",
    "s",
    "^",
    "D",
    "v",
    "P",
    "X",
    "<",
    ">",
    "p",
    "*",
)  # 11, and 10 colours: no pair twice below 110 models
_UNITS = {"fraction": "per cent, ", "nats": "", "distance": ""}

Styles: TypeAlias = dict[str, tuple[tuple[float, float, float], str]]


@dataclass(frozen=True)
class Picture:
    """A picture: its title, its PNG, what it shows in words, and its size in pixels."""

    title: str
    png: bytes
    alt: str
    size: tuple[int, int]

    @property
    def file_name(self) -> str:
        return f"{re.sub(r'[^a-z0-9]+', '-', self.title.lower()).strip('-')}.png"

    @property
    def source(self) -> str:
        """The picture as a data URI, for a page that needs no other file.

        Drawings, which have a palette, keep every pixel. Pictures in true colours show samples at another size
        than their own, so that they can do without.
        """
        with Image.open(io.BytesIO(self.png)) as picture:
            return data_uri(picture, lossless=picture.mode == "P")


@dataclass(frozen=True)
class Charts:
    """Those of all models of a preset folder; any of them may be missing.

    Attributes:
        trade_off: joint coherence against the Fréchet distance of each modality: FID where a model has one, FD-clf otherwise.
        spread: for every metric that is better one way, a point per seed and a bar at the mean; none where no model has two seeds.
        learning: what was computed on validation data during training, over steps.
    """

    trade_off: list[Picture]
    spread: list[Picture]
    learning: list[Picture]

    @property
    def reading(self) -> str:
        """How `trade_off` is read."""
        bars = (
            "Bars are standard deviations over seeds, where a model has two or more."
            if self.spread
            else "One seed, so there are no error bars."
        )
        return f"Up and left is better. {bars} Models without one of the two are not drawn."


def draw_charts(models: Sequence[Sequence[StoredRun]], board: Leaderboard) -> Charts:
    """The charts of the runs of each model; bars and bands are standard deviations over seeds."""
    return Charts(_draw_trade_off(board), _draw_spread(board), _draw_learning(models, board))


def data_uri(picture: Image.Image, lossless: bool = True) -> str:
    """`picture` as WebP: a fifth smaller than PNG without loss, and a third of it with."""
    stream = io.BytesIO()
    picture.convert("RGB").save(stream, "WEBP", lossless=lossless, quality=90, method=3)
    return f"data:image/webp;base64,{base64.b64encode(stream.getvalue()).decode()}"


def figure_png(figure: Figure, title: str, alt: str) -> Picture:
    """The figure as a picture, in a palette: a third of the bytes of true colours."""
    width, height = (round(inches * figure.dpi) for inches in figure.get_size_inches())
    return Picture(title, to_png(figure, colours=128), alt, (width, height))


@contextmanager
def plain_style() -> Iterator[None]:
    """The look of every figure, where a dollar sign in a name is one and begins no formula."""
    with style(), mpl.rc_context({"text.parse_math": False}):
        yield


def _draw_trade_off(board: Leaderboard) -> list[Picture]:
    places = {column.metric: place for place, column in enumerate(board.columns)}
    modalities = dict.fromkeys(
        metric.partition("/")[2] for metric in places if metric.startswith(("fid/", "fd_clf/"))
    )
    pictures = []
    for modality in modalities:
        metric = next(
            (
                m
                for m in (f"fid/{modality}", f"fd_clf/{modality}")
                if m in places and any(_has(line, places[m]) for line in board.lines)
            ),
            "",
        )
        if metric and "joint_coherence" in places:
            pictures += _trade_off(
                board, board.columns[places[metric]], places["joint_coherence"], places[metric]
            )
    return pictures


def _draw_spread(board: Leaderboard) -> list[Picture]:
    pictures = []
    for place, column in enumerate(board.columns):
        lines = [line for line in board.lines if _has(line, place)]
        if not column.better or not any(len(line.entries[place].cell.values) > 1 for line in lines):
            continue
        styles, names = _styles(board), [shorten(line.name, _BESIDE, 8) for line in lines]
        with plain_style():
            figure, axes = _axes(0.45 + 0.2 * len(lines), left=_BESIDE + 0.1)
            for y, line in enumerate(lines):
                values, (colour, marker) = _shown(line, place, column), styles[line.name]
                axes.plot(
                    values,
                    [y] * len(values),
                    marker,
                    color=colour,
                    markersize=4,
                    alpha=0.8,
                    markeredgewidth=0,
                )
                axes.plot([np.mean(values)] * 2, [y - 0.35, y + 0.35], color="0.1", linewidth=1.2)
            axes.set_yticks(range(len(names)), names)
            axes.set_ylim(len(names) - 0.4, -0.6)
            axes.set_xlabel(f"{_UNITS[column.unit]}{column.better} is better")
            spread = "; ".join(
                f"{line.name}: {', '.join(f'{v:.2f}' for v in _shown(line, place, column))}" for line in lines
            )
            pictures.append(
                figure_png(figure, name_of(column), f"{name_of(column)} of every seed. {spread}.")
            )
    return pictures


def _looks(runs: Sequence[StoredRun]) -> pd.DataFrame:
    """The histories of those runs that looked at validation data: pandas takes milliseconds for each."""
    looked = [
        run
        for run in runs
        if (path := run.folder / "history.csv").exists()
        and LOOK in path.read_text(errors="replace").partition("\n")[0]
    ]
    histories = [read_history(run).assign(seed=run.seed) for run in looked]
    return pd.concat(histories, ignore_index=True) if histories else pd.DataFrame()


def _draw_learning(models: Sequence[Sequence[StoredRun]], board: Leaderboard) -> list[Picture]:
    histories = [(runs[0].name, _looks(runs)) for runs in models]
    pictures = []
    for column in board.columns:
        metric = f"{LOOK}{column.metric}"
        known = {name: history.dropna(subset=[metric]) for name, history in histories if metric in history}
        known = {name: history for name, history in known.items() if len(history)}
        if not column.better or not known:
            continue
        with plain_style():
            figure, axes = _axes(_HEIGHT, legend=len(known))
            for name, history in known.items():
                _learning_curve(axes, name, column, history.groupby("step")[metric], _styles(board)[name])
            axes.set_xlabel("step")
            axes.set_ylabel(f"{_UNITS[column.unit]}{column.better} is better")
            axes.xaxis.set_major_formatter(EngFormatter(sep=""))
            _legend(figure, axes)
            ends = (
                f"{name} ends at {column.shown(history.groupby('step')[metric].mean().iloc[-1]):.2f}"
                for name, history in known.items()
            )
            alt = f"{name_of(column)} on validation data over training steps. {'; '.join(ends)}."
            pictures.append(figure_png(figure, f"{name_of(column)} on validation data", alt))
    return pictures


def _trade_off(board: Leaderboard, column: Column, joint: int, distance: int) -> list[Picture]:
    drawn = [line for line in board.lines if _has(line, joint) and _has(line, distance)]
    if not drawn:
        return []
    with plain_style():
        figure, axes = _axes(_HEIGHT, legend=len(drawn))
        words = []
        for line in drawn:
            x, y = _shown(line, distance, column), _shown(line, joint, board.columns[joint])
            bars = [np.std(values, ddof=1) if len(values) > 1 else None for values in (x, y)]
            colour, marker = _styles(board)[line.name]
            axes.errorbar(
                np.mean(x),
                np.mean(y),
                xerr=bars[0],
                yerr=bars[1],
                fmt=marker,
                color=colour,
                capsize=2,
                elinewidth=1,
                label=_label(line.name),
            )
            words.append(f"{line.name}: {np.mean(y):.2f} % at {np.mean(x):.2f}")
        axes.set(
            xlabel=f"{name_of(column)}, lower is better",
            ylabel="Joint coherence in per cent, higher is better",
        )
        axes.margins(0.12)
        _legend(figure, axes)
        alt = f"Joint coherence against {name_of(column)}. {'; '.join(words)}."
        return [figure_png(figure, f"Joint coherence against {name_of(column)}", alt)]


def _learning_curve(
    axes: Axes,
    name: str,
    column: Column,
    by_step: "pd.core.groupby.SeriesGroupBy",
    look: tuple[tuple[float, ...], str],
) -> None:
    colour, marker = look
    scale = 100 if column.unit == "fraction" else 1
    mean, spread = scale * by_step.mean(), scale * by_step.std(ddof=1).fillna(0)
    axes.plot(
        mean.index, mean, marker=marker, color=colour, linewidth=1.2, markersize=3.5, label=_label(name)
    )
    axes.fill_between(mean.index, mean - spread, mean + spread, color=colour, alpha=0.15, linewidth=0)


def _axes(height: float, left: float = 0.6, legend: int = 0) -> tuple[Figure, Axes]:
    """A chart whose frame is `height` inches high, with room for so many names below in two columns."""
    below = 0.5 + _LINE * -(-legend // 2)
    tall = height + below + 0.15
    figure = Figure(figsize=(WIDTH, tall))
    FigureCanvasAgg(figure)
    axes = figure.add_axes((left / WIDTH, below / tall, 1 - (left + 0.15) / WIDTH, height / tall))
    axes.grid(color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    sns.despine(ax=axes)
    return figure, axes


def _legend(figure: Figure, axes: Axes) -> None:
    figure.legend(
        *axes.get_legend_handles_labels(),
        loc="lower center",
        ncols=2,
        frameon=False,
        fontsize=7,
        borderaxespad=0.1,
        labelspacing=0.25,
    )


def _label(name: str) -> str:
    """A name for a legend: matplotlib takes one that begins with an underscore for no name."""
    return f"\N{ZERO WIDTH SPACE}{shorten(name, _BELOW, 7)}"


def _styles(board: Leaderboard) -> Styles:
    colours = cycle(sns.color_palette("colorblind", 10))
    return {
        line.name: (colour, marker)
        for line, colour, marker in zip(board.lines, colours, cycle(_MARKERS), strict=False)
    }


def _has(line: Line, place: int) -> bool:
    return bool(line.entries[place].cell.values)


def _shown(line: Line, place: int, column: Column) -> list[float]:
    return [column.shown(value) for value in line.entries[place].cell.values.values()]
