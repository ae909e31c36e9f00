"""What the rows of an array are, found from its type and shape, and the way from them to items.

    (N, H, W), (N, C, H, W), (N, H, W, C)   images: bytes, true or false, or floats from 0 to 1
    (N, positions, symbols), (N, symbols)   one-hot sequences: a single 1 at every position, 0 elsewhere
    (N, D), (N,) whole numbers from 0 on    counts
    (N, D), (N,) floats                     vectors

Of the two ends of an image the smaller one is its channels, the first of two equal ones. Whole numbers that
are to be a vector are written as floats.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mmbench.data.own.arrays import Part
from mmbench.storage.bounds import LARGEST
from models.base import Modality

__all__ = ["Form", "check_array", "find_form"]

MOST_COUNTED = 2**24  # that float32 tells from its neighbours
MOST_VALUES = 20_000  # of a vector, whose ends every run keeps


@dataclass(frozen=True)
class Form:
    """What the rows of a modality are.

    Attributes:
        kind: as of Modality.
        shape: of an item.
        channels_last: whether rows of images are (H, W, C).
        words: the largest count.
        low, high: the values of each dimension of a vector that 0 and 1 stand for.
        spread: the standard deviation of a vector in [0, 1].
    """

    kind: str
    shape: tuple[int, ...]
    channels_last: bool = False
    words: int = 0
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    spread: float = 1.0

    def modality(self, name: str, weight: float, networks: str) -> Modality:
        """The modality of this form; ValueError for a name that is not usable."""
        family = {"text": "categorical", "counts": "poisson", "vector": "gaussian"}.get(self.kind)
        symbols = _alphabet(self.shape[-1]) if self.kind == "text" else ""
        return Modality(
            *(
                name,
                self.shape,
                family,
                weight,
                symbols,
                self.words,
                self.spread,
                self.low,
                self.high,
                networks,
            )
        )

    @property
    def size(self) -> int:
        """Values of an item, of sequences positions, as weights of modalities count them."""
        return self.shape[0] if self.kind == "text" else int(np.prod(self.shape))

    def items(self, array: np.ndarray) -> Tensor:
        """(N, *shape) as `mmbench.data.base` says, of the rows (N, ...) that have the modality."""
        if self.kind == "vector":
            low, high = (np.array(ends) for ends in (self.low, self.high))
            scaled = (array.reshape(len(array), -1).astype(np.float64) - low) / (high - low)
            return torch.from_numpy(scaled.clip(0, 1).astype(np.float32))
        if self.kind == "counts":
            return torch.from_numpy(array.reshape(len(array), -1) / np.float64(self.words)).float()
        if self.kind == "text":
            return torch.from_numpy((array != 0).reshape(-1, *self.shape).astype(np.uint8) * np.uint8(255))
        bytes_ = array if array.dtype == np.uint8 else _as_bytes(array)
        if self.channels_last:
            bytes_ = np.moveaxis(bytes_, -1, 1)
        return torch.from_numpy(np.ascontiguousarray(bytes_.reshape(-1, *self.shape)))

    def __str__(self) -> str:
        sides = " x ".join(map(str, self.shape))
        if self.kind == "image":
            order = "last" if self.channels_last else "first"
            return f"images of {sides} (channels, height, width; channels {order} in the file)"
        if self.kind == "text":
            return f"one-hot sequences of {self.shape[0]} positions and {self.shape[1]} symbols"
        if self.kind == "counts":
            return f"{sides} counts up to {self.words:,} (floats would be read as a vector)"
        return f"vectors of {sides} values"


def check_array(name: str, part: Part) -> list[str]:
    """Problems of the values of one modality in one part, whatever they are."""
    array, there, called = part.arrays[name], part.there[name], f"`{part.called(name)}`"
    shown = f"{array.dtype} {array.shape}"
    if array.dtype.kind not in "biuf":
        return [
            f"{called} is {shown}: expected numbers; texts as one-hot sequences (N, positions, symbols), and "
            "complex numbers as their real and imaginary parts."
        ]
    if not 1 <= array.ndim <= 4 or 0 in array.shape[1:]:
        return [f"{called} is {shown}: expected (N, D), (N, H, W), (N, C, H, W) or (N, H, W, C)."]
    rows = array.reshape(len(array), -1)
    if array.dtype.kind == "f" and (bad := ~np.isfinite(rows).all(1) & there).any():
        first, lines = int(bad.argmax()), int(bad.sum())
        more = f" ({lines:,} such rows)" if lines > 1 else ""
        return [
            f"{called} is NaN or infinite in row {first}{more}: give it numbers, or name rows that lack "
            f"{name} in `{name}_missing{'_' * bool(part.name)}{part.name}`."
        ]
    present = rows[there]
    if len(present) > 1 and (present == present[0]).all():
        return [f"{called} is constant, every row that has it is the same: leave {name} out."]
    return []


def find_form(name: str, parts: list[Part]) -> tuple[Form | None, list[str]]:
    """What the rows of a modality are, or why that cannot be told; its arrays have passed `check_array`."""
    rows = [part.arrays[name][part.there[name]] for part in parts]
    if len({(each.dtype.kind, each.shape[1:]) for each in rows}) > 1:
        both = " and ".join(
            f"`{part.called(name)}` {part.arrays[name].dtype} {part.arrays[name].shape}" for part in parts
        )
        return None, [f"{both} differ: expected items of one type and shape."]
    shape, called = rows[0].shape[1:], " and ".join(f"`{part.called(name)}`" for part in parts)
    if len(shape) in (1, 2) and shape[-1] > 1 and all(map(_is_one_hot, rows)):
        return Form("text", (1, *shape)[-2:]), []
    if len(shape) < 2:
        return _find_numbers(called, rows)
    for part, each in zip(parts, rows, strict=True):
        if problem := _check_pixels(part, name, each):
            return None, [problem]
    if len(shape) == 2:
        return Form("image", (1, *shape)), []
    if shape[2] < shape[0]:
        return Form("image", (shape[2], *shape[:2]), channels_last=True), []
    return Form("image", shape), []


def _find_numbers(called: str, rows: list[np.ndarray]) -> tuple[Form | None, list[str]]:
    """The form of (N, D) or (N,) numbers. Means and deviations are those of the first part, the train one."""
    flat = [each.reshape(len(each), -1) for each in rows]
    shape = flat[0].shape[1:]
    if flat[0].dtype.kind in "biu" and min(int(each.min()) for each in flat) >= 0:
        most = max(int(each.max()) for each in flat)
        if most > MOST_COUNTED:
            return None, [
                f"{called} counts up to {most:,}, more than {MOST_COUNTED:,}: write the values as floats, to "
                "be read as a vector."
            ]
        return Form("counts", shape, words=most), []
    if shape[0] > MOST_VALUES:
        return None, [
            f"{called} has {shape[0]:,} values per row: expected {MOST_VALUES:,} at most; reduce them."
        ]
    first = flat[0].astype(np.float64)
    mean, std = first.mean(0), first.std(0)
    std = np.where(std > 1e-9 * np.maximum(np.abs(mean), 1e-300), std, 1.0)  # of a constant dimension
    reach = max(float((np.abs(each - mean) / std).max()) for each in flat)
    reach = max(reach, 1.0)
    low, high = mean - reach * std, mean + reach * std
    ends = np.concatenate([low, high])
    if not (np.abs(ends) < LARGEST).all() or not (high > low).all():
        return None, [f"{called} has values too large to be standardised: scale them first."]
    return Form("vector", shape, low=tuple(low.tolist()), high=tuple(high.tolist()), spread=0.5 / reach), []


def _is_one_hot(rows: np.ndarray) -> bool:
    """Whether there is a single 1 at every position, or a single 255 of bytes, and 0 elsewhere."""
    top = rows.max() if len(rows) else 0
    if top != 1 and not (top == 255 and rows.dtype == np.uint8):
        return False
    lit = rows == top
    return bool((lit.sum(-1) == 1).all() and ((rows == 0) | lit).all())


def _check_pixels(part: Part, name: str, rows: np.ndarray) -> str | None:
    """What is wrong with the values of images, None where nothing is."""
    called, where = f"`{part.called(name)}`", part.numbers[part.there[name]]
    flat = rows.reshape(len(rows), -1)
    top = 1 if rows.dtype.kind == "f" else 255
    if rows.dtype.kind in "iuf" and (bad := ((flat < 0) | (flat > top)).any(1)).any():
        row = int(bad.argmax())
        worst = flat[row][(flat[row] < 0) | (flat[row] > top)][0]
        return (
            f"{called} ({rows.dtype}, read as images of {rows.shape[1:]}) holds {worst:g} in row {where[row]}"
            ": expected bytes from 0 to 255 or floats from 0 to 1; scale them, or reshape to (N, D) for a "
            "vector."
        )
    if rows.dtype.kind in "iu" and flat.max() <= 1:
        return (
            f"{called} holds 0 and 1 alone, as whole numbers, and is no one-hot sequence with a single 1 at "
            "every position: expected images as bytes from 0 to 255 or as true and false, and a symbol of "
            "its own for padding in sequences."
        )
    return None


def _as_bytes(array: np.ndarray) -> np.ndarray:
    """Pixels of any type that `_check_pixels` lets pass, as bytes."""
    scaled = (array * 255.0).round() if array.dtype.kind in "bf" else array
    return scaled.astype(np.uint8)


def _alphabet(count: int) -> str:
    """`count` printable symbols: letters and figures first."""
    ranges = (range(97, 123), range(65, 91), range(48, 58), range(0xC0, 0x11000))
    found = (chr(code) for codes in ranges for code in codes if chr(code).isprintable())
    return "".join(symbol for symbol, _ in zip(found, range(count), strict=False))
