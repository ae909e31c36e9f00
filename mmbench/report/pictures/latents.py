"""The latents of a model in the plane of their two principal components, by class and by modality."""

from collections.abc import Sequence
from itertools import cycle

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mmbench.report.pictures.canvas import Picture, figure_png, framed, plain_style, style
from mmbench.report.pictures.classes import CROWDED, class_names
from mmbench.storage.diagnostics import StoredDiagnostics

__all__ = ["draw_latents"]

_MARKERS = ("o", "^", "s", "D", "v")


def draw_latents(name: str, found: StoredDiagnostics, classes: Sequence[str] = ()) -> list[Picture]:
    """The plane twice: items as coloured numbers of their class, and modalities by colour and marker.

    Args:
        name: of the model.
        found: its latents; without any there are no pictures.
        classes: their names, by default their numbers.
    """
    if not found.points:
        return []
    everything = np.concatenate(list(found.points.values()))
    names = list(enumerate(class_names(found.classes, classes)))
    key = ", ".join(f"{number} {name}" for number, name in names)
    unsaid = len(names) > CROWDED or all(name == str(number) for number, name in names)
    by_class = f"{name}: by class" + ("" if unsaid else f" ({key})")
    shares = ", ".join(
        f"component {i} holds {100 * share:.1f} %" for i, share in enumerate(found.explained, 1)
    )
    alt = (
        f"Representations of {', '.join(found.points)} by {name} "
        f"in the plane of their principal components ({shares} of the variance)"
    )
    return [
        figure_png(_by_class(found, everything), by_class, f"{alt}, each drawn as the number of its class."),
        figure_png(
            _by_modality(found),
            f"{name}: by modality",
            f"{alt}, with another marker for each modality.",
        ),
    ]


def _by_class(found: StoredDiagnostics, everything: np.ndarray) -> Figure:
    """Every item as the number of its class."""
    with style():  # the markers are formulas
        figure, axes = _plane(found)
        for number, colour in enumerate(sns.color_palette("colorblind", found.classes)):
            here = everything[everything[:, 2] == number]
            darker = tuple(0.8 * channel for channel in colour)  # its yellow is hardly seen on white
            axes.scatter(here[:, 0], here[:, 1], marker=f"${number}$", s=14, color=darker, linewidths=0.2)
    return figure


def _by_modality(found: StoredDiagnostics) -> Figure:
    """Every item in the colour and with the marker of its modality."""
    with plain_style():
        figure, axes = _plane(found)
        looks = zip(cycle(sns.color_palette("colorblind")), cycle(_MARKERS), strict=False)
        for (modality, points), (colour, marker) in zip(found.points.items(), looks, strict=False):
            x, y = points[:, 0], points[:, 1]
            axes.scatter(x, y, marker=marker, s=9, color=colour, alpha=0.6, linewidths=0, label=modality)
        axes.legend(
            frameon=False, fontsize=7, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=len(found.points)
        )
    return figure


def _plane(found: StoredDiagnostics) -> tuple[Figure, Axes]:
    """An empty plane whose axes say how much of the variance they hold."""
    figure, axes = framed(3.4, (0.16, 0.13, 0.82, 0.79))
    first, second = (
        f"component {i}: {100 * share:.1f} % of the variance" for i, share in enumerate(found.explained, 1)
    )
    axes.set(xlabel=first, ylabel=second)
    sns.despine(ax=axes)
    return figure, axes
