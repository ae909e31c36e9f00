"""Whether the training steps of a model can be recorded on a GPU, found out before a run is begun."""

from collections.abc import Callable

import torch
from torch import nn

from mmbench.data.base import Split
from mmbench.data.batches import Batches
from mmbench.training.recorded import COMPARED, WARM_UPS, CudaGraphs, RecordedStep
from mmbench.training.step import TrainStep
from models.conformance import TWO
from models.registry import ModelEntry

__all__ = ["why_not_recorded"]

ITEMS, BATCH, RATE, CLASSES = 40, 8, 1e-3, 2


def _cuda_graphs(step: TrainStep, model: nn.Module) -> CudaGraphs:
    return CudaGraphs(step.batches.device)


def why_not_recorded(
    entry: ModelEntry,
    device: torch.device,
    graphs: Callable[[TrainStep, nn.Module], CudaGraphs] = _cuda_graphs,
) -> str | None:
    """The sentence with which training would go on step by step; None where all stages can be recorded.

    A few steps of every stage are made of noise in two small modalities.

    Args:
        entry: a model that takes two modalities of images.
        device: an NVIDIA GPU.
        graphs: records steps.
    """
    generator = torch.Generator().manual_seed(0)
    items = {
        m.name: torch.randint(256, (ITEMS, *m.shape), dtype=torch.uint8, generator=generator) for m in TWO
    }
    pairs = torch.arange(ITEMS)[:, None].expand(-1, len(TWO))
    labels = dict.fromkeys(items, torch.arange(ITEMS) % CLASSES)
    model = entry.build(TWO, entry.settings(), CLASSES).to(device)
    batches = Batches(Split(items, labels, pairs), TWO, BATCH, 0, device, entry.uses_labels)
    said: list[str] = []
    for stage in model.stages():
        if stage.start is not None:
            with torch.no_grad():
                stage.start(batches.batch)
        step = TrainStep(stage, batches, RATE, False)
        make = RecordedStep(step, model, said.append, graphs(step, model))
        for number in range(WARM_UPS + COMPARED):
            names, start = batches.place(number)
            step.move(start, number / ITEMS, RATE)
            make(names)
        if said:
            return said[0]
    return None
