"""Finished runs, restored from their folders to be evaluated again: configuration, data and trained model."""

import os
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from metrics.references.statistics import References
from mmbench.console import Console, summarise
from mmbench.data import MultimodalData, load_data
from mmbench.data.own import register_data_file
from mmbench.execution.evaluating import evaluate_run, write_evaluation
from mmbench.execution.isolation import same_state
from mmbench.execution.local import Local
from mmbench.execution.orchestrator import Assignment, Outcome, orchestrate
from mmbench.execution.signals import Stop
from mmbench.execution.threads import computing_threads
from mmbench.plan.choices import check_known, pick_device, pick_metrics
from mmbench.plan.config import RunConfig, restore_config
from mmbench.plan.job import JobOptions
from mmbench.plan.planned import PlannedRun, plan_run
from mmbench.plan.presets import get_preset
from mmbench.storage.differences import departures
from mmbench.storage.files import check_cache, check_writable, exists
from mmbench.storage.run_folder import RunFolder
from mmbench.training.restore import build_model, innermost_line, restore_model
from models.base import MultimodalModel
from models.errors import InputError, error_words
from models.model_file import load_model_file

__all__ = ["EvaluateRun", "Restored", "evaluate_runs", "restore_runs", "trained_model"]


@dataclass(frozen=True)
class Restored:
    """Finished runs that share their data and their protocol, and so their references."""

    data: MultimodalData
    runs: list[PlannedRun]


@dataclass(frozen=True)
class EvaluateRun:
    """Computes metrics of finished runs again, from their checkpoints: what the executor is given.

    Attributes:
        device: to evaluate on.
        metrics: groups of metrics to compute.
        data, references: shared by the runs.
    """

    device: torch.device
    metrics: frozenset[str]
    data: MultimodalData
    references: References

    def __call__(self, run: PlannedRun, console: Console, stop: Stop) -> bool:
        stop.check()
        waiting = partial(console.say, f"{run.name}: waiting for another command that is at work on it.")
        say = partial(_say, console, run)
        with run.folder.lock(waiting, stop.check):
            try:
                with computing_threads(run.threads), same_state(say):
                    model = trained_model(run, self.data).to(self.device)
                    references = self.references.on(self.device)
                    found = evaluate_run(
                        model, self.data, references, run.config, self.metrics, console, stop
                    )
                    write_evaluation(run.folder, run.hash, run.seed, found, say)
            except BaseException as error:  # of this model: the other runs go on, and its old metrics stay
                if stop.caused(error):
                    raise
                say(f"could not be evaluated: {error_words(error)}{innermost_line(error)}.")
                return False
        say(summarise(found.metrics))
        return True


def _say(console: Console, run: PlannedRun, line: str) -> None:
    console.say(f"{run.name}: {line}")


def evaluate_runs(paths: Sequence[Path], options: JobOptions, console: Console) -> tuple[Outcome, list[Path]]:
    """Compute metrics of finished runs again; what is damaged of samples and metrics.json is mended by it.

    Args:
        paths: their folders.
        options: of which data_dir, data_file, device, metrics, inception_weights and model_files count.
        console: shows progress.

    Returns:
        How it went, and the preset folders whose reports are to be written again.

    Raises:
        InputError: before any file is written, for a folder without a finished run and its checkpoint, data
            or code other than the run's, and damage that an evaluation does not mend.
    """
    device = pick_device(options.device)
    for file in options.model_files:
        load_model_file(file)
    if options.data_file is not None:
        register_data_file(options.data_file)
    check_cache()
    groups = restore_runs(paths, options.data_dir)
    for run in (run for group in groups for run in group.runs):
        if damage := run.folder.damage_to_mend():
            _say(console, run, f"the file {damage.path} {damage.problem}. It is written again.")
    failed: list[PlannedRun] = []
    stopped_by = None
    for group in groups:
        outcome = _evaluate(group, options, device, console)
        failed += outcome.failed
        if (stopped_by := outcome.stopped_by) is not None:
            break
    presets = sorted({run.folder.path.parents[1] for group in groups for run in group.runs})
    return Outcome(tuple(failed), stopped_by), presets


def _evaluate(group: Restored, options: JobOptions, device: torch.device, console: Console) -> Outcome:
    """`evaluate_runs` of one group."""
    first = group.runs[0].config
    metrics = pick_metrics(options.metrics, get_preset(first.preset), options.inception_weights)
    assignment = Assignment(
        data=group.data,
        protocol=first.protocol,
        metrics=metrics,
        inception_weights=options.inception_weights,
        device=device,
        executor=Local(1, device, len(group.runs)),
        runs=partial(_as_planned, group.runs),
        work=partial(EvaluateRun, device, metrics, group.data),
    )
    return orchestrate(assignment, console)


def _as_planned(runs: list[PlannedRun], stop: Stop) -> list[PlannedRun]:
    """The runs of a group: nothing has to be done for them before they are evaluated."""
    return runs


def trained_model(run: PlannedRun, data: MultimodalData) -> MultimodalModel:
    """The model of a finished run, on the CPU; InputError as `restore_model`."""
    model = build_model(run.config, data.modalities, data.class_count, run.folder.path)
    return restore_model(model, run.config, run.folder.checkpoint, run.hash, run.seed)


def restore_runs(paths: Sequence[Path], data_dir: Path | None) -> list[Restored]:
    """The runs in `paths`, once configuration, data, checkpoint and permissions of each were checked.

    Raises:
        InputError: for a folder without a finished run and its checkpoint, or data or code other than the
            run's.
    """
    folders = [RunFolder(Path(os.path.realpath(path))) for path in dict.fromkeys(paths)]
    configs = [_stored_config(folder) for folder in folders]
    keys = dict.fromkeys((config.dataset, config.data) for config in configs)
    for folder, config in zip(folders, configs, strict=True):
        check_known(config.dataset, folder.config or {})
    data = {(name, settings): load_data(name, data_dir, settings) for name, settings in keys}
    groups: dict[Hashable, Restored] = {}
    for folder, config in zip(folders, configs, strict=True):
        run = _restore(folder, config, data[config.dataset, config.data])
        shared = config.dataset, config.data, config.protocol, config.preset
        groups.setdefault(shared, Restored(data[config.dataset, config.data], [])).runs.append(run)
    for group in groups.values():
        for run in group.runs:  # an InputError now rather than after other runs were evaluated
            check_writable(run.folder.path, "folder of the run", "change its permissions")
            with same_state(lambda line: None):
                trained_model(run, group.data)
    return list(groups.values())


def _restore(folder: RunFolder, config: RunConfig, data: MultimodalData) -> PlannedRun:
    """The run, if `data` and the code of its model are those that it was trained with."""
    stored = folder.config
    assert stored is not None
    about = {"label": stored.get("label"), "command": stored["command"]}
    run = plan_run(config, stored["seed"], folder, data, about)
    if stored["hash"] != run.hash:
        found = departures(stored, run.decisive)
        remedy = "Train it again under a --label: it is of an earlier version of mmbench."
        if any(difference.key[0] == "data" for difference in found):
            remedy = "Name its data with --data-dir or --data-file."
        elif stored.get("code") != run.decisive.get("code"):
            remedy = "Give its model's file, as it was, with --model-file."
        raise InputError(
            f"The run in {folder.path} was made with other data, code or settings: "
            f"{'; '.join(map(str, found)) or 'its hash'}. {remedy}"
        )
    return run


def _stored_config(folder: RunFolder) -> RunConfig:
    """The configuration that a finished run was made with."""
    config = folder.config
    if config is None:
        raise InputError(
            f"{folder.path} holds no run: expected a folder such as results/digits/quick/mopoe/seed-0."
        )
    home = RunFolder.of(
        Path(), config["dataset"], config["preset"], config["model"], config.get("label"), config["seed"]
    ).path
    if folder.path.parts[-len(home.parts) :] != home.parts:
        raise InputError(
            f"The run in {folder.path} is out of its place, where reports look for it: "
            f"move it to a folder results/{home}."
        )
    if folder.status["state"] != "done" or not exists(folder.checkpoint):
        raise InputError(
            f"The run in {folder.path} is not done or has lost its checkpoint.pt: "
            f"train it with `{config['command']}`."
        )
    try:
        return restore_config(config)
    except InputError as error:
        raise InputError(
            f"The run in {folder.path} was made with a model or settings that are no longer there: {error}"
        ) from None
