"""Batches, models and trainers of a few steps."""

import torch

from mmbench.data.base import Split
from mmbench.data.batches import Batches
from mmbench.plan.presets import Training
from mmbench.training.checkpoints import Checkpoints
from mmbench.training.trainer import Trainer, Watch
from models.conformance import TWO


def make_batches(device="cpu"):
    generator = torch.Generator().manual_seed(0)
    items = {m.name: torch.randint(256, (40, *m.shape), dtype=torch.uint8, generator=generator) for m in TWO}
    pairs = torch.randint(40, (100, 2), generator=generator)
    return Batches(
        Split(items, {name: torch.zeros(40) for name in items}, pairs), TWO, 8, seed=3, device=device
    )


def make_trainer(
    model,
    batches,
    folder,
    steps=30,
    stop=lambda: False,
    hash="h",
    precision="fp32",
    report=lambda step, row: None,
):
    return Trainer(
        model,
        batches,
        Training(steps=steps, learning_rate=1e-2),
        Checkpoints(folder / "checkpoint.pt", hash, batches.seed),
        precision,
        Watch(report=report, stop=stop),
    )


def make_model(entry):
    torch.manual_seed(1)
    return entry.model(TWO, entry.settings())
