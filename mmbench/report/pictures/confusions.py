"""Confusions of cross generation as heat maps: the class of a condition and the one that a judge finds."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import seaborn as sns

from mmbench.report.pictures.canvas import WIDTH, Picture, figure_png, framed, plain_style, shorten
from mmbench.report.pictures.classes import CROWDED, class_names
from mmbench.report.pictures.directions import shown_directions
from mmbench.storage.diagnostics import StoredDiagnostics

__all__ = ["draw_confusions"]

_WRITTEN = 5  # per cent: smaller shares are not printed into a cell
_HEIGHT = 3.6  # inches
_SIZE, _LETTER = 7, 0.055  # of the classes' names: font size, and width of a letter in inches
_LONGEST = 0.8  # inches: longer names are cut


def draw_confusions(name: str, found: StoredDiagnostics, classes: Sequence[str] = ()) -> list[Picture]:
    """A heat map per direction that is shown, in per cent of its rows.

    Args:
        name: of the model.
        found: its confusions; rows are the class of the condition, columns the class that the judge finds.
        classes: their names, by default their numbers.
    """
    return [
        _draw(name, direction, counts, class_names(len(counts), classes))
        for direction, counts in shown_directions(
            found.confusion.items(), lambda item: item[0].partition("->")[0]
        )
    ]


def _draw(name: str, direction: str, counts: npt.NDArray[np.float64], classes: Sequence[str]) -> Picture:
    """The heat map of one direction; of many classes some are named, and cells have no numbers."""
    shares = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    source, _, target = direction.partition("->")
    few = len(classes) <= CROWDED
    written = np.where(shares >= _WRITTEN, np.char.mod("%.0f", shares), "") if few else False
    step = -(-len(classes) // CROWDED)
    places = np.arange(0, len(classes), step) + 0.5
    names = [shorten(each, _LONGEST, _SIZE) for each in classes[::step]]
    longest = _LETTER * max(map(len, names))
    left = (longest - _LETTER) / WIDTH  # beside a letter
    # where they do not fit under their columns
    upright = longest + _LETTER > WIDTH * (0.87 - left) * step / len(classes)
    below = (longest - _LETTER) / _HEIGHT if upright else 0.0
    with plain_style():
        figure, axes = framed(_HEIGHT, (0.11 + left, 0.12 + below, 0.87 - left, 0.86 - below))
        sns.heatmap(
            shares,
            vmin=0,
            vmax=100,
            cmap="Blues",
            annot=written,
            fmt="",
            annot_kws={"size": 6},
            cbar=False,
            linewidths=0.3 if few else 0.0,
            linecolor="0.9",
            xticklabels=False,
            yticklabels=False,
            ax=axes,
        )
        axes.set_xticks(places, names, rotation=90 if upright else 0)
        axes.set_yticks(places, names, va="center")
        axes.set_xlabel(shorten(f"class that the judge finds ({target})", 3.4, 8))
        axes.set_ylabel(shorten(f"class of the condition ({source})", 3.0, 8))
        own = zip(classes, np.diag(shares), strict=True)
        right = ", ".join(f"{each}: {share:.0f} %" for each, share in own)
        alt = (
            f"{name}, {source} to {target}: share of conditions of each class whose output is of that class. "
            f"{right}."
        )
        return figure_png(figure, f"{name}: {source} → {target}", alt)
