"""Confusions of cross generation as heat maps: the class of a condition and the one that a judge finds."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import seaborn as sns

from mmbench.report.pictures.canvas import Picture, figure_png, framed, plain_style, shorten
from mmbench.report.pictures.classes import Classes, name_classes
from mmbench.storage.diagnostics import StoredDiagnostics

__all__ = ["draw_confusions"]

_WRITTEN = 5  # per cent: smaller shares are not printed into a cell
_CROWDED = 20  # classes: of more, cells are too small for numbers and some names are left out


def draw_confusions(name: str, found: StoredDiagnostics, classes: Sequence[str] = ()) -> list[Picture]:
    """A heat map per direction, in per cent of its rows.

    Args:
        name: of the model.
        found: its confusions; rows are the class of the condition, columns the class that the judge finds.
        classes: their names, by default their numbers.
    """
    return [
        _draw(name, direction, counts, name_classes(len(counts), classes))
        for direction, counts in found.confusion.items()
    ]


def _draw(name: str, direction: str, counts: npt.NDArray[np.float64], classes: Classes) -> Picture:
    """The heat map of one direction."""
    shares = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    source, _, target = direction.partition("->")
    few = len(counts) <= _CROWDED
    names = list(classes.names) if few else "auto"
    written = np.where(shares >= _WRITTEN, np.char.mod("%.0f", shares), "") if few else False
    with plain_style():
        figure, axes = framed(3.6, (0.11, 0.12, 0.87, 0.86))
        sns.heatmap(
            shares,
            vmin=0,
            vmax=100,
            cmap="Blues",
            annot=written,
            fmt="",
            annot_kws={"size": 6},
            cbar=False,
            linewidths=0.3,
            linecolor="0.9",
            xticklabels=names,
            yticklabels=names,
            ax=axes,
        )
        axes.set_xlabel(shorten(f"{classes.word} that the judge finds ({target})", 3.4, 8))
        axes.set_ylabel(shorten(f"{classes.word} of the condition ({source})", 3.0, 8))
        axes.tick_params(axis="y", rotation=0)
        own = zip(classes.names, np.diag(shares), strict=True)
        right = ", ".join(f"{each}: {share:.0f} %" for each, share in own)
        alt = (
            f"{name}, {source} to {target}: share of conditions of each {classes.word} "
            f"whose output is that {classes.word}. {right}."
        )
        return figure_png(figure, f"{name}: {source} → {target}", alt)
