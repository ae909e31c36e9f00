"""Items of one modality as files that people have: pictures, sounds, lines of text, arrays.

What a model reads and gives are floats in [0, 1] of shape (n, *shape); vectors and Poisson counts are in the
units of the data in a file. A picture has the size of the modality to the pixel: how to cut and scale is the
user's choice, and changes what a model sees.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from metrics.images import eight_bits
from mmbench.storage.archives import read_npz
from mmbench.storage.files import exists, write_atomically
from mmbench.storage.tiles import Images, Tiles, as_tiles, tile
from mmbench.trained.recordings import is_spoken, read_recording, write_recordings
from models.base import Modality
from models.errors import InputError, suggest

__all__ = ["check_output", "read_archive", "read_items", "write_arrays", "write_items"]

PICTURES = (".png", ".webp", ".bmp", ".jpg", ".jpeg", ".gif", ".tif", ".tiff")
SOUND = ".wav"
Rows = TypeVar("Rows", Tensor, Images)
_COLOURS = {1: "L", 3: "RGB"}  # Pillow's modes by the number of channels


def read_items(path: Path, modality: Modality) -> Tensor:
    """(n, *shape) floats in [0, 1] from a file, or from all files of a folder in the order of their names.

    Args:
        path: a picture; a .wav of a spoken modality; a text file with an item per line; an .npz with an array
            that is called as the modality is, or with one array; or a folder of pictures or of .wav files.

    Raises:
        InputError: for anything else, and for items of another size.
    """
    if not exists(path):
        raise InputError(f"There is no file {path} to read {modality.name} from.")
    if path.suffix == ".npz":
        arrays = _arrays(path)
        name = modality.name if len(arrays) != 1 else next(iter(arrays))
        if name not in arrays:
            raise InputError(f"{path} has no array {name!r}: {suggest(name, arrays)}")
        return _as_items(arrays[name], modality, path)
    if modality.likelihood == "categorical":
        return _read_texts(path, modality)
    if not _is_picture(modality):
        raise InputError(f"{modality.name} is read from an .npz, not from {path}: its items are no pictures.")
    files = _files(path, modality) if path.is_dir() else [path]
    return torch.stack([_read_file(each, modality) for each in files])


def _files(folder: Path, modality: Modality) -> list[Path]:
    """The pictures in a folder by name; of a spoken modality the .wav files, where there are some."""
    found = sorted(folder.iterdir())
    sounds = [each for each in found if is_spoken(modality) and each.suffix.lower() == SOUND]
    files = sounds or [each for each in found if each.suffix.lower() in PICTURES]
    if not files:
        endings = (*([SOUND] if is_spoken(modality) else []), *PICTURES)
        raise InputError(f"The folder {folder} has no items of {modality.name} ({', '.join(endings)}).")
    return files


def _read_file(path: Path, modality: Modality) -> Tensor:
    """(C, H, W) floats of one picture, or of the spectrogram of one sound."""
    if is_spoken(modality) and path.suffix.lower() == SOUND:
        return read_recording(path)
    return _read_picture(path, modality)


def read_archive(path: Path, modalities: Mapping[str, Modality]) -> dict[str, Tensor]:
    """Modality name -> (n, *shape) floats, from the arrays of an .npz that are called as modalities are.

    Raises:
        InputError: for an archive without such an array, or with arrays of different lengths.
    """
    arrays = _arrays(path)
    found = {
        name: _as_items(arrays[name], modality, path)
        for name, modality in modalities.items()
        if name in arrays
    }
    if not found:
        raise InputError(
            f"{path} has the arrays {', '.join(arrays) or 'none'}: expected some of {', '.join(modalities)}."
        )
    return found


def _arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        return read_npz(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as an .npz ({error}): write it with numpy.savez.") from None


def _as_items(array: np.ndarray, modality: Modality, path: Path) -> Tensor:
    """An array as a model reads it: bytes divided by 255, floats as they are, vectors and counts scaled.

    Values of a vector beyond those that 0 and 1 stand for are taken as these.
    """
    what = f"The array of {modality.name} in {path}"
    if array.shape[1:] == modality.shape[1:] and modality.shape[0] == 1:
        array = array[:, None]  # grey images, sequences of one position, and vectors of one value
    if array.shape[1:] != modality.shape or not len(array):
        raise InputError(f"{what} has the shape {array.shape}: expected (n, {_sides(modality)}).")
    if array.dtype.kind not in "biuf":
        raise InputError(f"{what} is of {array.dtype}: expected numbers.")
    if not np.isfinite(array).all():
        raise InputError(f"{what} holds NaN or infinite values: leave their items out.")
    if modality.kind == "vector" and modality.low:
        low, high = (np.array(ends) for ends in (modality.low, modality.high))
        return torch.from_numpy(((array - low) / (high - low)).clip(0, 1)).float()
    if modality.likelihood == "poisson":
        array = array / np.float64(modality.words)
    if modality.kind == "text" and np.isin(array, (0, 1)).all():
        array = array.astype(np.float32)
    if array.dtype == np.uint8:
        return torch.from_numpy(array) / 255
    if not np.issubdtype(array.dtype, np.floating):
        raise InputError(f"{what} is of {array.dtype}: expected uint8, or floats from 0 to 1.")
    if not (array.min() >= 0 and array.max() <= 1):  # NaN is neither
        raise InputError(f"{what} goes from {array.min():g} to {array.max():g}: expected 0 to 1.")
    return torch.from_numpy(array).float()


def _as_values(items: Tensor, modality: Modality) -> Tensor:
    """Items (n, *shape) in the units of the data: vectors as they were, rates of counts; others in [0, 1]."""
    if modality.kind == "vector" and modality.low:
        low, high = (items.new_tensor(ends) for ends in (modality.low, modality.high))
        return low + (high - low) * items
    return items * modality.words if modality.likelihood == "poisson" else items


def _sides(modality: Modality) -> str:
    return ", ".join(map(str, modality.shape))


def _is_picture(modality: Modality) -> bool:
    """Whether its items are images that a picture file holds."""
    return modality.likelihood != "categorical" and len(modality.shape) == 3 and modality.shape[0] in _COLOURS


def _read_picture(path: Path, modality: Modality) -> Tensor:
    """(C, H, W) floats of a picture of this size; its colours become grey where the modality is."""
    channels, height, width = modality.shape
    try:
        with Image.open(path) as picture:
            size = picture.size
            pixels = (
                np.array(picture.convert(_COLOURS[channels]), np.uint8) if size == (width, height) else None
            )
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} cannot be read as a picture ({error}).") from None
    if pixels is None:
        raise InputError(
            f"The picture {path} has {size[0]} x {size[1]} pixels, {modality.name} has {width} x {height}: "
            "scale it first."
        )
    return torch.from_numpy(pixels.reshape(height, width, channels)).permute(2, 0, 1) / 255


def _read_texts(path: Path, modality: Modality) -> Tensor:
    """(n, positions, symbols), one-hot, of the lines of a file; a short line ends in blanks."""
    positions, symbols = modality.shape[0], modality.symbols
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} cannot be read as a text ({error}): expected a line per item, in UTF-8."
        ) from None
    places = torch.zeros(len(lines), positions, dtype=torch.long)
    for number, line in enumerate(lines):
        padded = line.ljust(positions) if " " in symbols else line
        strange = next((letter for letter in padded if letter not in symbols), None)
        if strange is not None or len(padded) != positions:
            raise InputError(
                f"Line {number + 1} of {path} is {line!r}: expected {positions} symbols of {symbols!r}."
            )
        places[number] = torch.tensor([symbols.index(letter) for letter in padded])
    if not lines:
        raise InputError(f"{path} is empty: expected a line per item.")
    return torch.nn.functional.one_hot(places, len(symbols)).float()


def check_output(path: Path, modalities: Sequence[Modality]) -> None:
    """InputError unless `write_items` can write these modalities to a file of this name.

    An .npz takes everything, a .png images of one modality, a .wav the sounds of one, a .txt texts of one,
    and a name without an ending is a folder of single files.
    """
    suffix = path.suffix.lower()
    texts = [modality.likelihood == "categorical" for modality in modalities]
    pictures = all(map(_is_picture, modalities))
    fits = {
        ".npz": True,
        ".png": len(modalities) == 1 and pictures,
        SOUND: len(modalities) == 1 and all(map(is_spoken, modalities)),
        ".txt": len(modalities) == 1 and all(texts),
        "": all(text or _is_picture(m) for text, m in zip(texts, modalities, strict=True)),
    }
    if not fits.get(suffix, False):
        names = ", ".join(modality.name for modality in modalities)
        able = " or ".join(each or "a folder" for each, can in fits.items() if can)
        raise InputError(f"{path} cannot hold {names}: expected {able}.")
    if suffix == "" and path.exists() and not path.is_dir():
        raise InputError(f"{path} is a file: expected a folder, or a name that ends in .npz.")


def write_items(path: Path, items: Mapping[str, Tensor], modalities: Mapping[str, Modality]) -> None:
    """Write (n, *shape) floats in [0, 1] by modality to a file that `check_output` has allowed.

    A .png has all items as one sheet without gaps, as wide as it is high, and a .wav one after the other. A
    folder has a file per item (of what is spoken, a .wav), or one of lines for texts, called as the modality.
    """
    suffix = path.suffix.lower()
    if suffix == ".npz":
        write_arrays(path, {name: _as_values(value, modalities[name]) for name, value in items.items()})
        return
    for name, value in items.items():
        shown = modalities[name]
        if suffix == SOUND:
            write_recordings(path, value)
        elif suffix == "" and is_spoken(shown):
            for number, item in _numbered(name, value):
                write_recordings(path / f"{number}{SOUND}", item)
        else:
            _write_tiles(path, name, as_tiles(eight_bits(value).cpu().numpy(), shown.symbols, shown.polyline))


def _write_tiles(path: Path, name: str, tiles: Tiles) -> None:
    """Write pictures or texts of a modality to a file, or into a folder where `path` has no ending."""
    if isinstance(tiles, list):
        lines = "".join(f"{text}\n" for text in tiles).encode()
        write_atomically(path / f"{name}.txt" if path.suffix == "" else path, lines)
    elif path.suffix == "":
        for number, picture in _numbered(name, tiles):
            _save_sheet(path / f"{number}.png", tile(picture, 1))
    else:
        _save_sheet(path, tile(tiles, math.isqrt(len(tiles) - 1) + 1))


def _numbered(name: str, items: Rows) -> Iterator[tuple[str, Rows]]:
    """(n, ..) as n pieces of one item, each with the name and its number, of as many digits as the last."""
    digits = len(str(len(items) - 1))
    for number in range(len(items)):
        yield f"{name}-{number:0{digits}}", items[number : number + 1]


def write_arrays(path: Path, arrays: Mapping[str, Tensor]) -> None:
    """Write tensors by name to an .npz.

    Raises:
        InputError: for another ending.
    """
    if path.suffix.lower() != ".npz":
        raise InputError(f"{path} cannot hold arrays: expected a name that ends in .npz.")
    found: dict[str, Any] = {name: value.cpu().numpy() for name, value in arrays.items()}
    write_atomically(path, lambda file: np.savez_compressed(file, **found))


def _save_sheet(path: Path, sheet: Images) -> None:
    """Write (H, W, 1 or 3) bytes as a picture."""
    picture = Image.fromarray(sheet[..., 0] if sheet.shape[-1] == 1 else sheet)
    write_atomically(path, lambda file: picture.save(file, "PNG"))
