"""The weights of the best look at validation items, for trainings that end with those and not with the last.

A model that learns few items by heart is at its best before its last step. Where `Training.keep` is "best",
ten looks decide, whatever else is looked at.
"""

from collections.abc import Mapping
from typing import Any

import torch

from models.base import MultimodalModel

__all__ = ["KEEPING_LOOKS", "Kept"]

KEEPING_LOOKS = 10  # evenly spaced, the last at the end


class Kept:
    """The best look so far.

    Attributes:
        step: of the look, 0 before there is one.
        value: its figure.
        weights: of the model then, on the CPU.
    """

    def __init__(self) -> None:
        self.step, self.value = 0, float("-inf")
        self.weights: dict[str, torch.Tensor] = {}

    def offer(self, step: int, value: float | None, model: MultimodalModel) -> None:
        """Keep the weights of `model` if their figure is higher than all before; None is none."""
        if value is not None and value > self.value:
            self.step, self.value = step, value
            self.weights = {name: x.detach().to("cpu", copy=True) for name, x in model.state_dict().items()}

    def give_back(self, model: MultimodalModel) -> None:
        """Give `model` the kept weights, in the memory that it has; nothing where none were kept."""
        if self.weights:
            model.load_state_dict(self.weights)

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"step": self.step, "value": self.value, "weights": self.weights}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        self.step, self.value, self.weights = state["step"], state["value"], state["weights"]
