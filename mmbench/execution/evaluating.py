"""One pass over a trained model, and what it leaves in the folder of its run."""

from collections.abc import Iterable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from metrics.evaluation.evaluate import Diagnostics, Evaluation, References, Samples, evaluate
from mmbench.console import Console, Task
from mmbench.data.base import MultimodalData, Split
from mmbench.data.pairing import make_pairs
from mmbench.execution.signals import Stop
from mmbench.plan.config import RunConfig
from mmbench.storage.files import DamagedError, read_json, write_json
from mmbench.storage.run_folder import RunFolder
from mmbench.storage.samples import CrossSamples, SampleSet, save_samples
from models.base import MultimodalModel

DIAGNOSTICS = Path("samples/diagnostics.json")  # in the run's folder

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
