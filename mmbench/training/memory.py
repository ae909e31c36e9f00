"""The allocator of the process."""

import ctypes
import sys

__all__ = ["keep_freed_memory"]

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_KEPT = 2**30  # bytes


def keep_freed_memory() -> None:
    """Have glibc keep what a step of training frees for the next one, up to a gigabyte.

    Otherwise it goes back to the system, and the activations of a step are new pages each time, which the
    system has to clear first: measured, 3 to 6 % of a step on a CPU. Other C libraries are left as they are.
    """
    malloc_options = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    # Older releases of glibc refuse so high a threshold: there the other one alone would only keep the
    # thresholds from adapting.
    if malloc_options is not None and malloc_options(_MMAP_THRESHOLD, _KEPT) == 1:
        malloc_options(_TRIM_THRESHOLD, _KEPT)
