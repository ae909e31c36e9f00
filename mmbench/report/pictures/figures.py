"""Figures of samples: joint draws, and conditions over what was generated from them.

Samples are drawn in one coordinate system whose unit is a tile of a cross sheet: a block (a sheet, or the
rows of one direction) is 10 units wide, a panel is blocks side by side under a title, a figure is panels in a
grid over a caption. Texts are set in letters of one width on grey tiles, blanks included; they are wider than
images, and so are their columns.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from mmbench.report.pictures.canvas import shorten, style, to_png, wrap
from mmbench.storage.samples import CROSS_COLUMNS, JOINT_COLUMNS, CrossSamples, SampleSet
from mmbench.storage.tiles import Images, Tiles, tile

__all__ = ["Panel", "cross_panel", "draw_panels", "joint_panel"]

BLOCK = 10.0  # width of a block, in tiles of a cross sheet
_UNIT = 0.23  # inches per tile
_BLOCK_GAP, _PANEL_GAP, _ROW_GAP, _PAIR_GAP = 0.6, 2.0, 1.0, 0.35
_TITLE, _HEAD, _LINE = 1.0, 0.85, 0.65  # heights of a panel's title, a block's head, a line of the caption
_MARGIN = 0.5
_SMALL, _LARGE = 7.0, 9.0  # font sizes in points
_PAIRS = 3  # rows of conditions in a cross block, at most
# conditions of one modality of images in a panel, at most: two models side by side then show no more than 64
# images of a licensed data set
_SHOWN = 32
_TEXT_COLUMNS = 5  # of a cross block with texts
_TEXT, _BESIDE_TEXT = 0.75, 1.4  # heights of a text, and of an image in such a block
_TYPE = 0.602  # width of a letter of DejaVu Sans Mono over the font size
_FINE, _READABLE = 7.0, 4.5  # font sizes of texts, at most and at least


@dataclass(frozen=True)
class Strip:
    """Rows of tiles over the whole width of a block.

    Attributes:
        tiles: images or texts.
        columns: in a row.
        row: height of a row, in units.
        above: space above it, in units.
    """

    tiles: Tiles
    columns: int
    row: float
    above: float = 0.0

    @property
    def height(self) -> float:
        return -(-len(self.tiles) // self.columns) * self.row


@dataclass(frozen=True)
class Block:
    """A head, which says what the tiles are, over strips of them."""

    head: str
    strips: list[Strip]
    width: float = BLOCK

    @property
    def height(self) -> float:
        return _HEAD + sum(strip.height + strip.above for strip in self.strips)


@dataclass(frozen=True)
class Panel:
    """A title over rows of blocks; without rows, an empty place in a grid."""

    title: str
    rows: list[list[Block]]

    @property
    def width(self) -> float:
        widths = (sum(block.width + _BLOCK_GAP for block in row) - _BLOCK_GAP for row in self.rows)
        return max(widths, default=0.0)

    @property
    def height(self) -> float:
        blocks = sum(max(block.height for block in row) for row in self.rows)
        return _TITLE + blocks + _BLOCK_GAP * (len(self.rows) - 1)


def joint_panel(title: str, samples: SampleSet) -> Panel:
    """Joint draws, one block per modality: the same place in every block is the same draw.

    Images stand side by side, texts below them in full width.
    """
    images, texts = [], []
    for name, tiles in samples.joint.items():
        shown = tiles[: JOINT_COLUMNS**2]
        if isinstance(shown, list):
            wide = _across(samples) * (BLOCK + _BLOCK_GAP) - _BLOCK_GAP
            texts.append([Block(name, [Strip(shown, JOINT_COLUMNS, _TEXT)], wide)])
        else:
            images.append(Block(name, [Strip(shown, JOINT_COLUMNS, BLOCK / JOINT_COLUMNS)]))
    return Panel(title, ([images] if images else []) + texts)


def cross_panel(title: str, samples: SampleSet) -> Panel:
    """Every direction: pairs of lines, conditions above, outputs below.

    From images to images first, then to texts, then from texts.
    """
    wide, pairs, rows = _across(samples), _pairs(samples.cross), []
    for kinds in product((False, True), repeat=2):
        here = [
            cross
            for cross in samples.cross
            if (isinstance(cross.conditions, list), isinstance(cross.outputs, list)) == kinds
        ]
        blocks = [_cross_block(cross, pairs) for cross in here]
        rows += [blocks[start : start + wide] for start in range(0, len(blocks), wide)]
    return Panel(title, rows)


def draw_panels(grid: Sequence[Sequence[Panel]], caption: str) -> bytes:
    """A PNG of panels over a caption.

    Args:
        grid: rows of equal length, in which at least one panel is not empty; rows and columns of empty panels
            are left out.
        caption: in one piece; it is wrapped here.
    """
    grid = [row for row in grid if any(panel.rows for panel in row)]
    columns = [column for column in zip(*grid, strict=True) if any(panel.rows for panel in column)]
    widths = [max(panel.width for panel in column) for column in columns]
    heights = [max(panel.height for panel in row) for row in grid]
    width = sum(widths) + _PANEL_GAP * (len(widths) - 1) + 2 * _MARGIN
    lines = wrap(caption, (width - 2 * _MARGIN) * _UNIT, _SMALL)
    height = sum(heights) + _ROW_GAP * len(heights) + _LINE * len(lines) + 2 * _MARGIN
    with style():
        figure = Figure(figsize=(width * _UNIT, height * _UNIT))
        axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
        axes.set_axis_off()
        y = _MARGIN
        for row, tall in zip(zip(*columns, strict=True), heights, strict=True):
            x = _MARGIN
            for panel, wide in zip(row, widths, strict=True):
                if panel.rows:
                    _draw_panel(axes, panel, x, y)
                x += wide + _PANEL_GAP
            y += tall + _ROW_GAP
        for line in lines:
            axes.text(_MARGIN, y, line, fontsize=_SMALL, color="0.35", va="top", parse_math=False)
            y += _LINE
        return to_png(figure)


def _draw_panel(axes: Axes, panel: Panel, x: float, y: float) -> None:
    """A title over rows of blocks, from (x, y) to the right and downwards."""
    title = shorten(panel.title, panel.width * _UNIT, _LARGE)
    axes.text(x, y, title, fontsize=_LARGE, fontweight="bold", va="top", parse_math=False)
    y += _TITLE
    for row in panel.rows:
        left = x
        for block in row:
            _draw_block(axes, block, left, y)
            left += block.width + _BLOCK_GAP
        y += max(block.height for block in row) + _BLOCK_GAP


def _draw_block(axes: Axes, block: Block, x: float, y: float) -> None:
    """A head over strips of tiles, from (x, y) to the right and downwards."""
    head, middle = shorten(block.head, block.width * _UNIT, _SMALL), x + block.width / 2
    look: dict[str, Any] = {"fontsize": _SMALL, "color": "0.25", "ha": "center", "va": "bottom"}
    axes.text(middle, y + _HEAD - 0.2, head, parse_math=False, **look)
    y += _HEAD
    for strip in block.strips:
        y += strip.above
        cell = block.width / strip.columns
        if isinstance(strip.tiles, list):
            _draw_texts(axes, strip.tiles, strip, cell, x, y)
        else:
            place = (x, x + block.width, y + strip.height, y)
            picture = _sheet(strip.tiles, strip.columns, cell / strip.row)
            axes.imshow(picture, extent=place, interpolation="lanczos", aspect="auto")
        y += strip.height


def _draw_texts(axes: Axes, texts: list[str], strip: Strip, cell: float, x: float, y: float) -> None:
    """Texts on grey tiles that are `cell` units wide.

    Long ones are set smaller, and cut where that would be too small to read.
    """
    points = cell * _UNIT * 72  # in an inch
    size = max(_READABLE, min(_FINE, 0.88 * points / (_TYPE * len(texts[0]))))
    letter = _TYPE * size / points * cell
    room = int(cell / letter)
    blank = (cell - min(len(texts[0]), room) * letter) / 2
    look: dict[str, Any] = {"fontsize": size, "family": "DejaVu Sans Mono", "va": "baseline"}
    for i, text in enumerate(texts):
        left, top = x + i % strip.columns * cell, y + i // strip.columns * strip.row
        corner, wide, tall = (left + 0.08, top + 0.05), cell - 0.16, strip.row - 0.1
        axes.add_patch(Rectangle(corner, wide, tall, facecolor="0.92", edgecolor="none"))
        cut = text if len(text) <= room else f"{text[: room - 1]}…"
        begin = left + blank + (len(cut) - len(cut.lstrip())) * letter
        axes.text(begin, top + 0.65 * strip.row, cut.strip(), parse_math=False, **look)


def _across(samples: SampleSet) -> int:
    """Blocks side by side in a panel: as many as there are modalities of images, and two at least."""
    shown = dict(samples.joint)
    for cross in samples.cross:
        shown |= {cross.source: cross.conditions, cross.target: cross.outputs}
    return max(2, sum(not isinstance(tiles, list) for tiles in shown.values()))


def _columns(cross: CrossSamples) -> int:
    """Tiles in a row of a direction."""
    texts = isinstance(cross.conditions, list) or isinstance(cross.outputs, list)
    return _TEXT_COLUMNS if texts else CROSS_COLUMNS


def _pairs(directions: Sequence[CrossSamples]) -> int:
    """Rows of conditions in every block: one at least, and no more than a modality of images may show."""
    shown: dict[str, int] = {}
    for cross in directions:
        if not isinstance(cross.conditions, list):
            shown[cross.source] = shown.get(cross.source, 0) + _columns(cross)
    return max(1, min([_PAIRS, *(_SHOWN // columns for columns in shown.values())]))


def _cross_block(cross: CrossSamples, pairs: int) -> Block:
    """Rows of conditions over their outputs, taken evenly from all of them: they may be sorted by class."""
    parts, columns = (cross.conditions, cross.outputs), _columns(cross)
    image = _BESIDE_TEXT if columns == _TEXT_COLUMNS else 1.0
    heights = [_TEXT if isinstance(part, list) else image for part in parts]
    count, strips = len(cross.conditions), []
    chosen = np.linspace(0, count - 1, min(count, pairs * columns)).round().astype(int)
    for start in range(0, len(chosen), columns):
        for part, height, above in zip(parts, heights, (_PAIR_GAP if start else 0.0, 0.0), strict=True):
            strips.append(Strip(_pick(part, chosen[start : start + columns]), columns, height, above))
    return Block(f"{cross.source} → {cross.target}", strips)


def _pick(tiles: Tiles, chosen: Sequence[int]) -> Tiles:
    return [tiles[i] for i in chosen] if isinstance(tiles, list) else tiles[chosen]


def _sheet(images: Images, columns: int, ratio: float) -> Images:
    """A sheet in RGB on white, with a hair's breadth between tiles.

    Where a tile is to be `ratio` times as wide as high, it has white on both sides.
    """
    beside = round(images.shape[-1] * (ratio - 1) / 2)
    padded = np.pad(images, ((0, 0), (0, 0), (0, 0), (beside, beside)), constant_values=255)
    sheet = tile(padded, columns, gap=2, fill=255)
    return np.broadcast_to(sheet, (*sheet.shape[:2], 3))
