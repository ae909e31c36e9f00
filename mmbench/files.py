"""Files on disk: written whole or not at all, and the cache that runs share."""

import hashlib
import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

from models.errors import InputError

__all__ = ["cache_dir", "check_cache", "check_writable", "content_hash", "exists", "read_json", "write_atomically", "write_json"]


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Call `write` with a binary file; it becomes `path` only once it is complete and flushed to the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_json(path: Path, value: object) -> None:
    """Write `value` as indented JSON, atomically. NaN and infinities are refused (ValueError): they are no results."""
    text = json.dumps(value, indent=1, allow_nan=False) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file of a run; an InputError that names the file where there is none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"The file {path} is missing: its run is incomplete, delete its folder and run it again.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"The file {path} cannot be read as JSON ({error}): delete its folder and run it again.") from None
    if not isinstance(value, dict):
        raise InputError(f"The file {path} should hold a JSON object, not {type(value).__name__}: delete its folder and run it again.")
    return value


def exists(path: Path) -> bool:
    """Whether there is something at `path`; InputError where that cannot be told (too long a name, a folder that may not be entered)."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise InputError(f"The path {path} cannot be used ({error.strerror}): give another one, or change the permissions of its folders.") from None
    return True


def check_writable(folder: Path, name: str, remedy: str) -> None:
    """InputError unless files can be written to `folder`, which need not be there yet. Nothing is left behind.

    Args:
        name: what the folder is, for the message.
        remedy: what to do otherwise, for the message.
    """
    missing: list[Path] = []
    try:
        for path in (folder, *folder.parents):
            if path.is_file():
                raise InputError(f"The {name} {path} is a file: expected a folder; {remedy}.")
            if not path.exists():
                missing.append(path)
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(f"The {name} {folder} cannot be written to ({error.strerror}): {remedy}.") from None
    finally:
        for path in missing:
            with suppress(OSError):  # never made, or another process is at work in it already
                path.rmdir()


def content_hash(value: object) -> str:
    """16 hex digits that identify a JSON value whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, allow_nan=False).encode()).hexdigest()[:16]


def cache_dir() -> Path:
    """Where judges and statistics of real images are kept: `MMBENCH_CACHE`, by default in the user's cache directory."""
    if "MMBENCH_CACHE" in os.environ:
        return Path(os.environ["MMBENCH_CACHE"]).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "mmbench"


def check_cache() -> None:
    """InputError unless the cache can be written to."""
    check_writable(cache_dir(), "cache folder", "name another with the environment variable MMBENCH_CACHE")
