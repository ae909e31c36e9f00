"""One pass over a trained model, and what it leaves in the folder of its run."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import replace

import numpy as np
from torch import Tensor

from metrics.evaluation.evaluate import Diagnostics, Evaluation, References, Samples, evaluate
from metrics.missing import Lack
from mmbench.console import Console, Task
from mmbench.data.base import MultimodalData, Split
from mmbench.data.pairing import make_pairs, row_tuples
from mmbench.execution.signals import Stop
from mmbench.plan.code import shared_code
from mmbench.plan.config import RunConfig
from mmbench.storage import diagnostics
from mmbench.storage.diagnostics import StoredDiagnostics
from mmbench.storage.files import DamagedError, file_hash
from mmbench.storage.run_folder import RunFolder
from mmbench.storage.samples import (
    INDEX,
    CrossSamples,
    FoundSamples,
    SampleSet,
    load_run_samples,
    save_samples,
)
from mmbench.storage.tiles import Tiles, as_tiles
from models.base import MultimodalModel
from models.errors import InputError

__all__ = ["anchor_tuples", "evaluate_run", "write_evaluation"]


def evaluate_run(
    model: MultimodalModel,
    data: MultimodalData,
    references: References,
    config: RunConfig,
    metrics: frozenset[str],
    console: Console,
    stop: Stop,
) -> Evaluation:
    """One pass over a trained model on the test items.

    Raises:
        StoppedError: between two of its batches, after a signal.
        ValueError: for a model that has lost some of its modalities: fewer metrics would be left of it.
    """
    if tuple(model.modalities.values()) != tuple(data.modalities):
        wanted = ", ".join(modality.name for modality in data.modalities)
        raise ValueError(f"the model has {', '.join(model.modalities)} for its modalities, expected {wanted}")
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
            progress=progress,
        )


def anchor_tuples(split: Split, seed: int) -> dict[str, Tensor]:
    """For each of the N items of every modality, M items of its class, one of each modality.

    Where items are paired by row, those of its row.

    Returns:
        Modality name -> (N, M); item i stands in tuple i. -1 where a row lacks a modality.
    """
    if split.rows is not None:
        return row_tuples(split.rows)
    tuples = make_pairs(list(split.labels.values()), 1, seed)  # anchor after anchor, modality after modality
    return dict(
        zip(split.items, tuples.split([len(labels) for labels in split.labels.values()]), strict=True)
    )


def write_evaluation(
    folder: RunFolder, hash: str, seed: int, evaluation: Evaluation, say: Callable[[str], object]
) -> None:
    """Samples first, then metrics.json: a run with metrics has everything.

    Metrics, references and diagnostics that the folder holds already and that were not computed now are kept.

    Args:
        folder, hash, seed: of the run.
        evaluation: to write.
        say: told which metrics keep the value that they have, for what they are measured against is not here.
    """
    try:
        old = folder.metrics
    except DamagedError:  # nothing to keep: this is how it is mended
        old = None
    if old is None or (old["hash"], old["seed"] or seed) != (hash, seed):
        old = {"metrics": {}, "reasons": {}, "references": {}, "files": {}, "code": {}}
    values, stay = old["metrics"], _unavailable(evaluation, old["metrics"])
    if stay:
        values_stay = "keep their values" if len(stay) > 1 else "keeps its value"
        why = evaluation.missing[stay[0]].sentence
        say(f"{', '.join(stay)} could not be computed here and {values_stay}: {why}")
    computed = {name: value for name, value in evaluation.metrics.items() if name not in stay}
    missing = {name: why for name, why in evaluation.missing.items() if name not in stay}
    kept = {name: why for name, why in old["reasons"].items() if name not in computed}
    samples = _sample_set(evaluation.samples, _looks(folder))
    if not samples.found and any(name.startswith("label_map/") for name in values):
        with suppress(InputError):  # then there is nothing to keep
            before = load_run_samples(folder.path)
            if before and _as_written(folder, old["files"]):
                samples = replace(samples, found=before.found)
    save_samples(folder.samples, samples)
    keep = diagnostics.FILE in old["files"]
    diagnostics.save_diagnostics(folder.path, _stored(evaluation.diagnostics), keep)
    folder.write_metrics(
        hash,
        seed,
        metrics=values | computed,
        reasons={name: why.to_json() for name, why in (kept | missing).items()},
        references=old["references"] | evaluation.references,
        code=old["code"] | dict.fromkeys(computed, shared_code()),
    )


def _as_written(folder: RunFolder, files: Mapping[str, str]) -> bool:
    """Whether the index and all sheets of what was found are those in `files`: others are not kept."""
    paths = [folder.samples / INDEX, *folder.samples.glob("found-*.webp")]
    names = [path.relative_to(folder.path).as_posix() for path in paths]
    return all(file_hash(folder.path / name) == files.get(name) for name in names)


def _unavailable(evaluation: Evaluation, stored: Mapping[str, float | None]) -> list[str]:
    """Metrics that have a value in `stored`, and now none for want of what they are measured against."""
    missing = evaluation.missing.items()
    return [name for name, why in missing if why.kind is Lack.UNAVAILABLE and stored.get(name) is not None]


def _stored(found: Diagnostics) -> StoredDiagnostics:
    """What the run keeps of `found`."""
    confusion = {f"{source}->{target}": counts for (source, target), counts in found.confusion.items()}
    recall = {f"{source}->{target}": curve for (source, target), curve in found.recall.items()}
    if not found.latent:
        return StoredDiagnostics(confusion, {}, (), recall)
    points = {
        name: np.column_stack([xy, found.latent.labels[name]]) for name, xy in found.latent.points.items()
    }
    return StoredDiagnostics(confusion, points, found.latent.explained, recall)


def _looks(folder: RunFolder) -> dict[str, tuple[str, bool]]:
    """Modality name -> its symbols, and whether it is drawn as a line."""
    assert folder.config is not None
    return {m["name"]: (m.get("symbols") or "", bool(m.get("polyline"))) for m in folder.config["modalities"]}


def _sample_set(samples: Samples, looks: Mapping[str, tuple[str, bool]]) -> SampleSet:
    """What the report shows of `samples`: images as they are, texts as strings."""

    def shown(name: str, items: np.ndarray) -> Tiles:
        return as_tiles(items, *looks[name])

    cross = []
    for (source, target), each in samples.cross.items():
        tiles = shown(source, each.conditions), shown(target, each.outputs)
        cross.append(CrossSamples(source, target, each.labels.tolist(), *tiles))
    found = []
    for (source, target), of in samples.found.items():
        tiles = shown(source, of.queries), shown(target, of.hits.reshape(-1, *of.hits.shape[2:]))
        found.append(FoundSamples(source, target, of.labels.tolist(), of.classes.flatten().tolist(), *tiles))
    return SampleSet({name: shown(name, items) for name, items in samples.joint.items()}, cross, found)
