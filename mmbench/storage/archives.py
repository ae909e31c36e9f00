"""Archives that may be damaged or anybody's: torch's .pt and numpy's .npz.

torch (`weights_only=True`) and numpy (`allow_pickle=False`) run nothing that a file holds. Two things they
leave open are looked at here: torch reads past wrong checksums, and neither bounds what a small file unpacks
to.
"""

import io
import pickle
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmbench.storage.bounds import MOST, check_file, read_file

__all__ = ["MAX_BYTES", "damage_is_a_value_error", "read_npz", "read_torch", "torch_bytes"]

MAX_BYTES = 4 * 2**30  # of an .npz, unpacked: far above any real one here, far below what a zip bomb holds


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz by name.

    Raises:
        OSError: for a file that cannot be read.
        ValueError: for one that is damaged, holds more than MAX_BYTES, or Python objects.
    """
    check_file(path, MOST["archive"])
    with damage_is_a_value_error(), zipfile.ZipFile(path) as archive:
        _check_size(archive, MAX_BYTES)
        # Whole members, which zipfile checks against their CRC-32: numpy may stop before the end of one.
        members = {name: io.BytesIO(archive.read(name)) for name in archive.namelist()}
        return {name.removesuffix(".npy"): _read_member(name, member) for name, member in members.items()}


def _read_member(name: str, member: io.BytesIO) -> np.ndarray:
    """One array; a ValueError names it."""
    try:
        return np.lib.format.read_array(member, allow_pickle=False)
    except ValueError as error:
        raise ValueError(f"`{name.removesuffix('.npy')}`: {error}") from None


def read_torch(path: Path) -> Any:
    """What `torch.save` wrote, on the CPU: tensors and plain containers.

    Raises:
        OSError: for a file that cannot be read.
        ValueError: for one that is damaged or holds other objects.
    """
    size = check_file(path, MOST["archive"])
    with damage_is_a_value_error(), zipfile.ZipFile(path) as archive:  # which looks at its end alone
        _check_size(archive, size)  # torch compresses nothing
    content = read_file(path, MOST["archive"])
    with damage_is_a_value_error():
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if (bad := archive.testzip()) is not None:
                raise ValueError(f"the checksum of {bad} is wrong")
        try:
            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:  # whose message advises to load the file all the same
            raise ValueError("it holds other objects than tensors and plain containers") from error


def torch_bytes(value: object) -> bytes:
    """What `torch.save` would write, in one piece: on a full disk torch's own writer may end the process."""
    content = io.BytesIO()
    torch.save(value, content)
    return content.getvalue()


def _check_size(archive: zipfile.ZipFile, limit: int) -> None:
    """ValueError for members that declare more than `limit` bytes: zipfile unpacks no more."""
    declared = sum(member.file_size for member in archive.infolist())
    if declared > limit:
        raise ValueError(f"it declares {declared:,} bytes, more than {limit:,}")


@contextmanager
def damage_is_a_value_error() -> Iterator[None]:
    """Make a ValueError of whatever readers raise on a damaged file; an OSError stays as it is."""
    try:
        yield
    except (OSError, ValueError):
        raise
    except Exception as error:
        raise ValueError(str(error) or type(error).__name__) from None
