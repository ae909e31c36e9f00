"""Pictures of retrieval: precision over recall of all models, and what some queries of one find first."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from mmbench.report.pictures.canvas import Picture, figure_png, plain_style, shorten, style, to_png, wrap
from mmbench.report.pictures.directions import shown_directions
from mmbench.report.pictures.frames import Key, Looks, draw_legend, label, points, small_axes
from mmbench.storage.diagnostics import load_diagnostics
from mmbench.storage.runs import StoredRun
from mmbench.storage.samples import FoundSamples
from mmbench.storage.tiles import Tiles

__all__ = ["draw_found", "draw_recall"]

_HEIGHT = 2.6  # inches of a frame
_UNIT, _MARGIN = 0.42, 0.4  # inches of a tile; tiles around everything
_APART, _HEAD, _LINE = 0.5, 0.7, 0.36  # between query and hits; heights of a head and a line, in tiles
_SMALL = 7.0  # font size in points
_WRONG = "#c1121f"


def draw_recall(models: Sequence[Sequence[StoredRun]], named: Looks) -> list[Picture]:
    """For every direction that is shown the precision over recall, a mean over seeds for each model."""
    curves: dict[str, dict[Key, list[np.ndarray]]] = {}
    names = {(runs[0].model, runs[0].label): runs[0].name for runs in models}
    for runs in models:
        for run in (run for run in runs if run.state == "done"):
            found = load_diagnostics(run.folder)
            for direction, curve in (found.recall if found else {}).items():
                curves.setdefault(direction, {}).setdefault((run.model, run.label), []).append(curve)
    shown = shown_directions(curves.items(), lambda item: item[0].partition("->")[0])
    return [_recall(direction, of, names, named) for direction, of in shown]


def _recall(
    direction: str, curves: Mapping[Key, Sequence[np.ndarray]], names: Mapping[Key, str], named: Looks
) -> Picture:
    """One direction, a line per model."""
    words = []
    source, _, target = direction.partition("->")
    with plain_style():
        figure, axes = small_axes(_HEIGHT, legend=len(curves))
        for key, of in curves.items():
            name, look = names[key], named[key]
            mean = 100 * np.mean(of, axis=0)
            marks = points(look) | {"linestyle": look.line, "linewidth": 1.2, "markersize": 3}
            axes.plot(np.linspace(0, 100, len(mean)), mean, markevery=4, label=label(name), **marks)
            words.append(f"{name}: {mean[len(mean) // 2]:.1f} % at half of the items")
        axes.set_xlabel(f"recall of {shorten(target, 1.5, 8)} in per cent")
        axes.set_ylabel("precision in per cent, higher is better")
        axes.set_ylim(0, 102)
        draw_legend(figure, axes)
        title = f"Precision over recall {source} → {target}"
        return figure_png(figure, title, f"{title}, interpolated. {'; '.join(words)}.")


def draw_found(name: str, directions: Sequence[FoundSamples], caption: str) -> bytes:
    """A PNG of queries, each before its first hits; those of another class have a red frame and a cross.

    Args:
        name: of the model.
        directions: at least one.
        caption: in one piece; it is wrapped here.
    """
    depth = max(found.depth for found in directions)
    width = 2 * _MARGIN + 1 + _APART + depth
    lines = wrap(caption, (width - 2 * _MARGIN) * _UNIT, _SMALL)
    height = 2 * _MARGIN + sum(_HEAD + len(found.labels) + _LINE for found in directions) + _LINE * len(lines)
    with style():
        figure = Figure(figsize=(width * _UNIT, height * _UNIT))
        axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
        axes.set_axis_off()
        y = _MARGIN
        for found in directions:
            right = sum(hit == wanted for hit, wanted in _outcomes(found))
            head = f"{name}: {found.source} → {found.target}, {right} of {len(found.classes)} right"
            shown = shorten(head, (width - 2 * _MARGIN) * _UNIT, _SMALL + 1)
            axes.text(_MARGIN, y, shown, fontsize=_SMALL + 1, fontweight="bold", va="top", parse_math=False)
            y += _HEAD
            _draw_direction(axes, found, y)
            y += len(found.labels) + _LINE
        for line in lines:
            axes.text(_MARGIN, y, line, fontsize=_SMALL, color="0.35", va="top", parse_math=False)
            y += _LINE
        return to_png(figure)


def _outcomes(found: FoundSamples) -> list[tuple[int, int]]:
    """The class of each hit, and that of its query."""
    return list(zip(found.classes, np.repeat(found.labels, found.depth).tolist(), strict=True))


def _draw_direction(axes: Axes, found: FoundSamples, top: float) -> None:
    """A row for each query, from `top` downwards."""
    for row in range(len(found.labels)):
        _draw_tile(axes, found.queries, row, _MARGIN, top + row)
    for place, (hit, wanted) in enumerate(_outcomes(found)):
        row, column = divmod(place, found.depth)
        x, y = _MARGIN + 1 + _APART + column, top + row
        _draw_tile(axes, found.hits, place, x, y)
        if hit != wanted:
            frame = Rectangle((x + 0.04, y + 0.04), 0.92, 0.92, fill=False, edgecolor=_WRONG, linewidth=1.4)
            axes.add_patch(frame)
            axes.plot([x + 0.68, x + 0.9], [y + 0.1, y + 0.32], color=_WRONG, linewidth=1.4)
            axes.plot([x + 0.9, x + 0.68], [y + 0.1, y + 0.32], color=_WRONG, linewidth=1.4)


def _draw_tile(axes: Axes, tiles: Tiles, index: int, x: float, y: float) -> None:
    """An image, or a text on grey, in a square of one unit."""
    place = (x + 0.05, x + 0.95, y + 0.95, y + 0.05)
    if not isinstance(tiles, list):
        image = np.broadcast_to(tiles[index].transpose(1, 2, 0), (*tiles.shape[2:], 3))
        axes.imshow(image, extent=place, interpolation="lanczos", aspect="auto")
        return
    text = shorten(tiles[index].strip() or " ", 0.85 * _UNIT, 4.5)
    axes.add_patch(Rectangle((x + 0.05, y + 0.05), 0.9, 0.9, facecolor="0.92", edgecolor="none"))
    axes.text(x + 0.5, y + 0.5, text, fontsize=4.5, ha="center", va="center", parse_math=False)
