"""Figures from sheets of samples, as PNG bytes that are the same whenever the files are.

Images are drawn in one coordinate system whose unit is a tile of a cross sheet: a block (a sheet, or the rows of one direction)
is 10 units wide, a panel is blocks side by side under a title, a figure is panels in a grid over a caption.
"""

import io
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from mmbench.report.sheets import CROSS_COLUMNS, JOINT_COLUMNS, CrossSamples, Images, SampleSet, tile

__all__ = ["Panel", "cross_panel", "draw_panels", "joint_panel", "shorten", "style", "to_png", "wrap"]

_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # ships with matplotlib
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.edgecolor": "0.4",
    "axes.linewidth": 0.6,
    "xtick.color": "0.3",
    "ytick.color": "0.3",
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "figure.facecolor": "white",
    "figure.dpi": 150,
}
BLOCK = 10.0  # width of a block, in tiles of a cross sheet
_UNIT = 0.23  # inches per tile
_BLOCK_GAP, _PANEL_GAP, _ROW_GAP, _PAIR_GAP = 0.6, 2.0, 1.0, 0.35
_TITLE, _HEAD, _LINE = 1.0, 0.85, 0.65  # heights of a panel's title, a block's head, a line of the caption
_MARGIN = 0.5
_SMALL, _LARGE = 7.0, 9.0  # font sizes in points
_LETTER = 0.6  # width of a bold letter over the font size, on the safe side
_PAIRS = 3  # rows of conditions in a cross block: two models side by side show at most 64 images of a licensed data set


@dataclass(frozen=True)
class Block:
    """A head over strips of tiles.

    Attributes:
        head: what the tiles are.
        strips: (H, W, C) pictures over the whole width, with the height of each in units and the space above it.
    """

    head: str
    strips: list[tuple[Images, float, float]]

    @property
    def height(self) -> float:
        return _HEAD + sum(height + above for _, height, above in self.strips)


@dataclass(frozen=True)
class Panel:
    """A title over rows of blocks."""

    title: str
    rows: list[list[Block]]

    @property
    def width(self) -> float:
        return max(len(row) * (BLOCK + _BLOCK_GAP) - _BLOCK_GAP for row in self.rows)

    @property
    def height(self) -> float:
        return _TITLE + sum(max(block.height for block in row) for row in self.rows) + _BLOCK_GAP * (len(self.rows) - 1)


def joint_panel(title: str, samples: SampleSet) -> Panel:
    """Joint draws, one block per modality: the same place in every block is the same draw."""
    blocks = []
    for name, images in samples.joint.items():
        shown = images[: JOINT_COLUMNS**2]
        rows = -(-len(shown) // JOINT_COLUMNS)
        blocks.append(Block(name, [(_strip(shown, JOINT_COLUMNS), rows * BLOCK / JOINT_COLUMNS, 0.0)]))
    return Panel(title, [blocks])


def cross_panel(title: str, samples: SampleSet) -> Panel:
    """Every direction, in rows of as many blocks as there are modalities: pairs of lines, conditions above, outputs below."""
    blocks = [_cross_block(cross) for cross in samples.cross]
    wide = max(2, len(samples.joint))
    return Panel(title, [blocks[start : start + wide] for start in range(0, len(blocks), wide)])


def draw_panels(grid: Sequence[Sequence[Panel]], caption: str) -> bytes:
    """A PNG of panels in rows, left to right, over a caption. Panels without blocks are left out, one panel has some."""
    grid = [shown for row in grid if (shown := [panel for panel in row if any(panel.rows)])]
    widths = [max(row[i].width for row in grid if i < len(row)) for i in range(max(map(len, grid)))]
    heights = [max(panel.height for panel in row) for row in grid]
    width = sum(widths) + _PANEL_GAP * (len(widths) - 1) + 2 * _MARGIN
    lines = wrap(caption, (width - 2 * _MARGIN) * _UNIT, _SMALL)
    height = sum(heights) + _ROW_GAP * len(heights) + _LINE * len(lines) + 2 * _MARGIN
    with style():
        figure = Figure(figsize=(width * _UNIT, height * _UNIT))
        axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
        axes.set_axis_off()
        y = _MARGIN
        for row, tall in zip(grid, heights, strict=True):
            x = _MARGIN
            for panel, wide in zip(row, widths, strict=False):
                _draw_panel(axes, panel, x, y)
                x += wide + _PANEL_GAP
            y += tall + _ROW_GAP
        for line in lines:
            axes.text(_MARGIN, y, line, fontsize=_SMALL, color="0.35", va="top", parse_math=False)
            y += _LINE
        return to_png(figure)


@contextmanager
def style() -> Iterator[None]:
    """The look of every figure, whatever matplotlibrc says."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        yield


def to_png(figure: Figure, colours: int = 0) -> bytes:
    """The figure as PNG without date or version, so that equal figures are equal bytes; with `colours`, in a palette of so many."""
    stream = io.BytesIO()
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])
    (picture.quantize(colours) if colours else picture).save(stream, format="PNG", optimize=True)
    return stream.getvalue()


def shorten(text: str, inches: float, points: float) -> str:
    """`text` on one line, cut with an ellipsis where it is wider than `inches` at a font size of `points`."""
    text, letters = " ".join(text.split()), int(inches * 72 / (_LETTER * points))
    return text if len(text) <= letters else f"{text[: letters - 1]}…"


def wrap(text: str, inches: float, points: float) -> list[str]:
    """`text` in lines no wider than `inches` at a font size of `points`."""
    return textwrap.wrap(text, int(inches * 72 / (_LETTER * points)))


def _draw_panel(axes: Axes, panel: Panel, x: float, y: float) -> None:
    title = shorten(panel.title, panel.width * _UNIT, _LARGE)
    axes.text(x, y, title, fontsize=_LARGE, fontweight="bold", va="top", parse_math=False)
    y += _TITLE
    for row in panel.rows:
        for i, block in enumerate(row):
            _draw_block(axes, block, x + i * (BLOCK + _BLOCK_GAP), y)
        y += max(block.height for block in row) + _BLOCK_GAP


def _draw_block(axes: Axes, block: Block, x: float, y: float) -> None:
    head = shorten(block.head, BLOCK * _UNIT, _SMALL)
    axes.text(x + BLOCK / 2, y + _HEAD - 0.2, head, fontsize=_SMALL, color="0.25", ha="center", va="bottom", parse_math=False)
    y += _HEAD
    for picture, height, above in block.strips:
        y += above
        axes.imshow(picture, extent=(x, x + BLOCK, y + height, y), interpolation="lanczos", aspect="auto")
        y += height


def _cross_block(cross: CrossSamples) -> Block:
    """Up to 30 conditions over their outputs, taken evenly from all of them: they may be sorted by class."""
    count, strips = len(cross.conditions), []
    chosen = np.linspace(0, count - 1, min(count, _PAIRS * CROSS_COLUMNS)).round().astype(int)
    for start in range(0, len(chosen), CROSS_COLUMNS):
        here = chosen[start : start + CROSS_COLUMNS]
        strips += [
            (_strip(cross.conditions[here], CROSS_COLUMNS), 1.0, _PAIR_GAP if start else 0.0),
            (_strip(cross.outputs[here], CROSS_COLUMNS), 1.0, 0.0),
        ]
    return Block(f"{cross.source} → {cross.target}", strips)


def _strip(images: Images, columns: int) -> Images:
    """A sheet in RGB on white, with a hair's breadth between tiles."""
    sheet = tile(images, columns, gap=2, fill=255)
    return np.broadcast_to(sheet, (*sheet.shape[:2], 3))
