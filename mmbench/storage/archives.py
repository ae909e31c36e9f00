"""Zip archives that may be anybody's, torch's .pt and numpy's .npz: sizes and checksums looked at before anything is read, nothing in them run."""

import io
import math
import pickle
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import torch

__all__ = ["MAX_BYTES", "Header", "check_archive", "read_headers", "read_npz", "read_torch", "torch_bytes"]

MAX_BYTES = (
    4 * 2**30
)  # of all arrays of an .npz together, unpacked: far above any real one here, far below what a zip bomb declares
MAX_HEADER = 2**16  # bytes of the header of an array


class Header(NamedTuple):
    """What an array in an .npz declares."""

    shape: tuple[int, ...]
    dtype: np.dtype

    def __str__(self) -> str:
        return f"({', '.join(map(str, self.shape))}) {self.dtype}"


@contextmanager
def _stumbling() -> Iterator[None]:
    """On archives that are damaged or somebody else's, readers raise whatever they stumble over: a ValueError in its place."""
    try:
        yield
    except (OSError, ValueError):
        raise
    except Exception as error:
        raise ValueError(str(error) or type(error).__name__) from None


@_stumbling()
def check_archive(file: IO[bytes], limit: int) -> None:
    """Every member against the CRC-32 that the archive holds of it.

    Args:
        limit: bytes that the members may declare together.

    Raises:
        ValueError: for anything that is not a whole zip archive of plain or deflated members.
    """
    with zipfile.ZipFile(file) as archive:
        _check_members(archive, limit)
        if (bad := archive.testzip()) is not None:
            raise ValueError(f"the checksum of {bad} is wrong")


def _check_members(archive: zipfile.ZipFile, limit: int) -> None:
    """ValueError for members that declare more than `limit` bytes together, or are neither plain nor deflated."""
    declared = sum(member.file_size for member in archive.infolist())
    if declared > limit:
        raise ValueError(f"it declares {declared:,} bytes, more than {limit:,}")
    if any(
        member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
        for member in archive.infolist()
    ):
        raise ValueError("it is compressed in an unusual way")


@_stumbling()
def read_headers(file: IO[bytes]) -> dict[str, Header]:
    """What the arrays of an .npz declare, read without their data; ValueError where that cannot be."""
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    headers: dict[str, Header] = {}
    with zipfile.ZipFile(file) as archive:
        for member in archive.namelist():
            name = member.removesuffix(".npy")
            if name == member or name in headers:  # numpy may read another one under this name
                raise ValueError(
                    f"its member {member} is {'there twice' if name in headers else 'no .npy file'}"
                )
            with archive.open(member) as packed:
                head = io.BytesIO(packed.read(MAX_HEADER))
            version = np.lib.format.read_magic(head)
            if version not in readers:
                raise ValueError(f"{member} is in .npy format {version}, not 1.0 or 2.0")
            shape, _, dtype = readers[version](head)
            if any(size < 0 for size in shape):
                raise ValueError(f"{member} declares a negative size")
            headers[name] = Header(shape, dtype)
    return headers


@_stumbling()
def read_npz(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz.

    Raises:
        OSError, ValueError: for an archive that is damaged or too large when unpacked, or holds Python objects.
    """
    with path.open("rb") as file, zipfile.ZipFile(file) as archive:
        _check_members(archive, MAX_BYTES)
        headers = read_headers(file)
        declared = sum(math.prod(header.shape) * header.dtype.itemsize for header in headers.values())
        if declared > MAX_BYTES:
            raise ValueError(f"its arrays declare {declared:,} bytes, more than {MAX_BYTES:,}")
        # whole members, which zipfile checks against their CRC-32: numpy may leave the end of one unread, and with it the check
        return {
            name: np.lib.format.read_array(io.BytesIO(archive.read(f"{name}.npy")), allow_pickle=False)
            for name in headers
        }


def torch_bytes(value: object) -> bytes:
    """What `torch.save` would write. It is written in one piece: on a full disk torch's own writer may end the process."""
    content = io.BytesIO()
    torch.save(value, content)
    return content.getvalue()


@_stumbling()
def read_torch(path: Path) -> Any:
    """What `torch.save` wrote, on the CPU: dense tensors and plain containers, no other objects.

    Raises:
        OSError: where the file cannot be read.
        ValueError: for a file that is damaged.
    """
    content = path.read_bytes()
    check_archive(io.BytesIO(content), len(content))  # torch compresses nothing
    if not content.startswith(
        b"PK\x03\x04"
    ):  # torch would take it for a file in its old format, whatever archive comes after
        raise ValueError("something comes before its archive")
    try:
        found = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # its message is a page of advice on how to load it all the same
        raise ValueError("it holds other objects than tensors and plain containers") from error
    _check_dense(found)
    return found


def _check_dense(value: Any) -> None:
    """ValueError unless all tensors in nested containers are dense ones with their numbers in memory."""
    left, seen = [value], set()
    while left:
        each = left.pop()
        if id(each) in seen:  # containers may hold themselves
            continue
        seen.add(id(each))
        if isinstance(each, dict):
            left += each.values()
        elif isinstance(each, (list, tuple, set)):
            left += each
        elif isinstance(each, torch.Tensor) and (
            each.is_nested or each.is_quantized or each.layout != torch.strided or each.device.type != "cpu"
        ):
            raise ValueError("it holds tensors that are not dense")
