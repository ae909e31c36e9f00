"""Samples, translations and embeddings of a trained model, in batches."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from models.base import Batch, MultimodalModel
from models.errors import InputError, suggest

__all__ = ["check_modality", "draw", "embed_items", "translate_items"]

BATCH = 500  # items at once
T = TypeVar("T")


def check_modality(model: MultimodalModel, name: str) -> None:
    """InputError unless the model has a modality called `name`."""
    if name not in model.modalities:
        raise InputError(f"The model has no modality {name!r}: {suggest(name, model.modalities)}")


def draw(model: MultimodalModel, n: int, seed: int) -> dict[str, Tensor]:
    """`n` joint draws, modality name -> (n, *shape) floats in [0, 1], on the CPU.

    Raises:
        NotDefinedError: for a model that has no distribution to draw from.
    """
    generator = torch.Generator(_device(model)).manual_seed(seed)
    with torch.inference_mode():
        return {name: drawn.float().cpu() for name, drawn in model.generate(n, generator).items()}


def translate_items(
    model: MultimodalModel, inputs: Mapping[str, Tensor], targets: Sequence[str], seed: int | None = None
) -> dict[str, Tensor]:
    """Targets given inputs, name -> (n, *shape) floats in [0, 1], on the CPU.

    Args:
        inputs: of some modalities, (n, *shape) floats in [0, 1] each.
        seed: draws the latent of each item once; None takes its mean.

    Raises:
        InputError: for inputs of different lengths.
    """
    generator = None if seed is None else torch.Generator(_device(model)).manual_seed(seed)
    parts = _by_batches(
        model, inputs, lambda batch: model.translate(batch, targets, seed is not None, generator)
    )
    return {name: torch.cat([part[name] for part in parts]).float().cpu() for name in targets}


def embed_items(model: MultimodalModel, inputs: Mapping[str, Tensor]) -> Tensor:
    """(n, L) on the CPU: the representation of each item, of all modalities in `inputs` together.

    Raises:
        InputError: for inputs of different lengths.
    """
    return torch.cat(_by_batches(model, inputs, model.embed)).float().cpu()


def _by_batches(model: MultimodalModel, inputs: Mapping[str, Tensor], use: Callable[[Batch], T]) -> list[T]:
    """What `use` gives for one batch of the inputs after another."""
    counts = {name: len(items) for name, items in inputs.items()}
    if len(set(counts.values())) != 1:
        said = ", ".join(f"{count} of {name}" for name, count in counts.items())
        raise InputError(f"The inputs belong together item by item, but there are {said}.")
    ordered = {name: inputs[name] for name in model.modalities if name in inputs}
    split = {name: items.split(BATCH) for name, items in ordered.items()}
    with torch.inference_mode():
        return [
            use({name: part.to(_device(model)) for name, part in zip(split, parts, strict=True)})
            for parts in zip(*split.values(), strict=True)
        ]


def _device(model: MultimodalModel) -> torch.device:
    return next(model.parameters()).device
