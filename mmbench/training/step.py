"""One step of training: a batch, its loss, gradients and Adam.

It is the same function on every device. What differs between two steps is in tensors on the device, so that
it can be recorded once and repeated (see `mmbench.training.recorded`), and nothing in it waits for the host.
"""

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mmbench.data.batches import Batches
from models.base import Stage

__all__ = ["Terms", "TrainStep"]


class Terms(NamedTuple):
    """The loss of a step, term by term.

    Attributes:
        names: of the terms, then "loss": where the total is not finite, the term to blame comes first.
        values: (terms,) float32 on the device.
    """

    names: list[str]
    values: Tensor


class TrainStep:
    """A step of one stage.

    Args:
        stage: whose loss and parameters it has.
        batches: where its batches come from.
        learning_rate: at first.
        low_precision: whether the loss is computed under autocast to bfloat16; weights, gradients and the
            optimiser stay in float32.

    Attributes:
        start, progress, rate: place of the batch, progress of the stage and learning rate of the next call,
            scalars on the device.
        optimizer: of the stage.
    """

    def __init__(self, stage: Stage, batches: Batches, learning_rate: float, low_precision: bool):
        self.batches, self.low_precision, self.loss = batches, low_precision, stage.loss
        device = batches.device
        # Python's numbers have 64 bits, and so have these where they can: Apple's GPUs have no such numbers,
        # and on NVIDIA's Adam reads its rate in 32.
        kinds = {"cuda": (torch.float64, torch.float32), "mps": (torch.float32, torch.float32)}
        progress, rate = kinds.get(device.type, (torch.float64, torch.float64))
        self.progress = torch.zeros((), dtype=progress, device=device)
        self.rate = torch.tensor(learning_rate, dtype=rate, device=device)
        self.start = torch.zeros((), dtype=torch.int64, device=device)
        self.optimizer = torch.optim.Adam(
            stage.parameters,
            lr=self.rate,
            fused=device.type in ("cpu", "cuda"),
            capturable=device.type == "cuda",
        )

    def move(self, start: int, progress: float, rate: float) -> None:
        """Say where the next step is; the device hears of it without a wait."""
        self.start.fill_(start)
        self.progress.fill_(progress)
        self.rate.fill_(rate)

    def __call__(self, names: tuple[str, ...]) -> Terms:
        """Train on the batch of the modalities `names` at `start`."""
        batch = self.batches.gather(names, self.start)
        kind = self.batches.device.type
        with torch.autocast(kind, torch.bfloat16) if self.low_precision else nullcontext():
            loss = self.loss(batch, self.progress)
        self.optimizer.zero_grad(set_to_none=True)
        loss.total.backward()
        self.optimizer.step()
        values = [value.detach().float() for value in (*loss.terms.values(), loss.total)]
        return Terms([*loss.terms, "loss"], torch.stack(values))

    def load(self, moments: Mapping[int, Any]) -> None:
        """Take up Adam's moments, by number of the parameter, from a checkpoint."""
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": moments})
        for group in self.optimizer.param_groups:  # the rate was copied on the way
            group["lr"] = self.rate
