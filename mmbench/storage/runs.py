"""Runs as they lie on disk, read and checked: what reports, searches and `mmbench status` go by."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metrics.missing import Missing
from mmbench.storage.locks import is_held
from mmbench.storage.records import check_results, find_folders, read_config, read_status
from mmbench.storage.shapes import SECONDS
from models.errors import InputError
from models.named_settings import WORDS

__all__ = ["RUN_STATES", "StoredRun", "read_run", "see_run", "stored_runs"]

RUN_STATES = ("done", "running", "stopped", "failed", "pending", "damaged")


@dataclass(frozen=True)
class StoredRun:
    """One run.

    Attributes:
        folder: where it lies.
        config, status: what its files hold.
        metrics: name -> value, None where there is none; empty unless the run is done.
        reasons: why a metric has no value, by name.
        references: figures that no model made: judges' accuracies, floors and counts.
        held: whether a living process was at work on it when it was read; None where that cannot be told, and
            where no state hangs on it.
    """

    folder: Path
    config: dict[str, Any]
    status: dict[str, Any]
    metrics: dict[str, float | None]
    reasons: dict[str, Missing]
    references: dict[str, float]
    held: bool | None = None

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
    def named(self) -> str:
        """What its settings are called (see `models.named_settings`), empty without a name."""
        return self.config.get("named") or ""

    @property
    def is_variant(self) -> bool:
        """Whether it has a label of its own: it is not the model itself, nor the one of named settings."""
        return self.label not in ("", self.named)

    @property
    def name(self) -> str:
        """The title, what its settings are called, and the label where there is one of its own."""
        title = f"{self.title}, {WORDS.get(self.named, self.named)}" if self.named else self.title
        return f"{title} ({self.label})" if self.is_variant else title

    @property
    def seed(self) -> int:
        return self.config["seed"]

    @property
    def state(self) -> str:
        """One of RUN_STATES: a run that began and did not end is stopped unless a process holds its lock."""
        state = self.status.get("state", "pending")
        return "stopped" if state == "running" and self.held is False else state

    @property
    def error(self) -> str:
        """Why the run failed, or what is wrong with its files; empty otherwise."""
        return str(self.status.get("error") or "")

    @property
    def seconds(self) -> float | None:
        """What training, looks and evaluation took together; None unless the run is done."""
        if self.state != "done":
            return None
        return sum(self.status.get(key) or 0.0 for key in SECONDS)

    @property
    def noted(self) -> float | None:
        """When its status was last written, in seconds since 1970; None before."""
        return _written(self.folder / "status.json")

    @property
    def saved(self) -> float | None:
        """When its checkpoint was last written, in seconds since 1970; None without one."""
        return _written(self.folder / "checkpoint.pt")

    @property
    def modalities(self) -> list[str]:
        return [modality["name"] for modality in self.config["modalities"]]

    @property
    def classes(self) -> tuple[str, ...]:
        """What the classes are called, by number; empty for runs of before that was written down."""
        return tuple(self.config.get("classes") or ())


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


def read_run(folder: Path) -> StoredRun:
    """The run in `folder`; InputError, or DamagedError, where its files are not as a run leaves them."""
    config = read_config(folder / "config.json")
    status = read_status(folder, config)
    held = is_held(folder / ".lock") if status["state"] == "running" else None
    if status["state"] != "done":
        return StoredRun(folder, config, status, {}, {}, {}, held)
    results = check_results(folder, config)
    references = {name: value for name, value in results["references"].items() if value is not None}
    return StoredRun(folder, config, status, results["metrics"], results["reasons"], references)


def see_run(folder: Path) -> StoredRun:
    """As `read_run`, but where files are damaged the state says so: of such a run only its place is known."""
    try:
        return read_run(folder)
    except InputError as error:
        dataset, preset, name, seed = ("", "", "", *folder.resolve().parts)[-4:]
        model, _, label = name.partition("+")
        config: dict[str, Any] = {"dataset": dataset, "preset": preset, "model": model, "label": label}
        config |= {"seed": int(seed.removeprefix("seed-")), "modalities": []}
        return StoredRun(folder, config, {"state": "damaged", "error": str(error)}, {}, {}, {})


def _written(path: Path) -> float | None:
    """When a file was last written, in seconds since 1970; None where it is not there."""
    try:
        return path.stat().st_mtime
    except OSError:
        return None


def _check_company(runs: Iterable[StoredRun]) -> None:
    """Runs that a table would average: the same settings, each seed once."""
    first: dict[tuple[str, ...], StoredRun] = {}
    seeds: dict[tuple[str, ...], dict[int, StoredRun]] = {}
    for run in runs:
        key = run.dataset, run.preset, run.model, run.label
        other = first.setdefault(key, run)
        if other.config["hash"] != run.config["hash"]:
            raise InputError(
                f"The runs {other.folder} and {run.folder} have different settings "
                f"(hash {other.config['hash']} and {run.config['hash']}) and cannot be averaged: "
                "give one of them another --label, or move it elsewhere."
            )
        twin = seeds.setdefault(key, {}).setdefault(run.seed, run)
        if twin is not run:
            raise InputError(
                f"The runs {twin.folder} and {run.folder} have the same model and seed {run.seed}: "
                "move one of them elsewhere."
            )
