"""Locks: one command at a time on a run, a cache entry or a report.

The system frees them when their process ends, however it ends.
"""

import errno
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from mmbench.storage.files import WriteError, in_folder

__all__ = ["is_held", "locked"]

POLL_SECONDS = 0.3


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
    lock = FileLock(path)
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
        raise WriteError(path, error) from error
    except NotImplementedError as error:
        raise WriteError(path, OSError(errno.ENOSYS, "this system has no locks for its disk")) from error
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
        with path.open("rb") as file:  # closing it gives the lock back
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:  # to ask makes no file
        return False
    except OSError as error:
        return True if error.errno == errno.EWOULDBLOCK else None
    return False
