"""A loss through torch.compile, where it can be compiled."""

from collections.abc import Callable

import torch
import torch._dynamo
from torch import Tensor
from torch._dynamo.exc import TorchDynamoException

from models.base import Batch, Loss

__all__ = ["Compiled"]

KINDS = 64  # of one loss that torch compiles, for other settings and stages, before it silently stops


class Compiled:
    """A stage's loss, compiled for batches of one size; as it is where that fails.

    Args:
        loss: called with a batch and the progress of the stage.
        say: told why it is not compiled.
    """

    def __init__(self, loss: Callable[[Batch, Tensor], Loss], say: Callable[[str], object]):
        self.loss, self.say = loss, say
        config = torch._dynamo.config
        limit = "recompile_limit" if hasattr(config, "recompile_limit") else "cache_size_limit"  # until 2.7
        setattr(config, limit, max(KINDS, getattr(config, limit)))
        self.call: Callable[[Batch, Tensor], Loss] = torch.compile(loss, dynamic=False)

    def __call__(self, batch: Batch, progress: Tensor) -> Loss:
        try:
            return self.call(batch, progress)
        except TorchDynamoException as error:
            if self.call is self.loss:
                raise
            self.call = self.loss
            first = str(error).strip().splitlines()[0]
            self.say(f"torch.compile does not take the loss ({first}): it is computed as it is.")
            return self.loss(batch, progress)
