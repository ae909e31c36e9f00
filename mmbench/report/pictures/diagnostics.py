"""What a run saw while it was evaluated, as pictures: its latents in the plane, and which digit it made of which.

samples/diagnostics.json   "confusion": "a->b" -> 10 x 10 counts, row = class of the condition, column = class that the judge of b finds;
                           "latent": None, or "explained" (shares of the variance along two principal components) and
                           "points": modality -> "x", "y", "label"
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mmbench.report.pictures.charts import WIDTH, Picture, figure_png, plain_style
from mmbench.report.pictures.figures import shorten, style
from mmbench.storage.files import REMAKE, read_json
from models.errors import InputError

__all__ = ["Diagnostics", "draw_confusions", "draw_latents", "load_diagnostics"]

_MARKERS = ("o", "^", "s", "D", "v")
_WRITTEN = 5  # per cent: smaller shares are not printed into a cell
_CLASSES = 10


@dataclass(frozen=True)
class Diagnostics:
    """The contents of the file.

    Attributes:
        confusion: direction -> (10, 10) counts.
        points: modality -> (n, 3): coordinates and class. Empty without latents.
        explained: shares of the variance, in [0, 1].
    """

    confusion: dict[str, npt.NDArray[np.float64]]
    points: dict[str, npt.NDArray[np.float64]]
    explained: tuple[float, ...]


def load_diagnostics(folder: Path) -> Diagnostics | None:
    """The diagnostics of the run in `folder`; None where it has none. InputError for a damaged file."""
    path = folder / "samples" / "diagnostics.json"
    if not path.exists():
        return None
    found = read_json(path, REMAKE)
    try:
        confusion = {str(name): np.array(counts, float) for name, counts in found["confusion"].items()}
        latent = found["latent"] or {"points": {}, "explained": []}
        points = {
            str(name): np.array([xy["x"], xy["y"], xy["label"]], float).T
            for name, xy in latent["points"].items()
        }
        explained = tuple(float(share) for share in latent["explained"])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"The file {path} holds no diagnostics ({error}): {REMAKE}.") from None
    shaped = all(counts.shape == (_CLASSES, _CLASSES) for counts in confusion.values()) and len(
        explained
    ) == (2 if points else 0)
    if not shaped:
        raise InputError(
            f"The file {path} should hold 10 x 10 confusions and two components of the latents: {REMAKE}."
        )
    return Diagnostics(confusion, points, explained)


def draw_latents(name: str, found: Diagnostics) -> list[Picture]:
    """The plane twice: digits as coloured digits, and modalities by colour and marker. Empty without latents."""
    if not found.points:
        return []
    shares = ", ".join(
        f"component {i} holds {100 * share:.1f} %" for i, share in enumerate(found.explained, 1)
    )
    everything = np.concatenate(list(found.points.values()))
    with style():  # the markers are formulas
        by_digit, axes = _plane(found)
        for digit, colour in enumerate(_darker(sns.color_palette("colorblind", _CLASSES))):
            here = everything[everything[:, 2] == digit]
            axes.scatter(here[:, 0], here[:, 1], marker=f"${digit}$", s=14, color=colour, linewidths=0.2)
    with plain_style():
        by_modality, axes = _plane(found)
        for (modality, points), colour, marker in zip(
            found.points.items(), sns.color_palette("colorblind"), _MARKERS, strict=False
        ):
            axes.scatter(
                points[:, 0],
                points[:, 1],
                marker=marker,
                s=9,
                color=colour,
                alpha=0.6,
                linewidths=0,
                label=modality,
            )
        axes.legend(
            frameon=False, fontsize=7, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=len(found.points)
        )
    alt = f"Representations of {', '.join(found.points)} by {name} in the plane of their principal components ({shares} of the variance)"
    return [
        figure_png(by_digit, f"{name}: by digit", f"{alt}, each drawn as its digit."),
        figure_png(by_modality, f"{name}: by modality", f"{alt}, with another marker for each modality."),
    ]


def draw_confusions(name: str, found: Diagnostics) -> list[Picture]:
    """A heat map per direction: rows are the digit of the condition, columns the digit that the judge finds, in per cent of the row."""
    pictures = []
    for direction, counts in found.confusion.items():
        shares = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        source, _, target = direction.partition("->")
        with plain_style():
            figure = Figure(figsize=(WIDTH, 3.6))
            FigureCanvasAgg(figure)
            axes = figure.add_axes((0.11, 0.12, 0.87, 0.86))
            written = np.where(shares >= _WRITTEN, np.char.mod("%.0f", shares), "")
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
                ax=axes,
            )
            axes.set_xlabel(shorten(f"digit that the judge finds ({target})", 3.4, 8))
            axes.set_ylabel(shorten(f"digit of the condition ({source})", 3.0, 8))
            axes.tick_params(axis="y", rotation=0)
            right = ", ".join(f"{digit}: {share:.0f} %" for digit, share in enumerate(np.diag(shares)))
            alt = f"{name}, {source} to {target}: share of conditions of each digit whose output is that digit. {right}."
            pictures.append(figure_png(figure, f"{name}: {source} → {target}", alt))
    return pictures


def _darker(palette: Sequence[tuple[float, float, float]]) -> list[tuple[float, ...]]:
    """Its yellow is hardly seen on white."""
    return [tuple(0.8 * channel for channel in colour) for colour in palette]


def _plane(found: Diagnostics) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, 3.4))
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.16, 0.13, 0.82, 0.79))
    first, second = (
        f"component {i}: {100 * share:.1f} % of the variance" for i, share in enumerate(found.explained, 1)
    )
    axes.set(xlabel=first, ylabel=second)
    sns.despine(ax=axes)
    return figure, axes
