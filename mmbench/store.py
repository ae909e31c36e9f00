"""A run on disk: one folder per model and seed, every file written whole.

results/<dataset>/<preset>/<model>[+label]/seed-<k>/
    config.json    everything that decides the result, its hash, and where it was run
    status.json    pending, running, done or failed, with the error and its traceback
    history.csv    mean loss terms over the steps
    metrics.json   metrics, why some are missing, and the references beside them
    samples/       generated images as lossless sheets
    checkpoint.pt  weights (never committed)
"""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmbench.config import differences
from mmbench.files import read_json, write_atomically, write_json
from models.errors import InputError

__all__ = ["RunFolder", "prepare_results"]

STATES = ("pending", "running", "done", "failed")


def prepare_results(path: Path) -> Path:
    """The results folder, created where it is missing; InputError if it is a file or cannot be written to."""
    if path.exists() and not path.is_dir():
        raise InputError(f"The results path {path} is a file: expected a folder; choose another with --results.")
    try:
        path.mkdir(parents=True, exist_ok=True)
        write_atomically(path / ".writable", lambda file: None)
        (path / ".writable").unlink()
    except OSError as error:
        raise InputError(f"The results folder {path} cannot be written to ({error.strerror}): choose another with --results.") from None
    return path


class RunFolder:
    """The folder of one run.

    Args:
        path: where it is; see the module's docstring.
    """

    def __init__(self, path: Path):
        self.path = path
        self.config_file = self.path / "config.json"
        self.status_file = self.path / "status.json"
        self.history_file = self.path / "history.csv"
        self.metrics_file = self.path / "metrics.json"
        self.samples = self.path / "samples"
        self.checkpoint = self.path / "checkpoint.pt"

    @classmethod
    def of(cls, results: Path, dataset: str, preset: str, model: str, label: str | None, seed: int) -> "RunFolder":
        return cls(results / dataset / preset / (f"{model}+{label}" if label else model) / f"seed-{seed}")

    @property
    def status(self) -> dict[str, Any]:
        """What status.json holds; {"state": "pending"} before there is one."""
        return _read(self.status_file) if self.status_file.exists() else {"state": "pending"}

    def set_status(self, state: str, **more: object) -> None:
        assert state in STATES
        write_json(self.status_file, {"state": state, **more})

    @property
    def config(self) -> dict[str, Any] | None:
        """What config.json holds, None before there is one."""
        return _read(self.config_file) if self.config_file.exists() else None

    def check_config(self, hash: str, decisive: Mapping[str, Any]) -> None:
        """InputError if the folder holds a run of another configuration; the message lists the keys that differ."""
        config = self.config
        if config is None or config["hash"] == hash:
            return
        found = differences({key: config.get(key) for key in decisive}, decisive)
        raise InputError(
            f"{self.path} holds a run of another configuration, which differs in {'; '.join(found)}. "
            "Keep both with --label NAME, write elsewhere with --results, or delete that folder."
        )

    def write_history(self, rows: Sequence[Mapping[str, Any]]) -> None:
        columns = list(dict.fromkeys(key for row in rows for key in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_atomically(self.history_file, lambda file: file.write(text.getvalue().encode()))


def _read(path: Path) -> dict[str, Any]:
    try:
        return read_json(path)
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise InputError(f"{path} is damaged (not JSON): delete the folder {path.parent} and run again.") from None
