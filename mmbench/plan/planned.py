"""Planned runs: what each of them is, where it goes and what its configuration hashes to, computed once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from mmbench.data.base import MultimodalData
from mmbench.plan.code import describe_code, model_code, shared_code
from mmbench.plan.config import RunConfig
from mmbench.plan.job import Job
from mmbench.storage.differences import departures
from mmbench.storage.files import content_hash, write_json
from mmbench.storage.run_folder import RunFolder
from models.errors import InputError

__all__ = ["PlannedRun", "announce", "plan_run", "plan_runs"]


@dataclass(frozen=True)
class PlannedRun:
    """One configuration with one seed, and the folder that it goes to.

    Attributes:
        config: everything that decides the result except the seed.
        seed: of initial weights, batches and noise.
        folder: where its files are written.
        decisive: `config.decisive` of the data: the JSON value that the hash covers.
        hash: of `decisive`.
        description: everything that config.json says, except the environment.
    """

    config: RunConfig
    seed: int
    folder: RunFolder
    decisive: Mapping[str, Any]
    hash: str
    description: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Model, label and seed, for messages."""
        return f"{self.folder.path.parent.name} seed {self.seed}"

    @property
    def threads(self) -> int:
        """The number of CPU threads that the run was begun with, however many there would be now.

        Sums that are split among other numbers of threads have other last bits.
        """
        config = self.folder.config or {}
        return (config.get("environment") or {}).get("threads") or torch.get_num_threads()

    def made_by_other_code(self) -> bool:
        """Whether the folder holds a run that was begun by code that may give another result."""
        begun = (self.folder.config or {}).get("environment") or {}
        now = {"code": shared_code(), "model_code": model_code(self.config.entry)}
        return any(begun.get(key, code) != code for key, code in now.items())

    def check_folder(self) -> None:
        """InputError if the folder cannot be written to, or holds a run of another configuration."""
        self.folder.check_config(self.hash, self.decisive)


def plan_run(
    config: RunConfig, seed: int, folder: RunFolder, data: MultimodalData, about: Mapping[str, Any]
) -> PlannedRun:
    """One planned run.

    Args:
        about: what config.json says besides: "label", "command", and the name of the settings as "named".

    Raises:
        InputError: where model and data do not fit.
    """
    decisive = config.decisive(data)
    hash = content_hash(decisive)
    description = {
        **decisive,
        "hash": hash,
        "title": config.entry.title,
        "preset": config.preset,
        "seed": seed,
        "modalities": [asdict(modality) for modality in data.modalities],
        "classes": list(data.classes),
        **about,
    }
    return PlannedRun(config, seed, folder, decisive, hash, description)


def plan_runs(job: Job, data: MultimodalData) -> list[PlannedRun]:
    """All runs of a job, seed by seed; their folders are checked before any of them is touched.

    Raises:
        InputError: where a model and the data do not fit, for a folder that holds another run, and beside
            runs with other settings, which no table could average with these.
    """
    planned: list[PlannedRun] = []  # one of each configuration
    companies: dict[Path, dict[str, Any] | None] = {}
    runs = []
    for seed in job.seeds:
        for config in job.configs:
            folder = job.folder(config, seed)
            place = folder.path.parent
            if place not in companies:
                companies[place] = folder.company()
            config = _as_begun(job, config, folder.config or companies[place])
            first = next((run for run in planned if run.config == config), None)
            if first is None:
                command = job.command.having("--precision", config.precision)
                about = {"label": job.label_of(config), "command": str(command)}
                about |= {"named": config.named} if config.named else {}
                first = plan_run(config, seed, folder, data, about)
                planned.append(first)
            run = _with_seed(first, seed, folder)
            if job.origin:
                _check_origin(job, run)
            run.check_folder()
            _check_company(run, companies[place])
            runs.append(run)
    return runs


def _check_company(run: PlannedRun, other: Mapping[str, Any] | None) -> None:
    """InputError where a run of the same name with another seed has `other` settings."""
    if other is None or other["hash"] == run.hash:
        return
    found = "; ".join(map(str, departures(other, run.decisive))) or "its hash"
    raise InputError(
        f"{run.folder.path.parent} holds a run with seed {other['seed']} of another configuration, which "
        f"differs in {found}: no table could average it with seed {run.seed}. Keep both with --label NAME, "
        "write elsewhere with --results, or move that folder away."
    )


def _as_begun(job: Job, config: RunConfig, begun: Mapping[str, Any] | None) -> RunConfig:
    """`config`; under `--precision auto` in the precision that this run or its company was `begun` with."""
    if job.adopt_precision and begun and begun["precision"] != config.precision:
        return replace(config, precision=begun["precision"])
    return config


def _with_seed(run: PlannedRun, seed: int, folder: RunFolder) -> PlannedRun:
    """The same configuration with another seed: nothing that the hash covers changes."""
    return replace(run, seed=seed, folder=folder, description={**run.description, "seed": seed})


def _check_origin(job: Job, run: PlannedRun) -> None:
    """InputError unless `run` has the configuration of the config.json that the job makes again."""
    assert job.origin
    if run.hash != job.origin.stored["hash"]:
        found = "; ".join(map(str, departures(job.origin.stored, run.decisive))) or "its hash"
        raise InputError(
            f"The run of {job.origin.file} was made with other data or code: {found}. "
            "Name its data with --data-dir or --data-file, its model's file with --model-file."
        )


def announce(
    runs: Sequence[PlannedRun], environment: Mapping[str, object], check: Callable[[], None] = lambda: None
) -> None:
    """Write the configuration of every run that has none yet; the run is pending from then on.

    Args:
        environment: where the runs are made; the number of threads is among it.
        check: called while another command is waited for; raises to give up.

    Raises:
        InputError: for a folder in which another command has begun another run since the runs were planned.
    """
    for run in runs:
        if run.folder.config is not None:
            run.check_folder()
            continue
        with run.folder.lock(lambda: None, check):  # another command may be writing the configuration
            run.check_folder()
            if run.folder.config is None:
                here = {**environment, **describe_code(run.config.entry)}
                write_json(run.folder.config_file, {**run.description, "environment": here})
