"""Checks of what training asks of a model: stages, the loss of each, gradients that reach every parameter."""

import math
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from models.base import Loss, Modality, MultimodalModel, Stage
from models.conformance.tools import (
    ITEMS,
    calling,
    expect,
    expect_tensor,
    make_example,
    observing,
    same,
    subsets,
)
from models.registry import ModelEntry

__all__ = ["check_gradients", "check_incomplete", "check_loss", "check_starts", "loss_of", "stages_of"]

PROGRESS = (0.0, 0.5, 1.0)
"""Shares of training that have passed, at which losses are computed."""


def stages_of(model: MultimodalModel) -> tuple[Stage, ...]:
    """The model's stages, checked."""
    with calling("stages()"):
        stages = model.stages()
    expect(
        isinstance(stages, tuple) and stages,
        "stages() returned no tuple of stages: expected at least one models.base.Stage.",
    )
    own = set(model.parameters())
    for stage in stages:
        expect(
            isinstance(stage, Stage), f"stages() holds a {type(stage).__name__}: expected models.base.Stage."
        )
        parameters = stage.parameters
        expect(
            isinstance(parameters, tuple) and parameters and own.issuperset(parameters),
            f"The parameters of stage {stage.name} are not a tuple of parameters of the model: "
            "write tuple(self.part.parameters()).",
        )
    total = sum(stage.share for stage in stages)
    expect(math.isclose(total, 1), f"The shares of the stages add up to {total:g}: expected 1.")
    return stages


def loss_of(stage: Stage, batch: dict[str, Tensor], progress: float, subset: str = "") -> Loss:
    """The loss of a stage under a fixed seed, checked to be finite scalars.

    Of a batch that lacks modalities, `subset` says in words which it has.
    """
    items = len(next(iter(batch.values())))
    what = f"The loss of stage {stage.name} on {items} item{'s' * (items > 1)}{subset} at progress {progress}"
    hint = " The model is registered with incomplete=True: a batch may lack modalities." if subset else ""
    torch.manual_seed(1)
    with calling(what, hint):
        loss = stage.loss(batch, torch.tensor(progress, dtype=torch.float64))
    expect(isinstance(loss, Loss), f"{what} returned {type(loss).__name__}: expected models.base.Loss.")
    for name, value in (("total", loss.total), *loss.terms.items()):
        expect_tensor(f"{what}: {name}", value)
        expect(
            value.ndim == 0,
            f"{what}: {name} has shape {tuple(value.shape)}: expected a scalar, the mean over the batch.",
        )
        expect(value.isfinite(), f"{what}: {name} is {value.item()}.")
    return loss


def check_loss(entry: ModelEntry, modalities: Sequence[Modality]) -> None:
    """Every stage's loss is a finite scalar with scalar terms.

    At any progress and batch size; a seed repeats it.
    """
    model, batch = make_example(entry, modalities)
    before = {name: x.clone() for name, x in batch.items()}
    for stage in stages_of(model):
        for progress in PROGRESS:
            for items in (1, 2, ITEMS):
                part = {name: x[:items] for name, x in batch.items()}
                loss = loss_of(stage, part, progress)
                held = [name for name, value in loss.terms.items() if value.requires_grad]
                expect(not held, f"The loss terms {held} carry gradients: detach() what is only logged.")
                expect(same(before, batch), "The loss changed its batch in place: work on new tensors.")
                expect(
                    torch.equal(loss.total, loss_of(stage, part, progress).total),
                    "The loss differs between two calls under the same torch.manual_seed: "
                    "take all noise from torch's global generator.",
                )


def check_starts(entry: ModelEntry, modalities: Sequence[Modality]) -> None:
    """What stages set from data is finite, and the same from the same weights and batches."""
    ended = []
    for seed in (1, 2):
        model, batch = make_example(entry, modalities)
        for stage in stages_of(model):
            if stage.start is None:
                continue
            what = f"The start of stage {stage.name}"
            before = {name: x.data_ptr() for name, x in model.state_dict().items()}
            torch.manual_seed(seed)
            random_state = torch.get_rng_state()
            with calling(what), torch.no_grad():
                stage.start(partial(_batch_of_number, batch))
            expect(
                torch.equal(random_state, torch.get_rng_state()),
                f"{what} takes noise from torch's global generator: make one, as "
                "torch.Generator(device).manual_seed(0).",
            )
            after = model.state_dict()
            moved = [name for name, x in after.items() if x.data_ptr() != before.get(name)]
            expect(not moved, f"{what} replaced {', '.join(moved)}: change tensors in place, with copy_.")
            broken = [name for name, x in after.items() if not x.isfinite().all()]
            expect(not broken, f"{what} left values in {', '.join(broken)} that are not finite.")
        ended.append({name: x.clone() for name, x in model.state_dict().items()})
    expect(same(*ended), "The start of a stage differs between two calls from the same weights and batches.")


def _batch_of_number(batch: dict[str, Tensor], number: int) -> dict[str, Tensor]:
    """The batches that a start is given here, all alike."""
    return batch


def check_gradients(entry: ModelEntry, modalities: Sequence[Modality]) -> None:
    """Over all stages and the whole of training, a gradient other than zero reaches every parameter."""
    model, batch = make_example(entry, modalities)
    names = {parameter: name for name, parameter in model.named_parameters()}
    trained: set[str] = set()
    reached: set[str] = set()
    for stage in stages_of(model):
        trained |= {names[parameter] for parameter in stage.parameters}
        for progress in PROGRESS:
            reached |= _reached(model, stage, batch, progress, names)
    idle = ", ".join(sorted(set(names.values()) - trained))
    expect(not idle, f"No stage trains {idle}: name it among the parameters of a stage, or make it a buffer.")
    missed = ", ".join(sorted(trained - reached))
    expect(
        not missed,
        f"No gradient reaches {missed}: "
        "use the parameter in the loss of a stage that trains it, or remove it.",
    )


def _reached(
    model: MultimodalModel,
    stage: Stage,
    batch: dict[str, Tensor],
    progress: float,
    names: dict[nn.Parameter, str],
) -> set[str]:
    """The names of the stage's parameters with a gradient other than zero; all gradients must be finite."""
    model.zero_grad()
    total = loss_of(stage, batch, progress).total
    expect(
        total.requires_grad,
        f"The loss of stage {stage.name} has no gradient: "
        "no detach(), item() or no_grad() on the way to its total.",
    )
    with calling(f"The gradient of the loss of stage {stage.name}"):
        total.backward()
    found = set()
    for parameter in stage.parameters:
        if parameter.grad is not None:
            expect(
                parameter.grad.isfinite().all(),
                f"The gradient of {names[parameter]} is not finite at progress {progress}.",
            )
            if parameter.grad.any():
                found.add(names[parameter])
    return found


def check_incomplete(entry: ModelEntry, modalities: Sequence[Modality]) -> None:
    """A model registered with `incomplete` has a loss of every subset of modalities.

    That loss trains the parts of these modalities alone, and has no term that complete batches lack.
    """
    model, batch = make_example(entry, modalities)
    parts = {parameter: set(name.split(".")) for name, parameter in model.named_parameters()}
    for stage in stages_of(model):
        terms = set().union(*(loss_of(stage, batch, progress).terms for progress in PROGRESS))
        owned = set().union(*(parts[parameter] for parameter in stage.parameters))
        for subset in subsets(modalities)[:-1]:
            given, _ = observing(subset, modalities)
            what = f"The loss of stage {stage.name} on a batch of {given}"
            trained: set[str] = set()
            for progress in PROGRESS:
                loss = loss_of(stage, {name: batch[name] for name in subset}, progress, f" of {given}")
                expect(loss.total.requires_grad, f"{what} has no gradient.")
                extra = ", ".join(sorted(set(loss.terms) - terms))
                expect(not extra, f"{what} has terms that a complete batch has not: {extra}.")
                model.zero_grad()
                loss.total.backward()
                for parameter, found in parts.items():
                    if parameter.grad is not None and parameter.grad.any():
                        trained |= found
            touched = [m.name for m in modalities if m.name not in subset and m.name in trained]
            expect(not touched, f"{what} trains parameters of {', '.join(touched)}, which it does not hold.")
            idle = [m.name for m in modalities if m.name in subset and m.name in owned - trained]
            expect(
                not idle,
                f"{what} trains no parameter of {', '.join(idle)}: "
                "let it go over all modalities that the batch holds.",
            )
