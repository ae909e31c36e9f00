"""Evaluating runs: one pass over a model and what it leaves in the run's folder, after training or later from a checkpoint."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from metrics.evaluation import Evaluation, References, evaluate
from metrics.protocol import Protocol
from mmbench.config import RunConfig, Training, differences
from mmbench.console import Console, Task
from mmbench.data.base import DataSettings, MultimodalData, load_data
from mmbench.files import read_json, write_json
from mmbench.job import parse_metrics, pick_device
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

    Metrics that the folder holds already and that were not computed now are kept.
    """
    cross = []
    for pair, each in evaluation.samples.cross.items():
        source, target = pair.split("->")
        cross.append(CrossSamples(source, target, each.labels.tolist(), each.conditions, each.outputs))
    save_samples(folder.samples, SampleSet(evaluation.samples.joint, cross))
    old = read_json(folder.metrics_file) if folder.metrics_file.exists() else {"metrics": {}, "reasons": {}, "references": {}}
    reasons = {name: why for name, why in old["reasons"].items() if name not in evaluation.metrics} | evaluation.reasons
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
    return f"{', '.join(words)} (judges: {judges})"


def evaluate_folders(paths: Sequence[Path], data_dir: Path | None, device: str, metrics: str | None, inception_weights: Path | None) -> int:
    """Compute metrics of finished runs again from their checkpoints, then write their reports; the exit code.

    Raises:
        InputError: for a folder without a finished run and its checkpoint, or data other than the run's.
    """
    wanted, where, console = parse_metrics(metrics), pick_device(device), Console()
    folders = [RunFolder(path.resolve()) for path in paths]
    configs = [_stored_config(folder) for folder in folders]
    with Stop() as stop:
        try:
            for folder, config in zip(folders, configs, strict=True):
                data = load_data(config.dataset, data_dir, config.data)
                stored = _check_data(folder, config, data)
                references = make_references(data, config.protocol, wanted, inception_weights, where, console, stop.check)
                model = config.entry.model(data.modalities, config.settings).to(where)
                load_weights(model, folder.checkpoint, stored["hash"])
                evaluation = evaluate_run(model, data, references, config, wanted, console, stop)
                write_evaluation(folder, stored["hash"], evaluation)
                console.say(f"{folder.path.parent.name} {folder.path.name}: {summarise(evaluation)}")
        except StoppedError:
            console.say("Stopped. Runs evaluated so far are written; the others keep the metrics that they had.")
            return stop.exit_code
    for preset in sorted({folder.path.parents[1] for folder in folders}):
        write_report(preset)
    return 0


def _stored_config(folder: RunFolder) -> RunConfig:
    """The configuration that a finished run was made with."""
    config = folder.config
    if config is None:
        raise InputError(f"{folder.path} holds no run: expected a folder such as results/digits/quick/mopoe/seed-0.")
    if folder.status["state"] != "done" or not folder.checkpoint.exists():
        raise InputError(f"The run in {folder.path} is not done or has lost its checkpoint.pt: train it with `{config['command']}`.")
    entry = MODELS.get(config["model"])
    return RunConfig(
        entry=entry,
        settings=resolve(entry.settings, config["settings"], entry.name),
        dataset=config["dataset"],
        preset=config["preset"],
        data=resolve(DataSettings, config["data"]["settings"], "the data"),
        training=resolve(Training, config["training"], "the training budget"),
        protocol=resolve(Protocol, config["protocol"], "the evaluation protocol"),
        precision=config["precision"],
    )


def _check_data(folder: RunFolder, config: RunConfig, data: MultimodalData) -> Mapping[str, Any]:
    """The stored config.json, if `data` are the data that the run was trained on."""
    stored, decisive = folder.config, config.decisive(data.provenance)
    assert stored is not None
    if stored["hash"] != config.hash(data.provenance):
        found = differences({key: stored.get(key) for key in decisive}, decisive)
        raise InputError(f"The run in {folder.path} was made with other data or settings: {'; '.join(found)}. Name its data with --data-dir.")
    return stored
