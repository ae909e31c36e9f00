"""A run on disk: one folder per model and seed, every file written whole.

    results/<dataset>/<preset>/<model>[+label]/seed-<k>/
        config.json    everything that decides the result, its hash, and where it was run
        status.json    pending, running (with a step that it has passed), done, or failed with its traceback
        history.csv    mean loss terms over the steps (history.py)
        metrics.json   metrics, why some are missing, references, and the SHA-256 of history and samples
        samples/       generated images as lossless sheets (samples.py), diagnostics.json (diagnostics.py)
        tensorboard/   with --tensorboard alone (never committed)
        checkpoint.pt  weights, and what a training needs to go on (never committed);
                       checkpoint.previous.pt beside it while the run is made
        .lock          held by the process that works on the run (never committed)

JSON files hold a checksum of themselves; metrics.json is written after all that it names.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

from mmbench.storage import history
from mmbench.storage.differences import departures
from mmbench.storage.files import (
    DamagedError,
    ForeignError,
    check_name,
    check_writable,
    exists,
    file_hash,
    write_json,
)
from mmbench.storage.locks import locked
from mmbench.storage.records import check_results, read_config, read_metrics, read_status
from mmbench.storage.samples import picture_name
from mmbench.storage.shapes import STATES
from models.errors import InputError

__all__ = ["RunFolder", "prepare_results"]

REMEDY = "choose another with --results"


def prepare_results(results: Path, dataset: str, preset: str) -> None:
    """InputError unless runs can be written to results/<dataset>/<preset>, which need not be there yet.

    Creates nothing.
    """
    check_writable(results / dataset / preset, "results folder", REMEDY)


class RunFolder:
    """The folder of one run.

    Args:
        path: where it is; see the module's docstring.
    """

    def __init__(self, path: Path):
        self.path = path
        self.config_file = self.path / "config.json"
        self.status_file = self.path / "status.json"
        self.metrics_file = self.path / "metrics.json"
        self.samples = self.path / "samples"
        self.checkpoint = self.path / "checkpoint.pt"

    @classmethod
    def of(
        cls, results: Path, dataset: str, preset: str, model: str, label: str | None, seed: int
    ) -> "RunFolder":
        """The folder of this run below `results`."""
        return cls(results / dataset / preset / (f"{model}+{label}" if label else model) / f"seed-{seed}")

    @property
    def status(self) -> dict[str, Any]:
        """What status.json holds; {"state": "pending"} before there is one."""
        return read_status(self.path, self.config)

    def set_status(self, state: str, **more: object) -> None:
        """Write status.json; `more` may hold the step, times, an error and its traceback."""
        assert state in STATES
        config = self.config or {}
        owner: dict[str, Any] = {key: config[key] for key in ("hash", "seed") if key in config}
        write_json(self.status_file, {"state": state, **owner, **more})

    @property
    def config(self) -> dict[str, Any] | None:
        """What config.json holds, None before there is one."""
        return read_config(self.config_file) if exists(self.config_file) else None

    def company(self) -> dict[str, Any] | None:
        """The configuration of the first run of any seed here, with which a table averages this one.

        None where there is none that can be read.
        """
        for path in sorted(self.path.parent.glob("seed-*/config.json")):
            with suppress(InputError):  # damaged: whoever reads that run says so
                return read_config(path)
        return None

    @property
    def metrics(self) -> dict[str, Any] | None:
        """What metrics.json holds, None before there is one."""
        return read_metrics(self.path) if exists(self.metrics_file) else None

    def is_done(self) -> bool:
        """Whether the run is done, with everything that it left as it was written.

        Raises:
            DamagedError: for a file that is not.
        """
        config = self.config
        if config is None or self.status["state"] != "done":
            return False
        check_results(self.path, config)
        return True

    def damage_to_mend(self) -> DamagedError | None:
        """What is damaged of a run that is done and an evaluation writes again; None where all is well.

        Raises:
            InputError: for what it cannot mend: a damaged history.csv or status.json, metrics.json of another
                run, a folder in the place of a file.
        """
        try:
            self.is_done()
        except ForeignError:
            raise
        except DamagedError as error:
            history_lost = not (self.path / history.FILE).is_file()  # unnoticed where no hash of it is left
            written_again = self.samples in error.path.parents or error.path == self.metrics_file
            if not written_again or history_lost:
                raise
            self._check_kinds()
            if error.path.is_dir():
                raise
            return error
        return None

    def lock(self, waiting: Callable[[], object], check: Callable[[], None]) -> AbstractContextManager[None]:
        """Held by the one process that works on the run; see `locks.locked`."""
        return locked(self.path / ".lock", waiting, check)

    def check_config(self, hash: str, decisive: Mapping[str, Any]) -> None:
        """InputError if the folder cannot be written to or holds a run of another configuration.

        The message lists the keys that differ.
        """
        check_writable(self.path, "folder of the run", f"{REMEDY}, or a shorter --label")
        report, name = self.path.parents[1], self.path.parent.name
        check_name(report / picture_name(name), f"{REMEDY}, or a shorter --label")
        config = self.config
        self._check_kinds()
        if config is None or config["hash"] == hash:
            return
        found = "; ".join(map(str, departures(config, decisive))) or "its hash"
        raise InputError(
            f"{self.path} holds a run of another configuration, which differs in {found}. "
            "Keep both with --label NAME, write elsewhere with --results, or move that folder away."
        )

    def _check_kinds(self) -> None:
        """InputError where a folder is in the place of a file, or the other way round."""
        for path in (self.status_file, self.metrics_file, self.path / history.FILE):
            if path.is_dir():
                raise InputError(f"{path} is a folder where a run has a file: move it away.")
        if os.path.lexists(self.samples) and not self.samples.is_dir():
            raise InputError(f"{self.samples} is a file where a run has a folder: move it away.")

    def write_history(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write history.csv: see `history.py`."""
        history.write_history(self.path, rows)

    def write_metrics(self, hash: str, seed: int, **found: Mapping[str, Any]) -> None:
        """Write metrics.json, after history.csv and all of samples/, whose hashes it holds."""
        samples = sorted(path for path in self.samples.glob("*") if path.suffix != ".part" and path.is_file())
        names = [self.path / history.FILE, *samples]
        files = {path.relative_to(self.path).as_posix(): file_hash(path) for path in names}
        write_json(self.metrics_file, {"hash": hash, "seed": seed, **found, "files": files})
