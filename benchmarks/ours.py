"""Our side: the models and the trainer of mmbench, as `mmbench run` calls them.

Imports nothing of the peer: worker processes read this file.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.bench import seconds
from mmbench.console import Console
from mmbench.data.base import MultimodalData
from mmbench.data.batches import Batches
from mmbench.execution.signals import Stop
from mmbench.plan.presets import Training
from mmbench.training.checkpoints import Checkpoints
from mmbench.training.trainer import Trainer
from models.base import Batch, Modality, MultimodalModel
from models.names import find_models
from models.registry import MODELS, ModelEntry

__all__ = ["LEARNING_RATE", "TrainOnly", "make_model", "step_flops", "train"]

LEARNING_RATE = 1e-3


def latent_models() -> list[ModelEntry]:
    """The suite's models with a latent whose size is a setting: all but Boltzmann machines."""
    return [e for e in find_models("all") if "latent_size" in {f.name for f in fields(e.settings)}]


def make_model(name: str, modalities: Sequence[Modality], **settings: object) -> Any:
    """The registered model `name` with weights drawn from seed 0."""
    entry = MODELS.get(name)
    torch.manual_seed(0)
    return entry.model(modalities, entry.settings(**settings))


def train(model: MultimodalModel, batches: Batches, steps: int, precision: str) -> float:
    """Seconds of `steps` training steps.

    They include batches, losses, gradients, updates, history, and the checkpoint at the end.
    """
    budget = Training(steps=steps, batch_size=batches.batch_size, learning_rate=LEARNING_RATE)
    with TemporaryDirectory() as folder:
        kept = Checkpoints(Path(folder) / "checkpoint.pt", "", 0)
        return seconds(Trainer(model, batches, budget, kept, precision).run)


def step_flops(model: MultimodalModel, batch: Batch) -> float:
    """Floating-point operations of the products and convolutions of one step, averaged over the stages."""
    total = 0.0
    for stage in model.stages():
        with FlopCounterMode(display=False) as counter:
            stage.loss(batch, torch.tensor(0.5)).total.backward()
        total += stage.share * counter.get_total_flops()
    model.zero_grad()
    return total


@dataclass(frozen=True)
class TrainOnly:
    """What a worker of `--jobs` is given here: it trains and does not evaluate, as the peer's trainer does.

    Attributes:
        data: shared with the workers.
        steps, batch, latent, precision: of the training.
        folder: where each run leaves the seconds that its training took, in a file named after it.
    """

    data: MultimodalData
    steps: int
    batch: int
    latent: int
    precision: str
    folder: Path

    def __call__(self, run: tuple[str, int], console: Console, stop: Stop) -> bool:
        """Make one run, a model's name and a seed."""
        name, seed = run
        model = make_model(name, self.data.modalities, latent_size=self.latent)
        batches = Batches(self.data.train, self.data.modalities, self.batch, seed)
        (self.folder / f"{name}-{seed}").write_text(str(train(model, batches, self.steps, self.precision)))
        return True
