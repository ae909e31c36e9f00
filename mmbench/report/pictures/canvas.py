"""What all pictures share: their look, colours that tell series apart, text that fits, and PNG bytes.

Equal runs give equal bytes: no date, no version, nothing of the user's matplotlibrc.
"""

import base64
import io
import re
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from typing import Any, Literal, NamedTuple, TypeAlias

import matplotlib as mpl
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from mmbench.escape import one_line, visible

__all__ = [
    "WIDTH",
    "Look",
    "Picture",
    "data_uri",
    "figure_png",
    "framed",
    "looks",
    "plain_style",
    "shorten",
    "style",
    "to_png",
    "wrap",
]

WIDTH = 4.0  # inches of a small picture: a phone's
_LETTER = 0.6  # width of a bold letter over the font size, on the safe side
_SHADES = ((np.arange(256) + 2) // 5 * 5).astype(np.uint8)  # the nearest of 0, 5, ... 255
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "*")  # 11, where there are 10 colours
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

Colour: TypeAlias = tuple[float, float, float]


class Look(NamedTuple):
    """How a series is drawn.

    Attributes:
        colour: of lines and edges.
        marker: of its points.
        face: what its markers are filled with: the colour, or white.
        line: solid or dashed.
    """

    colour: Colour
    marker: str
    face: Colour | str
    line: Literal["-", "--"]


@dataclass(frozen=True)
class Picture:
    """A picture: its title, its PNG, what it shows in words, and its size in pixels."""

    title: str
    png: bytes
    alt: str
    size: tuple[int, int]

    @property
    def file_name(self) -> str:
        """The title as the name of a file."""
        return f"{re.sub(r'[^a-z0-9]+', '-', self.title.lower()).strip('-')}.png"

    @property
    def source(self) -> str:
        """The picture as a data URI, for a page that needs no other file.

        Drawings, which have a palette, keep every pixel. Pictures in true colours show samples at another
        size than their own, so that they need not.
        """
        with Image.open(io.BytesIO(self.png)) as picture:
            return data_uri(picture, lossless=picture.mode == "P")


def looks(count: int) -> list[Look]:
    """How to draw so many series: in ten colours; the second ten are darker, dashed, their markers hollow.

    Markers go round too, so that no two of 220 series have the same look.
    """
    palette = sns.color_palette("colorblind", 10)
    found = []
    for index, marker in zip(range(count), cycle(_MARKERS), strict=False):
        colour, again = palette[index % 10], index // 10 % 2
        dark = tuple(0.75 * channel for channel in colour)
        found.append(Look(dark, marker, "white", "--") if again else Look(colour, marker, colour, "-"))
    return found


@contextmanager
def style() -> Iterator[None]:
    """The look of every figure, whatever matplotlibrc says."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        yield


@contextmanager
def plain_style() -> Iterator[None]:
    """The look of every figure, where a dollar sign in a name is one and begins no formula."""
    with style(), mpl.rc_context({"text.parse_math": False}):
        yield


def framed(height: float, box: Sequence[float]) -> tuple[Figure, Axes]:
    """A small picture of `height` inches with one frame: left, bottom, width and height as shares of it."""
    figure = Figure(figsize=(WIDTH, height))
    FigureCanvasAgg(figure)
    left, bottom, width, tall = box
    return figure, figure.add_axes((left, bottom, width, tall))


def to_png(figure: Figure, colours: int = 0) -> bytes:
    """The figure as PNG, in a palette of `colours`.

    Without it in 52 shades per channel, which nobody sees on small images and which take 40 % less space than
    256.
    """
    stream = io.BytesIO()
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    drawn = np.asarray(canvas.buffer_rgba())[..., :3]
    picture = Image.fromarray(drawn).quantize(colours) if colours else Image.fromarray(_SHADES[drawn])
    picture.save(stream, format="PNG", compress_level=7)  # 9 is five times as slow and saves 2 %
    return stream.getvalue()


def figure_png(figure: Figure, title: str, alt: str) -> Picture:
    """The figure as a picture, in a palette: a third of the bytes of true colours."""
    width, height = (round(inches * figure.dpi) for inches in figure.get_size_inches())
    return Picture(title, to_png(figure, colours=128), alt, (width, height))


def data_uri(picture: Image.Image, lossless: bool = True) -> str:
    """`picture` as WebP: a fifth smaller than PNG without loss, and a third of it with."""
    stream = io.BytesIO()
    picture.convert("RGB").save(stream, "WEBP", lossless=lossless, quality=90, method=3)
    return f"data:image/webp;base64,{base64.b64encode(stream.getvalue()).decode()}"


def shorten(text: str, inches: float, points: float) -> str:
    """`text` on one line, cut with an ellipsis where it is wider than `inches` at a font size of `points`."""
    text, letters = one_line(text), int(inches * 72 / (_LETTER * points))
    return text if len(text) <= letters else f"{text[: letters - 1]}…"


def wrap(text: str, inches: float, points: float) -> list[str]:
    """`text` in lines no wider than `inches` at a font size of `points`."""
    return textwrap.wrap(visible(text), int(inches * 72 / (_LETTER * points)))
