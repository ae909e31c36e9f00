"""Evaluating runs: one pass over a model and what it leaves in the run's folder, after training or later from a checkpoint."""

import os
from collections.abc import Hashable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from metrics.evaluation import Evaluation, References, evaluate
from metrics.protocol import Protocol
from mmbench.config import RunConfig, Training, differences, get_preset
from mmbench.console import Console, Task
from mmbench.data.base import DataSettings, MultimodalData, load_data
from mmbench.files import check_cache, check_writable, exists, write_json
from mmbench.job import pick_device, pick_metrics
from mmbench.references import make_references
from mmbench.report import write_report
from mmbench.report.sheets import CrossSamples, SampleSet, save_samples
from mmbench.signals import Stop, StoppedError
from mmbench.store import RunFolder
from mmbench.training import load_weights
from models.base import MultimodalModel
from models.errors import InputError
from models.registry import MODELS
from models.settings import resolve

__all__ = ["evaluate_folders", "evaluate_run", "summarise", "write_evaluation"]


def evaluate_run(
    model: MultimodalModel,
    data: MultimodalData,
    references: References,
    config: RunConfig,
    metrics: frozenset[str],
    console: Console,
    stop: Stop,
) -> Evaluation:
    """One pass over a trained model on the test images; StoppedError between two of its batches after a signal."""
    with ExitStack() as shown:
        tasks: dict[str, Task] = {}

        def progress(name: str, done: int, total: int) -> None:
            stop.check()
            if name not in tasks:
                shown.close()
                tasks[name] = shown.enter_context(console.task(f"evaluate {config.entry.name}: {name}", total))
            tasks[name].update(done)

        return evaluate(
            model,
            test=data.test.labelled,
            train=data.train.labelled,
            references=references,
            protocol=config.protocol,
            metrics=metrics,
            device=next(model.parameters()).device,
            progress=progress,
        )


def write_evaluation(folder: RunFolder, hash: str, evaluation: Evaluation) -> None:
    """Samples first, then metrics.json: a run with metrics has everything.

    Metrics and references of this configuration that the folder holds already and that were not computed now are kept.
    """
    old = folder.metrics
    if old is None or old["hash"] != hash:
        old = {"metrics": {}, "reasons": {}, "references": {}}
    reasons = {name: why for name, why in old["reasons"].items() if name not in evaluation.metrics} | evaluation.reasons
    cross = []
    for pair, each in evaluation.samples.cross.items():
        source, target = pair.split("->")
        cross.append(CrossSamples(source, target, each.labels.tolist(), each.conditions, each.outputs))
    save_samples(folder.samples, SampleSet(evaluation.samples.joint, cross))
    write_json(
        folder.metrics_file,
        {
            "hash": hash,
            "metrics": old["metrics"] | evaluation.metrics,
            "reasons": reasons,
            "references": old["references"] | evaluation.references,
        },
    )


def summarise(evaluation: Evaluation) -> str:
    """The figures of a finished run in one line, shares in per cent, the judges beside them."""
    shares = {name: value for name, value in evaluation.metrics.items() if value is not None and "/chance" not in name and "/entropy" not in name}
    words = [f"{name} {value:.1f}" if name.startswith("f") else f"{name} {100 * value:.1f} %" for name, value in shares.items()]
    judges = ", ".join(f"{name.removeprefix('judge/')} {100 * v:.1f} %" for name, v in evaluation.references.items() if name.startswith("judge/"))
    return ", ".join(words) + (f" (judges: {judges})" if judges else "")


def evaluate_folders(paths: Sequence[Path], data_dir: Path | None, device: str, metrics: str | None, inception_weights: Path | None) -> int:
    """Compute metrics of finished runs again from their checkpoints, then write their reports; the exit code.

    Raises:
        InputError: before any file is written, for a folder without a finished run and its checkpoint, or data other than the run's.
    """
    where, console = pick_device(device), Console()
    check_cache()
    with Stop() as stop:
        try:
            runs = _finished_runs(paths, data_dir)
            wanted = {run.config.preset: pick_metrics(metrics, get_preset(run.config.preset), inception_weights) for run in runs}
            references: dict[Hashable, References] = {}
            for run in runs:
                if run.shared not in references:
                    groups = wanted[run.config.preset]
                    references[run.shared] = make_references(run.data, run.config.protocol, groups, inception_weights, where, console, stop.check)
            for run in runs:
                groups = wanted[run.config.preset]
                evaluation = evaluate_run(run.model().to(where), run.data, references[run.shared], run.config, groups, console, stop)
                write_evaluation(run.folder, run.hash, evaluation)
                console.say(f"{run.folder.path.parent.name} {run.folder.path.name}: {summarise(evaluation)}")
        except StoppedError:
            console.say("Stopped. Runs evaluated so far are written; the others keep the metrics that they had.")
            return stop.exit_code
    for preset in sorted({run.folder.path.parents[1] for run in runs}):
        write_report(preset)
    return 0


@dataclass(frozen=True)
class _Finished:
    """A finished run with the data that it was trained on."""

    folder: RunFolder
    config: RunConfig
    data: MultimodalData
    hash: str

    @property
    def shared(self) -> Hashable:
        """What decides the references: equal for runs that share them."""
        return self.config.dataset, self.config.data, self.config.protocol, self.config.preset

    def model(self) -> MultimodalModel:
        """The trained model, on the CPU."""
        model = self.config.entry.model(self.data.modalities, self.config.settings)
        load_weights(model, self.folder.checkpoint, self.hash)
        return model


def _finished_runs(paths: Sequence[Path], data_dir: Path | None) -> list[_Finished]:
    """The runs in `paths`, every one of them checked: its configuration, data and checkpoint, and that metrics can be written to it."""
    folders = [RunFolder(Path(os.path.realpath(path))) for path in dict.fromkeys(paths)]
    configs = [_stored_config(folder) for folder in folders]
    data = {key: load_data(key[0], data_dir, key[1]) for key in dict.fromkeys((config.dataset, config.data) for config in configs)}
    runs = [_finished_run(folder, config, data[config.dataset, config.data]) for folder, config in zip(folders, configs, strict=True)]
    for run in runs:
        check_writable(run.folder.path, "folder of the run", "change its permissions")
        _ = run.folder.metrics, run.model()  # an InputError now rather than after other runs were evaluated
    return runs


def _finished_run(folder: RunFolder, config: RunConfig, data: MultimodalData) -> _Finished:
    """The run, if `data` are the data that it was trained on."""
    stored, decisive, hash = folder.config, config.decisive(data.provenance), config.hash(data.provenance)
    assert stored is not None
    if stored["hash"] != hash:
        found = "; ".join(differences({key: stored.get(key) for key in decisive}, decisive)) or "its hash"
        raise InputError(f"The run in {folder.path} was made with other data or settings: {found}. Name its data with --data-dir.")
    return _Finished(folder, config, data, hash)


def _stored_config(folder: RunFolder) -> RunConfig:
    """The configuration that a finished run was made with."""
    config = folder.config
    if config is None:
        raise InputError(f"{folder.path} holds no run: expected a folder such as results/digits/quick/mopoe/seed-0.")
    home = RunFolder.of(Path(), config["dataset"], config["preset"], config["model"], config.get("label"), config["seed"]).path
    if folder.path.parts[-len(home.parts) :] != home.parts:
        raise InputError(f"The run in {folder.path} is out of its place, where reports look for it: move it to a folder results/{home}.")
    if folder.status["state"] != "done" or not exists(folder.checkpoint):
        raise InputError(f"The run in {folder.path} is not done or has lost its checkpoint.pt: train it with `{config['command']}`.")
    try:
        entry = MODELS.get(config["model"])
        return RunConfig(
            entry=entry,
            settings=resolve(entry.settings, config["settings"], entry.name),
            dataset=config["dataset"],
            preset=config["preset"],
            data=resolve(DataSettings, config["data"].get("settings", {}), "the data"),
            training=resolve(Training, config["training"], "the training budget"),
            protocol=resolve(Protocol, config["protocol"], "the evaluation protocol"),
            precision=config["precision"],
        )
    except InputError as error:
        raise InputError(f"The run in {folder.path} was made with a model or settings that are no longer there: {error}") from None
