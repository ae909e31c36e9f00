"""The runs of a results folder in the order of reports, and all their metrics as one tidy table."""

import math
from pathlib import Path
from typing import Any

import pandas as pd

from mmbench.report.numbers import paper
from mmbench.storage.runs import StoredRun, stored_runs

__all__ = ["find_runs", "load_results"]

_RUN = ("dataset", "preset", "model", "title", "label", "seed", "state")
_COLUMNS = (*_RUN, "hash", "metric", "value", "reason", "path")


def find_runs(path: Path | str) -> list[StoredRun]:
    """As `stored_runs`, but in the paper's order of models, then by name, label and seed."""
    return sorted(stored_runs(path), key=_rank)


def load_results(path: Path | str) -> pd.DataFrame:
    """Every metric of every run at or below `path`, tidy.

    One row per data set, preset, model, label, seed and metric. The references of a run (`judge/...`,
    `..._floor/...`, counts) are rows like its metrics. A run that is not done has one row, without a metric.

    Returns:
        Columns: dataset, preset, model, title, label ("" without one), seed, state, hash, metric, value,
        reason (why there is no value), path (the run's folder). Coherences, probes and judges are fractions
        in [0, 1], entropies are nats.

    Raises:
        InputError: as `find_runs`.
    """
    rows = [row for run in find_runs(path) for row in _rows(run)]
    return pd.DataFrame(rows, columns=list(_COLUMNS)).astype({"value": float})


def _rows(run: StoredRun) -> list[dict[str, Any]]:
    """The rows of one run."""
    head = {key: getattr(run, key) for key in _RUN}
    head |= {"hash": run.config["hash"], "path": str(run.folder)}
    if run.state != "done":
        reason = run.error or f"the run is {run.state}"
        return [head | {"metric": None, "value": math.nan, "reason": reason}]
    values = run.metrics | run.references
    return [
        head | {"metric": name, "value": value, "reason": str(run.reasons.get(name, "")) or None}
        for name, value in values.items()
    ]


def _rank(run: StoredRun) -> tuple[str, str, int]:
    """Sorting is stable: what the paper does not order stays as it is."""
    rank = list(paper.MODELS).index(run.model) if run.model in paper.MODELS else len(paper.MODELS)
    return run.dataset, run.preset, rank
