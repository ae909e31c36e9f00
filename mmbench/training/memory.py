"""Memory: the allocator of the process, and the most that a run held."""

import ctypes
import sys
import weakref
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

import torch

__all__ = ["PeakMemory", "keep_freed_memory"]

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


class PeakMemory:
    """The most memory that this process holds from now on, of the host where Linux tells, and of a GPU.

    What other runs of the process left behind is in it, and what they hold that are under way.

    Args:
        device: where the run computes.
    """

    _measuring: ClassVar[weakref.WeakSet["PeakMemory"]] = weakref.WeakSet()

    def __init__(self, device: torch.device):
        self.device = device
        if not self._measuring:  # else it would be taken from those that are
            with suppress(OSError):  # not on Linux, or forbidden: the process's own peak is not reset then
                Path("/proc/self/clear_refs").write_text("5")
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(device)
        self._measuring.add(self)

    def found(self) -> dict[str, float]:
        """`peak_host_mib` and `peak_device_mib`, as far as they are known."""
        peaks = {}
        with suppress(OSError, StopIteration):
            lines = Path("/proc/self/status").read_text().splitlines()
            peak = next(line for line in lines if line.startswith("VmHWM:"))
            peaks["peak_host_mib"] = round(int(peak.split()[1]) / 1024, 1)
        if self.device.type == "cuda":
            # reserved: what a recorded step works in counts as free once it is recorded
            peaks["peak_device_mib"] = round(torch.cuda.max_memory_reserved(self.device) / 2**20, 1)
        return peaks
