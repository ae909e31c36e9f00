"""Runs as they lie on disk, read and checked: what evaluation leaves and what reports, searches and status read."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from mmbench.storage.records import check_results, find_folders, read_config, read_status
from models.errors import InputError

__all__ = ["StoredRun", "read_history", "read_run", "stored_runs"]


@dataclass(frozen=True)
class StoredRun:
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


def stored_runs(path: Path | str) -> list[StoredRun]:
    """The runs at or below `path`, a results folder or any folder in one, sorted by name, label and seed.

    Raises:
        InputError: for a path that is missing, a file, or holds no run; for a damaged file; for runs of one
            model in one preset that do not belong together, because their settings differ or a seed appears
            twice.
    """
    runs = [read_run(folder) for folder in find_folders(Path(path))]
    runs.sort(key=lambda run: (run.dataset, run.preset, run.model, run.label, run.seed, str(run.folder)))
    _check_company(runs)
    return runs


def read_history(run: StoredRun) -> pd.DataFrame:
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


def read_run(folder: Path) -> StoredRun:
    """The run in `folder`; InputError, or DamagedError, where its files are not as a run leaves them."""
    config = read_config(folder / "config.json")
    status = read_status(folder, config)
    if status["state"] != "done":
        return StoredRun(folder, config, status, {}, {}, {})
    results = check_results(folder, config)
    references = {name: value for name, value in results["references"].items() if value is not None}
    return StoredRun(folder, config, status, results["metrics"], results["reasons"], references)


def _check_company(runs: Iterable[StoredRun]) -> None:
    """Runs that a table would average: the same settings, each seed once."""
    first: dict[tuple[str, ...], StoredRun] = {}
    seeds: dict[tuple[str, ...], dict[int, StoredRun]] = {}
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
