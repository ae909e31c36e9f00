"""Evaluating runs: one pass over a model and what it leaves in the run's folder, after training or later from a checkpoint."""

import os
from collections.abc import Hashable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from metrics.evaluation.evaluate import Diagnostics, Evaluation, References, Samples, evaluate
from mmbench.console import Console, Task, summarise
from mmbench.data import MultimodalData, Split, load_data
from mmbench.data.pairing import make_pairs
from mmbench.execution.cached_references import make_references
from mmbench.execution.signals import Stop, StoppedError
from mmbench.plan.config import RunConfig, departures, get_preset, restore_config
from mmbench.plan.job import pick_device, pick_metrics
from mmbench.report import write_report
from mmbench.storage.files import DamagedError, check_cache, check_writable, exists, read_json, write_json
from mmbench.storage.run_folder import RunFolder
from mmbench.storage.samples import CrossSamples, SampleSet, save_samples
from mmbench.training.checkpoints import load_weights
from models.base import MultimodalModel
from models.errors import InputError
from models.registry import load_model_file

DIAGNOSTICS = Path("samples/diagnostics.json")  # in the run's folder

__all__ = [
    "FinishedRun",
    "anchor_tuples",
    "evaluate_folders",
    "evaluate_run",
    "finished_runs",
    "write_evaluation",
]


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
                tasks[name] = shown.enter_context(
                    console.task(f"evaluate {config.entry.name}: {name}", total)
                )
            tasks[name].update(done)

        return evaluate(
            model,
            test=data.test.labelled,
            train=data.train.labelled,
            references=references,
            protocol=config.protocol,
            tuples=anchor_tuples(data.test, config.protocol.evaluation_seed),
            metrics=metrics,
            device=next(model.parameters()).device,
            progress=progress,
        )


def anchor_tuples(split: Split, seed: int) -> dict[str, Tensor]:
    """Modality name -> (N, M): for every one of its N items a tuple of its class in which it stands, one item of each modality."""
    tuples = make_pairs(list(split.labels.values()), 1, seed)  # anchor after anchor, modality after modality
    return dict(
        zip(split.items, tuples.split([len(labels) for labels in split.labels.values()]), strict=True)
    )


def write_evaluation(folder: RunFolder, hash: str, seed: int, evaluation: Evaluation) -> None:
    """Samples first, then metrics.json: a run with metrics has everything.

    Metrics, references and diagnostics of this run that the folder holds already and that were not computed now are kept.
    """
    try:
        old = folder.metrics
    except DamagedError:  # nothing to keep: this is how it is mended
        old = None
    if old is None or (old["hash"], old["seed"] or seed) != (hash, seed):
        old = {"metrics": {}, "reasons": {}, "references": {}, "files": {}}
    reasons = {
        name: why for name, why in old["reasons"].items() if name not in evaluation.metrics
    } | evaluation.reasons
    save_samples(folder.samples, _sample_set(evaluation.samples, _alphabets(folder)))
    _write_diagnostics(
        folder.samples / DIAGNOSTICS.name, evaluation.diagnostics, keep=DIAGNOSTICS.as_posix() in old["files"]
    )
    folder.write_metrics(
        hash,
        seed,
        metrics=old["metrics"] | evaluation.metrics,
        reasons=reasons,
        references=old["references"] | evaluation.references,
    )


def _write_diagnostics(path: Path, found: Diagnostics, keep: bool) -> None:
    """Confusions and the plane of the latents as JSON; with `keep`, what the file holds already and `found` has not stays."""
    old: dict[str, Any] = {"confusion": {}, "latent": None}
    if keep:
        with suppress(DamagedError):  # nothing to keep there either
            old |= read_json(path)
    latent = old["latent"]
    if found.latent:
        points = {
            name: {
                "x": _rounded(xy[:, 0]),
                "y": _rounded(xy[:, 1]),
                "label": found.latent.labels[name].tolist(),
            }
            for name, xy in found.latent.points.items()
        }
        latent = {"explained": _rounded(found.latent.explained), "points": points}
    counts = {pair: table.tolist() for pair, table in found.confusion.items()}
    write_json(path, {"confusion": old["confusion"] | counts, "latent": latent})


def _rounded(values: Iterable[float]) -> list[float]:
    """To four significant digits, all that a picture shows."""
    return [float(f"{value:.4g}") for value in values]


def _alphabets(folder: RunFolder) -> dict[str, str]:
    """Modality name -> its symbols, of the text modalities of a run."""
    assert folder.config is not None
    return {m["name"]: m["symbols"] for m in folder.config["modalities"] if m.get("symbols")}


def _sample_set(samples: Samples, alphabets: Mapping[str, str]) -> SampleSet:
    """What the report shows of `samples`: images as they are, texts as strings."""

    def shown(name: str, items: np.ndarray) -> Any:
        if name not in alphabets:
            return items
        symbols = np.array(list(alphabets[name]))[items.argmax(-1)]  # (n, positions)
        return ["".join(row) for row in symbols]

    cross = []
    for pair, each in samples.cross.items():
        source, target = pair.split("->")
        cross.append(
            CrossSamples(
                source,
                target,
                each.labels.tolist(),
                shown(source, each.conditions),
                shown(target, each.outputs),
            )
        )
    return SampleSet({name: shown(name, items) for name, items in samples.joint.items()}, cross)


def evaluate_folders(
    paths: Sequence[Path],
    data_dir: Path | None,
    device: str,
    metrics: str | None,
    inception_weights: Path | None,
    model_files: Sequence[Path] = (),
) -> int:
    """Compute metrics of finished runs again from their checkpoints, then write their reports; the exit code.

    Raises:
        InputError: before any file is written, for a folder without a finished run and its checkpoint, or data or code other than the run's.
    """
    where, console = pick_device(device), Console()
    for file in model_files:
        load_model_file(file)
    check_cache()
    with Stop() as stop:
        try:
            runs = finished_runs(paths, data_dir)
            wanted = {
                run.config.preset: pick_metrics(metrics, get_preset(run.config.preset), inception_weights)
                for run in runs
            }
            references: dict[Hashable, References] = {}
            for run in runs:
                if run.shared not in references:
                    groups = wanted[run.config.preset]
                    references[run.shared] = make_references(
                        run.data, run.config.protocol, groups, inception_weights, where, console, stop.check
                    )
            for run in runs:
                groups, name = (
                    wanted[run.config.preset],
                    f"{run.folder.path.parent.name} {run.folder.path.name}",
                )
                with run.folder.lock(
                    partial(console.say, f"{name}: waiting for another command that is at work on it."),
                    stop.check,
                ):
                    evaluation = evaluate_run(
                        run.model().to(where),
                        run.data,
                        references[run.shared],
                        run.config,
                        groups,
                        console,
                        stop,
                    )
                    write_evaluation(run.folder, run.hash, run.seed, evaluation)
                console.say(f"{name}: {summarise(evaluation.metrics, evaluation.references)}")
        except StoppedError:
            console.say(
                "Stopped. Runs evaluated so far are written; the others keep the metrics that they had."
            )
            return stop.exit_code
    for preset in sorted({run.folder.path.parents[1] for run in runs}):
        write_report(preset, console.say)
    return 0


@dataclass(frozen=True)
class FinishedRun:
    """A finished run with the data that it was trained on."""

    folder: RunFolder
    config: RunConfig
    data: MultimodalData
    hash: str
    seed: int

    @property
    def shared(self) -> Hashable:
        """What decides the references: equal for runs that share them."""
        return self.config.dataset, self.config.data, self.config.protocol, self.config.preset

    def model(self) -> MultimodalModel:
        """The trained model, on the CPU."""
        model = self.config.entry.model(self.data.modalities, self.config.settings)
        step = load_weights(model, self.folder.checkpoint, self.hash, self.seed)["step"]
        if step != self.config.training.steps:
            raise InputError(
                f"The checkpoint {self.folder.checkpoint} is of step {step}, before the end of training: delete it to train again."
            )
        return model


def finished_runs(paths: Sequence[Path], data_dir: Path | None) -> list[FinishedRun]:
    """The runs in `paths`, every one of them checked: its configuration, data and checkpoint, and that metrics can be written to it.

    Raises:
        InputError: for a folder without a finished run and its checkpoint, or data or code other than the run's.
    """
    folders = [RunFolder(Path(os.path.realpath(path))) for path in dict.fromkeys(paths)]
    configs = [_stored_config(folder) for folder in folders]
    data = {
        key: load_data(key[0], data_dir, key[1])
        for key in dict.fromkeys((config.dataset, config.data) for config in configs)
    }
    runs = [
        _finished_run(folder, config, data[config.dataset, config.data])
        for folder, config in zip(folders, configs, strict=True)
    ]
    for run in runs:
        check_writable(run.folder.path, "folder of the run", "change its permissions")
        _ = run.folder.is_done(), run.model()  # an InputError now rather than after other runs were evaluated
    return runs


def _finished_run(folder: RunFolder, config: RunConfig, data: MultimodalData) -> FinishedRun:
    """The run, if `data` are the data that it was trained on."""
    stored, decisive, hash = folder.config, config.decisive(data), config.hash(data)
    assert stored is not None
    if stored["hash"] != hash:
        keys = departures(stored, decisive)
        remedy = "Train it again under a --label: it is of an earlier version of mmbench."
        if any(key.startswith("data.") for key in keys):
            remedy = "Name its data with --data-dir."
        elif stored.get("code") != decisive.get("code"):
            remedy = "Give its model's file, as it was, with --model-file."
        raise InputError(
            f"The run in {folder.path} was made with other data, code or settings: {'; '.join(keys) or 'its hash'}. {remedy}"
        )
    return FinishedRun(folder, config, data, hash, stored["seed"])


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
            f"The run in {folder.path} is out of its place, where reports look for it: move it to a folder results/{home}."
        )
    if folder.status["state"] != "done" or not exists(folder.checkpoint):
        raise InputError(
            f"The run in {folder.path} is not done or has lost its checkpoint.pt: train it with `{config['command']}`."
        )
    try:
        return restore_config(config)
    except InputError as error:
        raise InputError(
            f"The run in {folder.path} was made with a model or settings that are no longer there: {error}"
        ) from None
