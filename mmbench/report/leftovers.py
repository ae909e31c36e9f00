"""What an earlier report wrote and the next one does not: left where it is, it would look current.

A report has a list of its files with it, by which the next one in that folder knows them.
"""

import hashlib
from collections.abc import Container, Mapping
from pathlib import Path

from mmbench.storage.files import DamagedError, exists, file_hash, json_bytes, read_json

__all__ = ["LIST", "find_leftovers", "list_files"]

LIST = ".written.json"
_REMEDY = "remove it, and what you do not need of earlier reports beside it"


def list_files(files: Mapping[str, bytes]) -> bytes:
    """The content of the list: {"files": name -> SHA-256}."""
    return json_bytes({"files": {name: hashlib.sha256(each).hexdigest() for name, each in files.items()}})


def find_leftovers(folder: Path, names: Container[str]) -> list[Path]:
    """The files in `folder` that its list has and `names` has not; none without a list.

    A file that has changed since it was listed is somebody's own, and none of them.

    Raises:
        DamagedError: for a list that is not as it was written.
    """
    path = folder / LIST
    if not exists(path):
        return []
    listed = read_json(path, _REMEDY).get("files")
    if not isinstance(listed, dict):
        raise DamagedError(path, "is no list of files", _REMEDY)
    old = (name for name in listed if name not in names and Path(name).name == name)
    return [folder / name for name in old if _hash(folder / name) == listed[name]]


def _hash(path: Path) -> str:
    """The SHA-256 of a file, empty where it cannot be read."""
    try:
        return file_hash(path)
    except (OSError, ValueError):
        return ""
