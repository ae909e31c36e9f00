"""Bounds on what is read: a folder of results may be anybody's, and hold anything under the name of a file.

Only regular files are opened, since a pipe waits for a writer and a device never ends, and their sizes are
looked at before. JSON has a depth that no recursion minds, and texts that can be written again.
"""

import errno
import os
import stat
from pathlib import Path

__all__ = ["LARGEST", "MOST", "check_file", "check_json", "read_file"]

LARGEST = 1e50  # of a number that is a result: squares of it are still far from overflowing
DEPTH = 32  # of objects and lists inside each other
MOST = {  # bytes of a file by its kind
    "record": 4 * 2**20,  # config.json, status.json, metrics.json, samples.json
    "diagnostics": 32 * 2**20,
    "history": 64 * 2**20,
    "sheet": 64 * 2**20,
    "archive": 4 * 2**30,  # a checkpoint, or prepared data
}


def read_file(path: Path, most: int) -> bytes:
    """The bytes of a regular file.

    Raises:
        OSError: where it cannot be read, and for a folder.
        ValueError: for a pipe or a device, and for more than `most` bytes.
    """
    size = check_file(path, most)
    if not size:  # some files of the system say so too, and wait when they are read
        return b""
    with path.open("rb") as file:
        return file.read(size)


def check_file(path: Path, most: int) -> int:
    """The size in bytes of a file that may be read; raises as `read_file`."""
    found = path.stat()
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(found.st_mode):
        raise ValueError("it is a pipe or a device, not a file")
    if found.st_size > most:
        raise ValueError(f"it has {found.st_size:,} bytes, more than {most:,}")
    return found.st_size


def check_json(value: object, depth: int = DEPTH) -> None:
    """ValueError for a JSON value that is nested too deeply, or whose texts have halves of characters."""
    if isinstance(value, str):
        value.encode()  # a UnicodeEncodeError is a ValueError
    elif isinstance(value, (dict, list)):
        if not depth:
            raise ValueError(f"more than {DEPTH} objects or lists inside each other")
        for each in value.values() if isinstance(value, dict) else value:
            check_json(each, depth - 1)
        if isinstance(value, dict):
            "".join(value).encode()
