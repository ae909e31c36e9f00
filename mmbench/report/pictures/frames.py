"""What charts share: small frames, legends, and how the series of a model looks."""

from typing import Any, TypeAlias

import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mmbench.report.pictures.canvas import WIDTH, Look, framed, shorten

__all__ = ["Key", "Looks", "draw_legend", "label", "points", "small_axes"]

_LINE = 0.15  # inches of a line of a legend
_BELOW = 1.5  # for names in a legend

Key: TypeAlias = tuple[str, str]  # model and label, which tell apart what titles need not
Looks: TypeAlias = dict[Key, Look]


def points(look: Look) -> dict[str, Any]:
    """What matplotlib is told of markers without a line."""
    return {"color": look.colour, "marker": look.marker, "markerfacecolor": look.face, "linestyle": "none"}


def small_axes(height: float, left: float = 0.6, legend: int = 0) -> tuple[Figure, Axes]:
    """A chart whose frame is `height` inches high, with room for so many names below in two columns."""
    below = 0.5 + _LINE * -(-legend // 2)
    tall = height + below + 0.15
    figure, axes = framed(tall, (left / WIDTH, below / tall, 1 - (left + 0.15) / WIDTH, height / tall))
    axes.grid(color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    sns.despine(ax=axes)
    return figure, axes


def draw_legend(figure: Figure, axes: Axes) -> None:
    """The names of all series, below the frame."""
    figure.legend(
        *axes.get_legend_handles_labels(),
        loc="lower center",
        ncols=2,
        frameon=False,
        fontsize=7,
        borderaxespad=0.1,
        labelspacing=0.25,
    )


def label(name: str) -> str:
    """A name for a legend: matplotlib takes one that begins with an underscore for no name."""
    return f"\N{ZERO WIDTH SPACE}{shorten(name, _BELOW, 7)}"
