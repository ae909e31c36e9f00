"""Samples as they are shown: images, or texts; what vectors, counts and other numbers become."""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["CHANNELS", "Images", "Tiles", "as_tiles", "tile"]

CHANNELS = (1, 3)
HEIGHT, MOST_BARS = 32, 128  # pixels of the picture of a vector, and dimensions that it shows as bars
MARGIN = 3  # pixels around a line
LISTED = 5  # symbols of an item of counts that are shown

Images: TypeAlias = npt.NDArray[np.uint8]
Tiles: TypeAlias = Images | list[str]
"""Samples of one modality: images (n, C, H, W) uint8 with C 1 or 3, or n texts of one length."""


def as_tiles(items: npt.NDArray[np.uint8], symbols: str = "", polyline: bool = False) -> Tiles:
    """Images (n, C, H, W) as they are; scores (n, positions, `symbols`) as texts of the likeliest symbols.

    Images of other channels than 1 and 3 become grey, the mean over the channels. Vectors (n, D) become bars
    over the range from 0 to 255, the first MOST_BARS of them, or, with `polyline`, lines through D / 2 points
    (x, y), x to the right and y upwards. Of counts (n, `symbols`) a text holds the
    LISTED most frequent symbols, in falling order, and blanks for those that do not occur.
    """
    if not symbols:
        if items.ndim == 2:
            return _lines(items) if polyline else _bars(items)
        return _shown_channels(items)
    letters = np.array(list(symbols))
    if items.ndim == 2:
        order = np.argsort(-items.astype(int), axis=-1, kind="stable")[:, :LISTED]
        occurs = np.take_along_axis(items, order, -1) > 0
        spelled = np.where(occurs, letters[order], " ")
    else:
        spelled = letters[items.argmax(-1)]  # (n, positions)
    return ["".join(text) for text in spelled]


def _shown_channels(images: Images) -> Images:
    """Images (n, C, H, W) with 1 channel or 3."""
    if images.shape[1] in CHANNELS:
        return images
    return images.mean(1, keepdims=True).round().astype(np.uint8)


def _bars(items: npt.NDArray[np.uint8]) -> Images:
    """Vectors (n, D) as white bars, (n, 1, HEIGHT, pixels), with gaps where there is room."""
    shown = items[:, :MOST_BARS]
    width = max(1, HEIGHT // shown.shape[1])
    heights = np.rint(shown / 255 * (HEIGHT - 1)).astype(int) + 1
    lit = np.arange(HEIGHT)[:, None] >= HEIGHT - heights[:, None, :]  # n, HEIGHT, D
    pixels = (lit * np.uint8(255)).repeat(width, axis=2)
    if width > 2:
        pixels[:, :, width - 1 :: width] = 0
    return pixels[:, None]


def _lines(items: npt.NDArray[np.uint8]) -> Images:
    """Vectors (n, D) as white lines through D / 2 points, (n, 1, HEIGHT, HEIGHT), two pixels wide."""
    points = items.reshape(len(items), -1, 2) / 255 * (HEIGHT - 1 - 2 * MARGIN) + MARGIN
    points[:, :, 1] = HEIGHT - 1 - points[:, :, 1]
    pixels = np.stack(np.meshgrid(np.arange(HEIGHT), np.arange(HEIGHT)), -1)  # of x and y
    nearest = np.full((len(items), HEIGHT, HEIGHT), np.inf)
    for start, end in zip(points[:, :-1].swapaxes(0, 1), points[:, 1:].swapaxes(0, 1), strict=True):
        along, away = (end - start)[:, None, None], pixels - start[:, None, None]  # (n, 1 or H, 1 or W, 2)
        length = np.maximum((along**2).sum(-1), 1e-9)
        share = ((away * along).sum(-1) / length).clip(0, 1)[..., None]  # of the way to the end
        nearest = np.minimum(nearest, np.hypot(*np.moveaxis(away - share * along, -1, 0)))
    return np.rint(255 * (1.5 - nearest).clip(0, 1)).astype(np.uint8)[:, None]


def tile(images: Images, columns: int, gap: int = 0, fill: int = 0) -> Images:
    """One (rows*(H+gap), columns*(W+gap), C) sheet of (n, C, H, W) images, row by row.

    `gap` pixels of `fill` lie between neighbours, half as many at the edges. A last row that is not full ends
    in `fill`.
    """
    n, channels, height, width = images.shape
    rows = -(-n // columns)
    sheet = np.full((rows * columns, channels, height + gap, width + gap), fill, np.uint8)
    sheet[:n, :, gap // 2 : gap // 2 + height, gap // 2 : gap // 2 + width] = images
    sheet = sheet.reshape(rows, columns, *sheet.shape[1:]).transpose(0, 3, 1, 4, 2)
    return sheet.reshape(rows * (height + gap), columns * (width + gap), channels)
