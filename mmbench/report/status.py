"""How far runs are, from their files alone: what `mmbench status` prints, and the table at the end of a job. Without torch, to be quick."""

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmbench.console import duration, summarise, tabulate
from mmbench.storage.locks import is_held
from mmbench.storage.records import check_results, find_folders, read_config, read_status
from models.errors import InputError

__all__ = ["describe_runs", "tabulate_runs"]

STATES = ("done", "running", "stopped", "failed", "pending", "damaged")  # in the order of the summary


@dataclass(frozen=True)
class _Seen:
    """A run as its files show it.

    Attributes:
        folder: where it lies.
        state: one of STATES: a run that began and is not finished is running while a living process holds its lock, and stopped otherwise.
        note: what stands beside the state, in words.
        seconds: of training and evaluation, of a run that is done.
        metrics: of a run that is done.
    """

    folder: Path
    state: str
    note: str = ""
    seconds: float | None = None
    metrics: Mapping[str, float | None] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """<dataset>/<preset>/<model>[+label]/seed-<k>."""
        return "/".join(self.folder.parts[-4:])


def describe_runs(results: Path) -> list[str]:
    """A line for every run at or below `results`: its place, its state, and its metrics, its error or how far it is; then a summary.

    Raises:
        InputError: for a path without runs. Damaged files are a state of their run.
    """
    seen = sorted(
        map(_look, find_folders(results)),
        key=lambda run: (run.folder.parts[-4:-1], int(run.folder.name.removeprefix("seed-"))),
    )
    counts, width = Counter(run.state for run in seen), max(len(run.name) for run in seen)
    lines = [f"{run.name:{width}}  {run.state:7}  {run.note}".rstrip() for run in seen]
    return [*lines, ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state]) + "."]


def tabulate_runs(folders: Iterable[Path]) -> list[str]:
    """A table of runs, a line for each, with means over directions and modalities in per cent."""
    rows = [["", "seed", "state", "joint", "cross", "probe", "time"]]
    for run in map(_look, folders):
        crossed = [
            name
            for name in run.metrics
            if name.startswith("cross_coherence/") and name.endswith("/sample") and _is_pair(name)
        ]
        shares = (["joint_coherence"], crossed, [name for name in run.metrics if name.startswith("probe/")])
        time = "" if run.seconds is None else duration(run.seconds)
        rows.append(
            [
                run.folder.parent.name,
                run.folder.name.removeprefix("seed-"),
                run.state,
                *(_mean(run.metrics, names) for names in shares),
                time,
            ]
        )
    return [
        *tabulate(rows),
        "Per cent; cross: sampled latents, mean over the pairs of modalities; probe: mean over modalities.",
    ]


def _is_pair(metric: str) -> bool:
    return "->" in metric and "+" not in metric


def _mean(metrics: Mapping[str, float | None], names: Iterable[str]) -> str:
    found = [value for name in names if (value := metrics.get(name)) is not None]
    return f"{100 * sum(found) / len(found):.1f}" if found else ""


def _look(folder: Path) -> _Seen:
    folder = folder.resolve()
    try:
        config = read_config(folder / "config.json")
        status = read_status(folder, config)
        if status["state"] == "done":
            results = check_results(folder, config)
            seconds = sum(status.get(key) or 0.0 for key in ("train_seconds", "evaluate_seconds"))
            return _Seen(
                folder,
                "done",
                summarise(results["metrics"], results["references"]),
                seconds,
                results["metrics"],
            )
    except InputError as error:
        return _Seen(folder, "damaged", str(error))
    if status["state"] == "failed":
        return _Seen(folder, "failed", " ".join(str(status.get("error")).split()))
    if status["state"] == "pending":
        return _Seen(folder, "pending")
    held = is_held(folder / ".lock")
    doubt = "; stopped or not, its lock cannot be read" if held is None else ""
    return _Seen(folder, "stopped" if held is False else "running", _progress(folder, config, status) + doubt)


def _progress(folder: Path, config: Mapping[str, Any], status: Mapping[str, Any]) -> str:
    """The step that a run was last seen at, and when, and how old its checkpoint is."""
    step, steps = status.get("step"), config["training"].get("steps")
    where = (
        "begun"
        if step is None
        else f"all {step:,} steps trained, not evaluated"
        if step == steps
        else f"step {step:,} of {steps:,}"
    )
    saved = _age(folder / "checkpoint.pt")
    kept = "no checkpoint yet" if saved is None else f"checkpoint {saved} old"
    return f"{where} {_age(folder / 'status.json')} ago, {kept}"


def _age(path: Path) -> str | None:
    """How long ago `path` was written, in words; None where it is not there."""
    try:
        return duration(max(0.0, time.time() - path.stat().st_mtime))
    except OSError:
        return None
