"""Runs as they lie on disk, checked, and as a tidy table.

results/<dataset>/<preset>/<model>[+label]/seed-<k>/ config.json, status.json, metrics.json, history.csv, samples/
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from mmbench.report.numbers import paper
from mmbench.storage.records import check_results, find_folders, read_config, read_status
from models.errors import InputError

__all__ = ["Run", "find_runs", "load_results", "read_history", "read_run"]

COLUMNS = (
    "dataset",
    "preset",
    "model",
    "title",
    "label",
    "seed",
    "state",
    "hash",
    "metric",
    "value",
    "reason",
    "path",
)


@dataclass(frozen=True)
class Run:
    """One training run.

    Attributes:
        folder: where it lies.
        config, status: its files.
        metrics: name -> value, None where there is none; empty unless the run is done.
        reasons: why a metric has no value, by name.
        references: figures that no model made: judges' accuracies, floors and counts.
    """

    folder: Path
    config: dict[str, Any]
    status: dict[str, Any]
    metrics: dict[str, float | None]
    reasons: dict[str, str]
    references: dict[str, float]

    @property
    def dataset(self) -> str:
        return self.config["dataset"]

    @property
    def preset(self) -> str:
        return self.config["preset"]

    @property
    def model(self) -> str:
        return self.config["model"]

    @property
    def label(self) -> str:
        """What tells a variant of a model from the model; empty for the model itself."""
        return self.config.get("label") or ""

    @property
    def title(self) -> str:
        return self.config.get("title") or self.model

    @property
    def name(self) -> str:
        """The title, with the label where there is one."""
        return f"{self.title} ({self.label})" if self.label else self.title

    @property
    def seed(self) -> int:
        return self.config["seed"]

    @property
    def state(self) -> str:
        """pending, running, done or failed."""
        return self.status.get("state", "pending")

    @property
    def modalities(self) -> list[str]:
        return [modality["name"] for modality in self.config["modalities"]]


def find_runs(path: Path | str) -> list[Run]:
    """The runs at or below `path`, which is a results folder or any folder in one: in the paper's order of models, then by name, label, seed.

    Raises:
        InputError: for a path that is missing, a file, or holds no run; for a damaged file; for runs of one model in one preset
            that do not belong together, because their settings differ or a seed appears twice.
    """
    runs = sorted((read_run(folder) for folder in find_folders(Path(path))), key=_order)
    _check_company(runs)
    return runs


def load_results(path: Path | str) -> pd.DataFrame:
    """Every metric of every run at or below `path`, tidy: one row per data set, preset, model, label, seed and metric.

    Columns: dataset, preset, model, title, label ("" without one), seed, state, hash, metric, value, reason (why there is no
    value), path (the run's folder). Coherences, probes and judges are fractions in [0, 1], entropies are nats. The references of a
    run (`judge/...`, `..._floor/...` and counts) are rows like its metrics. A run that is not done has one row, without a metric.

    Raises:
        InputError: as `find_runs`.
    """
    return pd.DataFrame([row for run in find_runs(path) for row in _rows(run)], columns=list(COLUMNS)).astype(
        {"value": float}
    )


def read_history(run: Run) -> pd.DataFrame:
    """The run's history.csv: step, stage, learning_rate, loss and the loss terms. Empty where training has not written any."""
    path = run.folder / "history.csv"
    if not path.exists() or not path.stat().st_size:
        return pd.DataFrame({"step": [], "loss": []})
    try:
        history = pd.read_csv(path)
        return history.assign(step=pd.to_numeric(history["step"]))
    except (KeyError, ValueError) as error:  # pandas' parser errors are ValueErrors
        raise InputError(
            f"The file {path} is no training history ({error}): delete its folder and run it again."
        ) from None


def _rows(run: Run) -> list[dict[str, Any]]:
    head = {
        key: getattr(run, key) for key in ("dataset", "preset", "model", "title", "label", "seed", "state")
    }
    head |= {"hash": run.config["hash"], "path": str(run.folder)}
    if run.state != "done":
        return [
            head
            | {
                "metric": None,
                "value": math.nan,
                "reason": run.status.get("error") or f"the run is {run.state}",
            }
        ]
    values = run.metrics | run.references
    return [
        head | {"metric": name, "value": value, "reason": run.reasons.get(name)}
        for name, value in values.items()
    ]


def _order(run: Run) -> tuple[Any, ...]:
    rank = list(paper.MODELS).index(run.model) if run.model in paper.MODELS else len(paper.MODELS)
    return run.dataset, run.preset, rank, run.model, run.label, run.seed, str(run.folder)


def read_run(folder: Path) -> Run:
    """The run in `folder`; InputError, or DamagedError, where its files are not as a run leaves them."""
    config = read_config(folder / "config.json")
    status = read_status(folder, config)
    if status["state"] != "done":
        return Run(folder, config, status, {}, {}, {})
    results = check_results(folder, config)
    references = {name: value for name, value in results["references"].items() if value is not None}
    return Run(folder, config, status, results["metrics"], results["reasons"], references)


def _check_company(runs: Iterable[Run]) -> None:
    """Runs that a table would average: the same settings, each seed once."""
    first: dict[tuple[str, ...], Run] = {}
    seeds: dict[tuple[str, ...], dict[int, Run]] = {}
    for run in runs:
        key = run.dataset, run.preset, run.model, run.label
        other = first.setdefault(key, run)
        if other.config["hash"] != run.config["hash"]:
            raise InputError(
                f"The runs {other.folder} and {run.folder} have different settings (hash {other.config['hash']} and {run.config['hash']}) "
                "and cannot be averaged: give one of them another --label, or delete it."
            )
        twin = seeds.setdefault(key, {}).setdefault(run.seed, run)
        if twin is not run:
            raise InputError(
                f"The runs {twin.folder} and {run.folder} have the same model and seed {run.seed}: delete or move one of them."
            )
