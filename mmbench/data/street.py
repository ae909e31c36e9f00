"""Rendered street digits: something like SVHN that needs no photographs.

Each image shows one digit in a font that matplotlib ships, cropped from a house number: neighbours of the
same font and colour are cut off at the sides. Everything random is drawn from one seed on the CPU, and
computed in double precision, so that the rounded pixels do not depend on how a processor orders its sums. B
images at a time, glyphs of TILE x TILE pixels, canvases of SIDE x SIDE.
"""

import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["render_digits"]

SIDE = 32
TILE, GLYPH = 48, 32  # pixels of a glyph's tile, and of the digit's height in it
CHUNK = 500  # images rendered at once: bounds the memory
FONTS = (
    *("DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "DejaVuSans-Oblique.ttf", "DejaVuSans-BoldOblique.ttf"),
    *("DejaVuSansMono.ttf", "DejaVuSansMono-Bold.ttf"),
    *("DejaVuSerif.ttf", "DejaVuSerif-Bold.ttf", "DejaVuSerif-Italic.ttf", "DejaVuSerif-BoldItalic.ttf"),
    *("STIXGeneral.ttf", "STIXGeneralBol.ttf", "STIXGeneralItalic.ttf", "STIXGeneralBolIta.ttf"),
    *("cmb10.ttf", "cmr10.ttf", "cmss10.ttf", "cmtt10.ttf"),
)
LUMINANCE = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64)  # of red, green and blue (ITU-R BT.601)


def render_digits(labels: Tensor, seed: int) -> Tensor:
    """Street digits (N, 3, 32, 32) uint8 that show `labels` (N,), a pure function of both arguments."""
    generator = torch.Generator().manual_seed(seed)
    return torch.cat([_render(chunk, _Draw(len(chunk), generator)) for chunk in labels.split(CHUNK)])


@dataclass(frozen=True)
class _Draw:
    """Draws for a chunk of n images."""

    n: int
    generator: torch.Generator

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(self.n, *shape, generator=self.generator, dtype=torch.float64)

    def normal(self, scale: float, *shape: int) -> Tensor:
        return scale * torch.randn(self.n, *shape, generator=self.generator, dtype=torch.float64)

    def integers(self, end: int) -> Tensor:
        return torch.randint(end, (self.n,), generator=self.generator)


def _render(labels: Tensor, draw: _Draw) -> Tensor:
    """(B, 3, SIDE, SIDE) uint8 images that show `labels` (B,)."""
    # colours mix linearly: blurred ink is a blurred image
    ink = _blur(_draw_number(labels, draw), draw.uniform(0.0, 1.0))[:, None]
    paper, paint = _draw_colours(draw)
    image = (paper + (paint - paper) * ink) * _draw_light(draw) + draw.uniform(-0.04, 0.04, 3, SIDE, SIDE)
    return image.clamp_(0, 1).mul_(255).round_().to(torch.uint8)


def _draw_number(labels: Tensor, draw: _Draw) -> Tensor:
    """(B, SIDE, SIDE) ink in [0, 1]: a digit in the middle, most with neighbours."""
    glyphs, widths = _glyph_atlas()
    font = draw.integers(len(FONTS))
    to_glyph = _draw_geometry(draw)
    gap = draw.uniform(1.0, 6.0)
    ink = _sample(glyphs[font, labels], to_glyph)
    for side in (-1, 1):
        neighbour = draw.integers(10)
        distance = side * ((widths[font, labels] + widths[font, neighbour]) / 2 + gap)
        shifted = to_glyph.clone()
        shifted[:, 0, 2] -= distance * 2 / TILE
        present = (draw.uniform(0, 1) < 0.65)[:, None, None]
        ink = torch.maximum(ink, _sample(glyphs[font, neighbour], shifted) * present)
    return ink


def _draw_geometry(draw: _Draw) -> Tensor:
    """(B, 2, 3) from canvas to glyph coordinates, in [-1, 1]: shift, rotation, slant and scale undone."""
    height, aspect = draw.uniform(17.0, 27.0), draw.uniform(0.85, 1.15)
    angle, slant = draw.normal(math.radians(4)), draw.normal(0.12)
    scale = SIDE / TILE * GLYPH / height  # of glyph coordinates per canvas coordinate
    cos, sin = torch.cos(angle), torch.sin(angle)
    entries = [(cos + slant * sin) / aspect, (sin - slant * cos) / aspect, -sin, cos]
    linear = torch.stack(entries, dim=1).view(-1, 2, 2) * scale[:, None, None]
    shift = draw.uniform(-2.0, 2.0, 2, 1) * 2 / SIDE
    return torch.cat([linear, -linear @ shift], dim=2)


def _sample(glyphs: Tensor, to_glyph: Tensor) -> Tensor:
    """(B, SIDE, SIDE): the tiles (B, TILE, TILE) seen through the affine maps (B, 2, 3)."""
    grid = functional.affine_grid(to_glyph, [len(glyphs), 1, SIDE, SIDE], align_corners=False)
    return functional.grid_sample(glyphs[:, None], grid, align_corners=False)[:, 0]


def _draw_colours(draw: _Draw) -> tuple[Tensor, Tensor]:
    """(B, 3, 1, 1) background and foreground, muted, 0.3 or more apart in luminance, either the brighter."""
    dark = draw.uniform(0.05, 0.45)
    bright = dark + draw.uniform(0.3, 0.5)
    swap = draw.uniform(0, 1) < 0.5
    luminances = torch.where(swap, bright, dark), torch.where(swap, dark, bright)
    tints = draw.normal(0.06, 3), draw.normal(0.06, 3)
    paper, paint = (
        light[:, None] + tint - (tint @ LUMINANCE)[:, None]
        for light, tint in zip(luminances, tints, strict=True)
    )
    return paper[..., None, None], paint[..., None, None]


def _draw_light(draw: _Draw) -> Tensor:
    """(B, 1, SIDE, SIDE) factors: a linear gradient in a random direction."""
    axis = torch.linspace(-1, 1, SIDE, dtype=torch.float64)
    across, down = draw.uniform(-0.2, 0.2, 1, 1, 1), draw.uniform(-0.2, 0.2, 1, 1, 1)
    return 1 + across * axis + down * axis[:, None]


def _blur(ink: Tensor, share: Tensor) -> Tensor:
    """`ink` (B, SIDE, SIDE) mixed with its 3 x 3 mean, by `share` (B,) in [0, 1]."""
    mean = functional.avg_pool2d(functional.pad(ink, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    return torch.lerp(ink, mean, share[:, None, None])


@cache
def _glyph_atlas() -> tuple[Tensor, Tensor]:
    """Ink (fonts, 10, TILE, TILE) in [0, 1] of centred digits GLYPH pixels high; (fonts, 10) their widths."""
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    tiles = [_draw_glyph(str(folder / font), str(digit)) for font in FONTS for digit in range(10)]
    glyphs = torch.from_numpy(np.stack(tiles)).view(len(FONTS), 10, TILE, TILE).double() / 255
    return glyphs, (glyphs.amax(dim=2) > 0).sum(dim=2).double()


def _draw_glyph(font: str, digit: str) -> np.ndarray:
    """(TILE, TILE) uint8, in basic layout: shaping libraries differ between installations."""
    from PIL import Image, ImageDraw, ImageFont

    _, top, _, bottom = ImageFont.truetype(font, 100, layout_engine=ImageFont.Layout.BASIC).getbbox(digit)
    fitted = ImageFont.truetype(font, 100 * GLYPH / (bottom - top), layout_engine=ImageFont.Layout.BASIC)
    left, top, right, bottom = fitted.getbbox(digit)
    tile = Image.new("L", (TILE, TILE))
    ImageDraw.Draw(tile).text(
        ((TILE - left - right) / 2, (TILE - top - bottom) / 2), digit, fill=255, font=fitted
    )
    return np.asarray(tile)
