"""Batches, models and trainers of a few steps."""

import torch

from mmbench.data.base import Split
from mmbench.data.batches import Batches
from mmbench.plan.presets import Training
from mmbench.training.checkpoints import Checkpoints
from mmbench.training.trainer import Trainer, Watch
from models.conformance import TWO


def make_batches(device="cpu", labels=False):
    generator = torch.Generator().manual_seed(0)
    items = {m.name: torch.randint(256, (40, *m.shape), dtype=torch.uint8, generator=generator) for m in TWO}
    pairs = torch.randint(40, (100, 2), generator=generator)
    classes = {name: torch.arange(40) % 2 for name in items}
    return Batches(Split(items, classes, pairs), TWO, 8, seed=3, device=device, labels=labels)


def make_trainer(
    model,
    batches,
    folder,
    steps=30,
    stop=lambda: False,
    hash="h",
    precision="fp32",
    report=lambda step, row: None,
    step="eager",
):
    return Trainer(
        model,
        batches,
        Training(steps=steps, learning_rate=1e-2),
        Checkpoints(folder / "checkpoint.pt", hash, batches.seed),
        precision,
        Watch(report=report, stop=stop),
        step,
    )


def make_model(entry, **settings):
    torch.manual_seed(1)
    return entry.build(TWO, entry.settings(**settings), classes=2)
