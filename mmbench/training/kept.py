"""The weights that a training ends with where these are not the last ones: `Training.keep`.

Adam at a rate that hardly falls moves around a good place more than towards it, and a model that learns few
items by heart is at its best before its last step.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch.optim.swa_utils import get_swa_multi_avg_fn

from mmbench.plan.presets import Training
from models.base import MultimodalModel, Stage

__all__ = ["AVERAGED", "KEEPING_LOOKS", "Average", "Best", "Kept", "make_kept"]

KEEPING_LOOKS = 10  # evenly spaced, the last at the end
AVERAGED = 0.1  # of the steps, the last ones


class Kept(ABC):
    """Weights that are kept beside those in training, to end with.

    Attributes:
        looks: how many looks at validation items they are chosen by, whatever else is looked at.
    """

    looks = 0

    def after_step(self, step: int, model: MultimodalModel) -> None:  # noqa: B027 - for who wants it
        """Told after every step."""

    def after_look(self, step: int, value: float | None, model: MultimodalModel) -> None:  # noqa: B027
        """Told the figure of each of the looks, the higher the better; None is none."""

    @abstractmethod
    def give_back(self, model: MultimodalModel) -> None:
        """Give `model` the kept weights, in the memory that it has; nothing where none were kept."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """For a checkpoint: its "weights", and what else a training needs to go on."""

    @abstractmethod
    def load(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Go on from what `state` gave, of a model on `device`."""


class Best(Kept):
    """The weights of the best look so far: early stopping.

    Attributes:
        step: of the look, 0 before there is one.
        value: its figure.
        weights: of the model then, on the CPU.
    """

    looks = KEEPING_LOOKS

    def __init__(self) -> None:
        self.step, self.value = 0, float("-inf")
        self.weights: dict[str, torch.Tensor] = {}

    def after_look(self, step: int, value: float | None, model: MultimodalModel) -> None:
        if value is not None and value > self.value:
            self.step, self.value = step, value
            self.weights = {name: x.detach().to("cpu", copy=True) for name, x in model.state_dict().items()}

    def give_back(self, model: MultimodalModel) -> None:
        if self.weights:
            model.load_state_dict(self.weights)

    def state(self) -> dict[str, Any]:
        return {"step": self.step, "value": self.value, "weights": self.weights}

    def load(self, state: Mapping[str, Any], device: torch.device) -> None:
        self.step, self.value, self.weights = state["step"], state["value"], state["weights"]


class Average(Kept):
    """The mean of the parameters over the last steps (Izmailov et al. 2018, "Averaging Weights Leads to Wider
    Optima and Better Generalization"); buffers are those of the last step.

    Attributes:
        after: the step after which it begins.
        count: steps so far.
        weights: name of a parameter -> its mean over them, on the model's device.
    """

    def __init__(self, after: int) -> None:
        self.after, self.count = after, 0
        self.weights: dict[str, torch.Tensor] = {}
        self._add = get_swa_multi_avg_fn()

    @torch.no_grad()
    def after_step(self, step: int, model: MultimodalModel) -> None:
        if step <= self.after:
            return
        parameters = dict(model.named_parameters())
        if not self.count:
            self.weights = {name: x.detach().clone() for name, x in parameters.items()}
        elif parameters:
            self._add(list(self.weights.values()), list(parameters.values()), self.count)
        self.count += 1

    @torch.no_grad()
    def give_back(self, model: MultimodalModel) -> None:
        for name, x in model.named_parameters() if self.count else ():
            x.copy_(self.weights[name])

    def state(self) -> dict[str, Any]:
        return {"count": self.count, "weights": self.weights}

    def load(self, state: Mapping[str, Any], device: torch.device) -> None:
        self.count = state["count"]
        self.weights = {name: x.to(device) for name, x in state["weights"].items()}


def make_kept(config: Training, stages: tuple[Stage, ...]) -> Kept | None:
    """What `config` says to keep of a training in `stages`; None where it ends with its last weights.

    An average never reaches back beyond the last stage, which may have started anew what it trains.
    """
    if config.keep == "best":
        return Best()
    if config.keep == "average":
        begun = round(sum(stage.share for stage in stages[:-1]) * config.steps)
        return Average(min(max(begun, round((1 - AVERAGED) * config.steps)), config.steps - 1))
    return None
