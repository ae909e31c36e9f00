"""Locks: one command at a time on a run, a cache entry or a report.

The system frees them when their process ends, however it ends. Where a disk has none (a cluster's file system
mounted without `flock`), work goes on after a warning: the user there has often no other disk, files are
written whole, and only two commands on the same run, report or cache entry at once would be in each other's
way.
"""

import errno
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from mmbench.storage.files import WriteError, in_folder

__all__ = ["is_held", "locked"]

POLL_SECONDS = 0.3
_NO_LOCKS = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK}


@contextmanager
def locked(
    path: Path, waiting: Callable[[], object], check: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """Hold the lock file `path` inside the block. It stays on disk, empty: to delete it while others wait would split them from those who come later.

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
            in_folder(path.parent, lambda: lock.acquire(timeout=0))
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


def is_held(path: Path) -> bool | None:
    """Whether a living process holds the lock file `path`; None where that cannot be told, without the right to open the file for one.

    To ask is to hold it for a moment: whoever wants it just then waits for some tenths of a second.
    """
    lock = FileLock(path)
    try:
        if path.exists():  # to ask makes no file
            lock.acquire(timeout=0)
            lock.release()
    except Timeout:
        return True
    except (OSError, NotImplementedError):
        return None
    return False
