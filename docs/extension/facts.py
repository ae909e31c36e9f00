"""What models can do, found by trying: untrained ones on two small modalities."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from functools import cache

import torch
from torch.utils.flop_counter import FlopCounterMode

from metrics.partition import AnnealedModel
from models.base import LABELS, Loss, Modality, MultimodalModel, NotDefinedError
from models.parts.priors import PriorSettings
from models.registry import MODELS, ModelEntry

__all__ = ["Abilities", "find_abilities", "which_model"]

MODALITIES = (Modality("left", (1, 28, 28)), Modality("right", (3, 32, 32)))
CLASSES, ITEMS = 10, 8
SHORT = {"chains": 2, "chain_steps": 2}  # of Markov chains: whether there is a draw, not a good one
PAIRS = 256  # of the step whose cost is given, the batch of every preset


@dataclass(frozen=True)
class Abilities:
    """What an untrained model could do, by trying.

    Attributes:
        joint: whether it draws all modalities together.
        cross: whether it makes one modality from another one.
        shared: whether all modalities are embedded in one space.
        likelihood: "yes", "bracket" or "no".
        parameters: how many it has.
        gigaflops: of matrix products and convolutions in a training step of PAIRS pairs.
    """

    joint: bool
    cross: bool
    shared: bool
    likelihood: str
    parameters: int
    gigaflops: float


@cache
def find_abilities(name: str) -> Abilities | None:
    """Of the registered model called `name`; None where it cannot be run here."""
    entry = MODELS.get(name)
    if entry.unavailable():
        return None
    torch.manual_seed(0)
    known = {field.name for field in fields(entry.settings)}
    settings = entry.settings(**{key: value for key, value in SHORT.items() if key in known})
    model: MultimodalModel = entry.build(MODALITIES, settings, CLASSES)
    batch = {m.name: torch.rand(ITEMS, *m.shape) for m in MODALITIES}
    cost = _cost(model, batch | ({LABELS: torch.arange(ITEMS) % CLASSES} if entry.uses_labels else {}))
    model.eval()
    draws = torch.Generator().manual_seed(0)
    with torch.no_grad():
        return Abilities(
            joint=_defined(lambda: model.generate(2, draws)),
            cross=_defined(lambda: model.translate({"left": batch["left"]}, ["right"])),
            shared=model.common_space,
            likelihood="bracket"
            if isinstance(model, AnnealedModel)
            else "yes"
            if _defined(lambda: model.log_weights(batch, 2, draws))
            else "no",
            parameters=sum(p.numel() for p in model.parameters()),
            gigaflops=cost,
        )


def _defined(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except NotDefinedError:
        return False
    return True


def _cost(model: MultimodalModel, batch: dict[str, torch.Tensor]) -> float:
    """GFLOP of a step of PAIRS pairs, forward and backward: that of the dearest stage.

    It is a straight line in the number of pairs (chains of a Boltzmann machine cost the same whatever that
    is), drawn through half of the batch and all of it.
    """
    half, whole = (
        max(
            _operations(stage.loss, {name: x[:items] for name, x in batch.items()})
            for stage in model.stages()
        )
        for items in (ITEMS // 2, ITEMS)
    )
    return (whole + (whole - half) / (ITEMS - ITEMS // 2) * (PAIRS - ITEMS)) / 1e9


def _operations(loss: Callable[..., Loss], batch: dict[str, torch.Tensor]) -> int:
    """Floating-point operations of the loss and its gradient."""
    with FlopCounterMode(display=False) as counter:
        loss(batch, torch.tensor(0.5)).total.backward()
    return counter.get_total_flops()


def which_model() -> Iterator[tuple[ModelEntry, Abilities]]:
    """Every model that can be run here and what it can do: those that generate first."""
    for entry in sorted(MODELS, key=lambda entry: (entry.collection != "", entry.collection, entry.name)):
        if found := find_abilities(entry.name):
            yield entry, found


def has_priors(entry: ModelEntry) -> bool:
    """Whether another prior can be chosen for it."""
    return issubclass(entry.settings, PriorSettings)
