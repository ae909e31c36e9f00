"""How far runs are, from their files alone: the table of `mmbench status`, and the one at the end of a job.

Without torch or pandas, to be quick.
"""

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from mmbench.console import duration, headline, summarise, table
from mmbench.storage.records import find_folders
from mmbench.storage.runs import RUN_STATES, StoredRun, see_run

__all__ = ["describe_runs", "tabulate_runs"]


def describe_runs(results: Path) -> list[str]:
    """The lines of a table of the runs at or below `results`, and of a summary.

    A run shows its place, its state, and its metrics, its error or how far it is.

    Raises:
        InputError: for a path without runs. Damaged files are a state of their run.
    """
    runs = [see_run(folder) for folder in find_folders(results)]
    runs.sort(key=lambda run: (run.folder.resolve().parts[-4:-1], run.seed))
    rows = [
        [
            f"{run.dataset}/{run.preset}",
            run.folder.resolve().parent.name,
            str(run.seed),
            run.state,
            "" if run.seconds is None else duration(run.seconds),
            _note(run),
        ]
        for run in runs
    ]
    heads = ["dataset/preset", "model", "seed", "state", "time", "metrics, progress or error"]
    counts = Counter(run.state for run in runs)
    summary = ", ".join(f"{counts[state]} {state}" for state in RUN_STATES if counts[state])
    return [*table(heads, rows, numbers={"seed", "time"}, grouped=True), f"{summary}."]


def tabulate_runs(folders: Iterable[Path]) -> list[str]:
    """The lines of a table of the main metrics of each model, means over those of its runs that are done."""
    models: dict[str, list[StoredRun]] = {}
    for folder in folders:
        models.setdefault(folder.resolve().parent.name, []).append(see_run(folder))
    rows = [[name, *_means(runs)] for name, runs in models.items()]
    heads = ["model", "seeds", "joint", "cross", "probe", "time"]
    return [
        *table(heads, rows, numbers=heads[1:]),
        "Per cent, means over seeds; cross: latents sampled, mean over pairs of modalities; "
        "probe: mean over modalities; time: of one run.",
    ]


def _means(runs: Sequence[StoredRun]) -> list[str]:
    """Of one model: how many runs are done, their main metrics and their time."""
    done = [run for run in runs if run.state == "done"]
    count = str(len(done)) if len(done) == len(runs) else f"{len(done)} of {len(runs)}"
    found = [headline(run.metrics) for run in done]
    fields = [count]
    for name in ("joint", "cross", "probe"):
        values = [each[name] for each in found if name in each]
        fields.append(f"{sum(values) / len(values):.1f}" if values else "")
    seconds = [run.seconds for run in done if run.seconds is not None]
    return [*fields, duration(sum(seconds) / len(seconds)) if seconds else ""]


def _note(run: StoredRun) -> str:
    """What stands beside the state of a run."""
    if run.state == "done":
        return summarise(run.metrics)
    if run.state in ("failed", "damaged"):
        return run.error
    if run.state == "pending":
        return ""
    doubt = "; stopped or not, its lock cannot be read" if run.held is None else ""
    return _progress(run) + doubt


def _progress(run: StoredRun) -> str:
    """The step that a run was last seen at, and when, and how old its checkpoint is."""
    step, steps = run.status.get("step"), run.config["training"].get("steps")
    if step is None:
        where = "begun"
    elif step == steps:
        where = f"all {step:,} steps trained, not evaluated"
    else:
        where = f"step {step:,} of {steps:,}"
    kept = "no checkpoint yet" if run.saved is None else f"checkpoint {_age(run.saved)} old"
    return f"{where} {_age(run.noted or 0.0)} ago, {kept}"


def _age(moment: float) -> str:
    """How long ago that was, in words; in seconds since 1970."""
    return duration(max(0.0, time.time() - moment))
