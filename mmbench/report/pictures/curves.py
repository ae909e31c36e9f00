"""Training curves from the histories on disk.

A term that several stages of training share is drawn once for each: their objectives differ.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, MaxNLocator, StrMethodFormatter

from mmbench.report.pictures.canvas import Look, looks, shorten, style, to_png, wrap
from mmbench.storage.history import read_history
from mmbench.storage.records import LOOK
from mmbench.storage.runs import StoredRun

__all__ = ["draw_curves"]

_COLUMNS = 5
_WIDTH, _HEIGHT = 1.45, 0.85  # inches: the frame of a plot
_LEFT, _ABOVE, _BELOW = 0.55, 0.25, 0.3  # around it, for tick labels and the title
_NAME, _LINE = 0.32, 0.15  # heights of a model's name and of a line of the caption
_LEGEND = 8  # seeds that fit into a legend beside the first name
_SEEDS = 20  # of a model that are drawn: more lines hide each other, and take minutes
_SKIPPED = 0.05  # of the steps: the first losses may leave the frame, they would flatten the rest
_NO_TERMS = ["step", "stage", "learning_rate", "seed"]

Palette: TypeAlias = dict[int, Look]  # by seed


@dataclass(frozen=True)
class _History:
    """What the runs of one model logged.

    Attributes:
        name: of the model.
        rows: of all runs under each other, with their seeds.
        stages: of training, in order: name -> the step after which it begins, and its last step.
        curves: what is drawn, as (term, stage): the loss of every stage, then its terms.
    """

    name: str
    rows: pd.DataFrame
    stages: dict[str, tuple[float, float]]
    curves: list[tuple[str, str]]

    @classmethod
    def of(cls, runs: Sequence[StoredRun]) -> "_History":
        """The history of all runs of a model."""
        histories = []
        for run in runs:
            # a failed run may end in infinities
            history = read_history(run.folder).replace([np.inf, -np.inf], np.nan)
            if len(history):
                stage = history.get("stage", pd.Series("", history.index)).astype(str)
                histories.append(history.assign(seed=run.seed, stage=stage))
        if not histories:
            return cls(runs[0].name, pd.DataFrame(), {}, [])
        rows = pd.concat(histories, ignore_index=True)
        ends = rows.groupby("stage", sort=False)["step"].max()
        stages = {
            str(stage): (begin, end)
            for stage, begin, end in zip(ends.index, [0, *ends.iloc[:-1]], ends, strict=True)
        }
        no_terms = [*_NO_TERMS, *(name for name in rows if name.startswith(LOOK))]
        numbers = rows.drop(columns=no_terms, errors="ignore").select_dtypes("number")
        drawn = numbers.notna().groupby(rows["stage"]).any()  # by stage and term
        terms = sorted(numbers, key=lambda term: term != "loss")
        curves = [(term, stage) for term in terms for stage in stages if drawn.loc[stage, term]]
        return cls(runs[0].name, rows, stages, curves)

    @property
    def height(self) -> float:
        """Inches that its plots take."""
        return _NAME + (_ABOVE + _HEIGHT + _BELOW) * -(-len(self.curves) // _COLUMNS)


def draw_curves(models: Sequence[Sequence[StoredRun]], caption: str) -> bytes | None:
    """A PNG with small plots per model, for the loss and for each of its terms, a line per seed.

    Args:
        models: the runs of each model.
        caption: data set, preset, steps.

    Returns:
        None without histories.
    """
    found = [_History.of(runs[:_SEEDS]) for runs in models]
    histories = [history for history in found if history.curves]
    if not histories:
        return None
    seeds = sorted({int(seed) for history in histories for seed in history.rows["seed"].unique()})
    palette: Palette = dict(zip(seeds, looks(len(seeds)), strict=True))
    width = _COLUMNS * (_LEFT + _WIDTH) + 0.2
    lines = wrap(f"{caption} {_reading(histories, max(map(len, models)))}", width - 0.2, 7)
    height = sum(history.height for history in histories) + _LINE * (len(lines) + 1)
    with style():
        figure = Figure(figsize=(width, height))
        y = 0.0
        for history in histories:
            _draw_model(figure, y, history, palette)
            y += history.height
        for line in lines:
            y += _LINE
            figure.text(0.01, 1 - y / height, line, fontsize=7, color="0.35", parse_math=False)
        if 1 < len(seeds) <= _LEGEND:
            _legend(figure, palette)
        return to_png(figure, colours=128)


def _reading(histories: Sequence[_History], most: int) -> str:
    """How the curves are read, where a model has `most` seeds and no other more."""
    share = f"{100 * _SKIPPED:g} %"
    reading = f"Means over logging intervals; the first {share} of the steps may leave the frame."
    if any(len(history.stages) > 1 for history in histories):
        reading += " Dotted: the next stage of training begins."
    return reading + (f" Of each model the first {_SEEDS} seeds." if most > _SEEDS else "")


def _legend(figure: Figure, palette: Palette) -> None:
    """The line of every seed, beside the first name."""
    keys = [Line2D([], [], color=look.colour, linestyle=look.line, linewidth=1) for look in palette.values()]
    names = [f"seed {seed}" for seed in palette]
    figure.legend(keys, names, loc="upper right", ncols=len(palette), frameon=False, borderaxespad=0.2)


def _draw_model(figure: Figure, y: float, history: _History, palette: Palette) -> None:
    """The plots of one model, from `y` inches below the top."""
    width, height = figure.get_size_inches()
    name, top = shorten(history.name, 0.4 * width, 9), 1 - (y + 0.1) / height
    figure.text(0.01, top, name, fontsize=9, fontweight="bold", va="top", parse_math=False)
    for i, (term, stage) in enumerate(history.curves):
        left = _LEFT + i % _COLUMNS * (_WIDTH + _LEFT)
        bottom = y + _NAME + (i // _COLUMNS + 1) * (_ABOVE + _HEIGHT) + i // _COLUMNS * _BELOW
        axes = figure.add_axes((left / width, 1 - bottom / height, _WIDTH / width, _HEIGHT / height))
        _draw_term(axes, history, term, stage, palette)


def _draw_term(axes: Axes, history: _History, term: str, stage: str, palette: Palette) -> None:
    """One term of the loss in one stage of training."""
    here = history.rows[history.rows["stage"] == stage]
    # seaborn's lineplot takes ten times as long
    for seed, line in here.dropna(subset=[term]).groupby("seed"):
        steps, values, look = line["step"].to_numpy(), line[term].to_numpy(), palette[int(seed)]
        axes.plot(steps, values, color=look.colour, linestyle=look.line, linewidth=1)
    begin, end = history.stages[stage]
    values = here.loc[here["step"] >= begin + _SKIPPED * (end - begin), term].dropna()
    low, high = values.min(), values.max()
    if high > low:
        axes.set_ylim(low - 0.06 * (high - low), high + 0.06 * (high - low))
    axes.set_xlim(0, 1.02 * history.rows["step"].max())
    for step, _ in list(history.stages.values())[1:]:
        axes.axvline(step, color="0.4", linewidth=0.8, linestyle=":")
    name = term.replace("_", " ").replace("->", "→")
    shared = len([other for other, _ in history.curves if other == term]) > 1
    axes.set_title(shorten(f"{name}{f', {stage}' if shared else ''}", _WIDTH + _LEFT, 8), parse_math=False)
    axes.set(xlabel="", ylabel="")
    axes.xaxis.set_major_locator(MaxNLocator(3))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:.6g}"))
    sns.despine(ax=axes)
