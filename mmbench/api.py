"""The suite in a notebook: load data, make a model, train, evaluate, draw samples, load results.

What a command does with many runs, these functions do with one model in memory, and leave nothing on disk
unless they are told where.
"""

from collections.abc import Collection
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from metrics.evaluation.evaluate import Evaluation
from metrics.evaluation.evaluate import evaluate as evaluate_model
from metrics.protocol import Protocol
from mmbench.data import MultimodalData, load_data
from mmbench.data.batches import Batches
from mmbench.execution.cached_references import make_references
from mmbench.execution.evaluating import anchor_tuples
from mmbench.execution.train import trained_rows
from mmbench.plan.presets import Training
from mmbench.report.numbers.results import load_results
from mmbench.storage.files import content_hash
from mmbench.trained.loading import load_model
from mmbench.trained.pictures import draw_figure
from mmbench.trained.use import draw
from mmbench.training.checkpoints import Checkpoints
from mmbench.training.trainer import Trainer, Watch
from models.base import MultimodalModel
from models.errors import InputError
from models.named_settings import named_values
from models.names import find_model
from models.registry import MODELS
from models.settings import decisive, resolve

__all__ = ["evaluate", "load_data", "load_model", "load_results", "make_model", "sample_grid", "train"]


def make_model(
    name: str, data: MultimodalData, seed: int = 0, named: str | None = None, **settings: object
) -> MultimodalModel:
    """A registered model for the modalities of `data`, on the CPU, its weights drawn from `seed`.

    Args:
        name: as `mmbench models` lists it.
        named: settings with a name, as "published"; `mmbench models NAME` lists them with their sources.
        settings: of the model, by name; the others are those of `named`, or keep their defaults.

    Raises:
        InputError: for an unknown name, `named` or setting, a model that cannot be run here, or a value that
            a setting does not admit.
    """
    entry = find_model(name)
    values = named_values(entry.named, named, entry.name) if named is not None else {}
    chosen: Any = resolve(entry.settings, {**values, **settings}, entry.name)
    torch.manual_seed(seed)
    return entry.build(data.modalities, chosen, data.class_count)


def train(
    model: MultimodalModel,
    data: MultimodalData,
    *,
    seed: int = 0,
    precision: str = "fp32",
    checkpoint: str | Path | None = None,
    watch: Watch | None = None,
    **budget: object,
) -> pd.DataFrame:
    """Train `model` in place, on the device that it is on.

    Args:
        seed: of the batches and of the noise in the losses.
        precision: "fp32", or "bf16" for autocast.
        checkpoint: file that is written every two minutes and at the end; where it exists, training goes on
            from it.
        watch: is told about progress.
        budget: settings of `mmbench.plan.presets.Training`: steps, batch_size, learning_rate, and keep, which
            needs `look` and `score` of `watch`.

    Returns:
        The history: a row per 50 steps or fewer, with "step", "loss" and the terms of the loss.

    Raises:
        InputError: for an unknown setting, keep=best without a score, and a checkpoint of another model,
            budget, precision, seed or data.
    """
    training = resolve(Training, budget, "the training budget")
    if training.keep == "best" and (watch is None or watch.score is None):
        raise InputError("keep=best needs a watch, whose `look` and `score` say which weights are best.")
    device = next(model.parameters()).device
    incomplete = any(entry.model is type(model) and entry.incomplete for entry in MODELS)
    rows = trained_rows(data.train, training.batch_size, incomplete)
    batches = Batches(rows, data.modalities, training.batch_size, seed, device, model.uses_labels)
    hash = _training_hash(model, data, training, precision)
    kept = Checkpoints(Path(checkpoint), hash, seed) if checkpoint is not None else None
    torch.manual_seed(seed)
    trainer = Trainer(model, batches, training, kept, precision, watch)
    trainer.run()
    return pd.DataFrame(trainer.history)


def _training_hash(model: MultimodalModel, data: MultimodalData, training: Training, precision: str) -> str:
    """What a checkpoint is of, besides the seed: one of another training would be taken up unnoticed."""
    return content_hash(
        {
            "model": type(model).__name__,
            "settings": decisive(model.settings) if is_dataclass(model.settings) else None,
            "training": decisive(training),
            "precision": precision,
            "data": data.provenance,
        }
    )


def evaluate(
    model: MultimodalModel,
    data: MultimodalData,
    metrics: Collection[str] = ("coherence", "fd_clf", "probe", "sampler"),
    inception_weights: Path | None = None,
    **protocol: object,
) -> Evaluation:
    """Evaluate a trained model on the test items of `data`, on the device that it is on.

    The judges that it is measured by are trained when they are first needed, and cached.

    Args:
        metrics: groups of metrics, as `--metrics` takes them.
        inception_weights: file of pytorch-fid's weights for the group "fid".
        protocol: settings of `metrics.protocol.Protocol`, as draws and joint_draws.

    Raises:
        InputError: for an unknown group or setting.
    """
    chosen = resolve(Protocol, protocol, "the evaluation protocol")
    device = next(model.parameters()).device
    return evaluate_model(
        model,
        test=data.test.labelled,
        train=data.train.labelled,
        references=make_references(data, chosen, metrics, inception_weights, device),
        protocol=chosen,
        tuples=anchor_tuples(data.test, chosen.evaluation_seed),
        metrics=metrics,
    )


def sample_grid(
    model: MultimodalModel, data: MultimodalData, path: str | Path, n: int = 64, seed: int = 0
) -> Path:
    """Draw `n` joint draws of `model` as a picture: the same place in every block is the same draw.

    Args:
        path: of the PNG file that is written.
        seed: of the draws.

    Raises:
        NotDefinedError: for a model that has no prior to draw from.
    """
    caption = f"Joint draws after training on {data.name}."
    draw_figure(draw(model.eval(), n, seed), model.modalities, type(model).__name__, caption, Path(path))
    return Path(path)
