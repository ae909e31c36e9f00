"""Files on disk: written whole or not at all, JSON with a checksum, and the cache that runs share."""

import errno
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryFile, mkdtemp
from typing import IO, Any, TypeVar

from mmbench.storage.bounds import MOST, check_json, read_file
from models.errors import InputError

__all__ = [
    "AGAIN",
    "REMAKE",
    "DamagedError",
    "ForeignError",
    "WriteError",
    "cache_dir",
    "check_cache",
    "check_name",
    "check_new",
    "check_writable",
    "content_hash",
    "exists",
    "file_hash",
    "in_folder",
    "json_bytes",
    "new_folder",
    "read_json",
    "umask",
    "write_atomically",
    "write_json",
]

T = TypeVar("T")
FORMAT = 2  # of JSON files
_TOO_MANY_FILES = (errno.EMFILE, errno.ENFILE)  # are open
PART = ".part"  # after the name of a file that is being written
AGAIN = "move its folder away and run it again"  # where nothing else can tell what a file held
REMAKE = "the command in its config.json makes it again from the checkpoint"


class DamagedError(InputError):
    """A file that is missing or not as it was written.

    Attributes:
        path: of the file.
        problem: what is wrong with it; the message adds `remedy`.
    """

    def __init__(self, path: Path, problem: str, remedy: str):
        super().__init__(f"The file {path} {problem}: {remedy}.")
        self.path, self.problem = path, problem


class ForeignError(DamagedError):
    """A file that is as it was written, for another run."""


class WriteError(InputError):
    """A file that cannot be written, on a full or read-only disk for one. What was there before still is."""

    def __init__(self, path: Path, error: OSError):
        reason = error.strerror or type(error).__name__
        remedy = _remedy(error, "make room or change the permissions")
        super().__init__(
            f"The file {path} cannot be written ({reason}): {remedy}, then give the same command again."
        )


def _remedy(error: OSError, otherwise: str) -> str:
    """What to do about an error of the system, where the path that it came up with may not be to blame."""
    if error.errno in _TOO_MANY_FILES:
        return "raise the limit of open files (`ulimit -n`), or give fewer --jobs"
    return otherwise


def write_atomically(
    path: Path, content: bytes | Callable[[IO[bytes]], object], previous: Path | None = None
) -> None:
    """Write a file that becomes `path` only once it is complete and flushed to the disk.

    For one writer at a time (see locks.py): what a killed one has left half-written is written over by the
    next.

    Args:
        content: bytes, or a function that writes them to a binary file.
        previous: what `path` was before is kept under this name, and there until the new file is complete.

    Raises:
        WriteError: where the disk does not take it.
    """
    part = path.with_name(f"{path.name}{PART}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.unlink(missing_ok=True)  # a link of that name would lead the writing elsewhere
        with part.open("xb") as file:
            if isinstance(content, bytes):
                file.write(content)
            else:
                content(file)
            file.flush()
            os.fsync(file.fileno())
        if previous and path.exists():
            path.replace(previous)
        part.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise WriteError(path, error) from error
    finally:
        with suppress(OSError):  # the disk may have turned read-only: the error above is the one to report
            part.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Flush the names in `folder`, without which a rename may be lost with the power."""
    if os.name == "nt":  # has no such call
        return
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write `value` as indented JSON with a checksum, atomically.

    Halves of characters, as in names of files that are no UTF-8, become escapes.

    Raises:
        ValueError: for NaN and infinities, which are no results.
        WriteError: where the disk does not take it.
    """
    write_atomically(path, json_bytes(value))


def json_bytes(value: dict[str, Any]) -> bytes:
    """What `write_json` writes."""
    content = _whole_letters({"format": FORMAT, **value})
    text = json.dumps({**content, "checksum": content_hash(content)}, indent=1, allow_nan=False)
    return f"{text}\n".encode()


def _whole_letters(value: Any) -> Any:
    """A JSON value whose texts can be written in UTF-8."""
    if isinstance(value, dict):
        return {_whole_letters(key): _whole_letters(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_whole_letters(each) for each in value]
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def read_json(path: Path, remedy: str = AGAIN, most: int = MOST["record"]) -> dict[str, Any]:
    """The JSON object in a file of a run, as it was given to `write_json`.

    Args:
        remedy: what to do where the file is damaged.
        most: bytes that the file may have.

    Raises:
        DamagedError: for a file that is missing, too large, or has changed since it was written.
    """
    try:
        value = json.loads(read_file(path, most).decode())
        if not isinstance(value, dict):
            raise DamagedError(path, f"should hold a JSON object, not {type(value).__name__}", remedy)
        check_json(value)
        found, right = value.pop("checksum", None), content_hash(value)
    except FileNotFoundError:
        raise DamagedError(path, "is missing", remedy) from None
    except DamagedError:  # is a ValueError too
        raise
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, OSError) and error.errno in _TOO_MANY_FILES:  # nothing is known of this one
            reason, advice = error.strerror, _remedy(error, remedy)
            raise InputError(f"The file {path} cannot be read ({reason}): {advice}.") from None
        raise DamagedError(path, f"cannot be read as JSON ({error})", remedy) from None
    if found != right:
        raise DamagedError(path, "has changed since it was written, as its checksum says", remedy)
    if (format := value.pop("format", None)) != FORMAT:
        raise DamagedError(
            path, f"is of format {format!r:.30}, which this version of mmbench does not know", remedy
        )
    return value


def exists(path: Path) -> bool:
    """Whether there is something at `path`.

    Raises:
        InputError: where that cannot be told: too long a name, a folder that may not be entered.
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise InputError(
            f"The path {path} cannot be used ({error.strerror}): "
            "give another one, or change the permissions of its folders."
        ) from None
    return True


def check_writable(folder: Path, name: str, remedy: str) -> None:
    """InputError unless files can be written to `folder`, which need not be there. Nothing is left behind.

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
        in_folder(folder, lambda: TemporaryFile(dir=folder).close())
    except OSError as error:
        raise InputError(
            f"The {name} {folder} cannot be written to ({error.strerror}): {_remedy(error, remedy)}."
        ) from None
    finally:
        for path in missing:
            with suppress(OSError):  # never made, or another process is at work in it already
                path.rmdir()


def check_name(path: Path, remedy: str) -> None:
    """InputError unless a file can have this name, and a longer one while it is written.

    Its folder need not be there yet.
    """
    folder = next(there for there in path.parents if there.is_dir())
    try:
        (folder / f"{path.name}{PART}").lstat()
    except FileNotFoundError:
        pass
    except OSError as error:
        raise InputError(f"The file {path} could not be written ({error.strerror}): {remedy}.") from None


def file_hash(path: Path) -> str:
    """The SHA-256 of a file's bytes; OSError or ValueError where it cannot be read, as `read_file`."""
    return hashlib.sha256(read_file(path, MOST["archive"])).hexdigest()


def in_folder(folder: Path, act: Callable[[], T]) -> T:
    """`act()`, with `folder` made where it is missing.

    It is made again where another process, done with `check_writable`, removes it in between.
    """
    for _ in range(5):
        with suppress(FileNotFoundError):
            folder.mkdir(parents=True, exist_ok=True)
            return act()
    folder.mkdir(parents=True, exist_ok=True)
    return act()


def content_hash(value: object) -> str:
    """16 hex digits that identify a JSON value whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, allow_nan=False).encode()).hexdigest()[:16]


def cache_dir() -> Path:
    """Where judges and statistics of real images are kept: `MMBENCH_CACHE`, or the user's cache directory.

    An empty variable counts as one that is not set.

    Raises:
        InputError: where there is no home folder for it.
    """
    chosen, base = os.environ.get("MMBENCH_CACHE"), os.environ.get("XDG_CACHE_HOME")
    try:
        if chosen:
            return Path(chosen).expanduser()
        return (Path(base) if base else Path.home() / ".cache") / "mmbench"
    except RuntimeError:  # a user whom the system does not know, as in many containers
        what = f"MMBENCH_CACHE={chosen} is in a home folder that the system does not know"
        raise InputError(
            f"{what if chosen else 'This user has no home folder that the system knows'}: "
            "give the cache a folder with the environment variable MMBENCH_CACHE."
        ) from None


def check_cache() -> None:
    """InputError unless the cache can be written to."""
    check_writable(cache_dir(), "cache folder", "name another with the environment variable MMBENCH_CACHE")


def check_new(folder: Path, name: str) -> None:
    """InputError unless `folder` is missing or empty, and can be written; `name` says what it is."""
    if exists(folder) and not (folder.is_dir() and not any(folder.iterdir())):
        raise InputError(f"{folder} holds something already: name a new {name}.")
    check_writable(folder.parent, name, "name another one")


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A folder beside `folder`, which becomes it once the block has ended well."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise WriteError(folder, error) from error
    try:
        yield part
        part.chmod(0o777 & ~umask())  # mkdtemp keeps everybody else out
        try:
            if folder.exists():
                folder.rmdir()
            part.rename(folder)
        except OSError as error:
            raise WriteError(folder, error) from error
    finally:
        rmtree(part, ignore_errors=True)


def umask() -> int:
    """The bits of permissions that files which this process makes do not get."""
    mask = os.umask(0o077)  # there is no asking for it without setting it
    os.umask(mask)
    return mask
