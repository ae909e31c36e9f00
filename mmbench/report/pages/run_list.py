"""What the list of runs says of each: times, speed, memory."""

from collections.abc import Callable, Sequence

from mmbench.storage.runs import StoredRun

__all__ = ["run_columns"]

NONE = "—"
ALWAYS = ("train_seconds", "evaluate_seconds", "steps_per_second")


def _time(seconds: float) -> str:
    """Seconds in words."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


_COLUMNS: dict[str, tuple[str, Callable[[float], str]]] = {
    "train_seconds": ("Training", _time),
    "look_seconds": ("Looks", _time),
    "compile_seconds": ("Compiling", _time),
    "evaluate_seconds": ("Evaluation", _time),
    "kept_step": ("Weights of step", "{:,}".format),
    "steps_per_second": ("Steps per second", "{:,.1f}".format),
    "peak_host_mib": ("Peak memory", "{:,.0f} MiB".format),
    "peak_device_mib": ("Peak memory of the GPU", "{:,.0f} MiB".format),
}


def run_columns(runs: Sequence[StoredRun]) -> dict[str, list[str]]:
    """Head -> a cell for each of the runs.

    Looks, compiling, kept weights and memory are there where one of the runs has some.
    """
    found = {key: [run.status.get(key) for run in runs] for key in _COLUMNS}
    return {
        head: [NONE if value is None else spell(value) for value in found[key]]
        for key, (head, spell) in _COLUMNS.items()
        if key in ALWAYS or any(found[key])
    }
