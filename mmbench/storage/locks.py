"""Locks: one command at a time on a run, a cache entry or a report.

The system frees them when their process ends, however it ends. Where a disk has none (a cluster's file system
mounted without `flock`), work goes on after a warning: the user there has often no other disk, files are
written whole, and only two commands on the same run, report or cache entry at once would be in each other's
way.
"""

import errno
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from mmbench.storage.files import WriteError, in_folder

__all__ = ["HeldError", "give_up", "is_held", "locked"]

POLL_SECONDS = 0.3
_NO_LOCKS = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK}


class HeldError(Exception):
    """Another process holds a lock."""


def give_up() -> None:
    """In the place of `waiting` of `locked`: raises HeldError, for those who do not wait."""
    raise HeldError


@contextmanager
def locked(
    path: Path, waiting: Callable[[], object], check: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """Hold the lock file `path` inside the block.

    The file stays on disk, empty: to delete it while others wait would split them from those who come later.

    Args:
        path: hidden, its folder made where it is missing.
        waiting: called once if another process holds it.
        check: called while waiting; raises to give up.

    Raises:
        WriteError: where the file cannot be made.
    """
    # A soft lock, to which filelock would fall back, is held while its file exists: these files stay.
    lock = FileLock(path, fallback_to_soft=False)
    try:
        try:
            in_folder(path.parent, lambda: _acquire(lock, path))
        except Timeout:
            waiting()
            while not lock.is_locked:
                check()
                try:
                    lock.acquire(timeout=POLL_SECONDS, poll_interval=POLL_SECONDS / 3)
                except Timeout:
                    continue
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise WriteError(path, error) from error
        warnings.warn(
            f"The disk of {path.parent} has no locks ({error.strerror}): "
            "give no two commands at a time that write to the same results or cache.",
            stacklevel=3,
        )
    try:
        yield
    finally:
        lock.release()


def _acquire(lock: FileLock, path: Path) -> None:
    """Take the lock at once or raise Timeout, but try again where it was only asked for by `is_held`."""
    while not lock.is_locked:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if is_held(path) is not False:
                raise
            time.sleep(0.001)


def is_held(path: Path) -> bool | None:
    """Whether a process holds the lock file `path`; None where that cannot be told, say for lack of rights.

    To ask takes a shared lock for a moment: it is refused only while a process holds the exclusive one of
    `locked`, which in its turn does not take a question for a holder.
    """
    if sys.platform == "win32":  # has no shared locks of this kind
        return None
    import fcntl

    try:
        with open(path, "rb", opener=_at_once) as file:  # closing it gives the lock back
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:  # to ask makes no file
        return False
    except OSError as error:
        return True if error.errno == errno.EWOULDBLOCK else None
    return False


def _at_once(path: str, flags: int) -> int:
    """Open a file without waiting, as a pipe of that name would for a writer."""
    return os.open(path, flags | os.O_NONBLOCK)
