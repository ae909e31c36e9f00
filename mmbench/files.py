"""Files on disk: written whole or not at all, and the cache that runs share."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

__all__ = ["cache_dir", "content_hash", "read_json", "write_atomically", "write_json"]


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


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def content_hash(value: object) -> str:
    """16 hex digits that identify a JSON value whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, allow_nan=False).encode()).hexdigest()[:16]


def cache_dir() -> Path:
    """Where prepared data, judges and statistics of real images are kept: `MMBENCH_CACHE`, by default in the user's cache directory."""
    if "MMBENCH_CACHE" in os.environ:
        return Path(os.environ["MMBENCH_CACHE"]).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "mmbench"
