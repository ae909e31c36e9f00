"""What every registered model must satisfy, as checks that say in words what is wrong (`mmbench check NAME`, and the tests)."""

import io
import math
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, combinations

import torch
from torch import Tensor

from models.base import Loss, Modality, MultimodalModel
from models.registry import ModelEntry

__all__ = ["CHECKS", "THREE", "TWO", "ConformanceError", "check_model"]

TWO = (Modality("a", (1, 12, 12), weight=2.0), Modality("b", (3, 8, 8)))
THREE = (*TWO, Modality("c", (5, 4), likelihood="categorical", weight=3.0))
"""Small stand-ins: a fully connected image, a convolutional image, a text of 5 positions over 4 symbols."""

ITEMS = 7  # in a batch: divisible neither by 2 nor by 3


class ConformanceError(AssertionError):
    """A model breaks the contract; the message says where and what was expected."""


def check_model(entry: ModelEntry) -> Iterator[tuple[str, str | None]]:
    """Run every check with two and three modalities: pairs of what was checked and what is wrong (None where nothing is)."""
    for modalities in (TWO, THREE):
        for name, check in CHECKS.items():
            try:
                check(entry, modalities)
                problem = None
            except ConformanceError as error:
                problem = str(error)
            except Exception as error:  # the author's code may raise anything
                problem = f"raised {type(error).__name__}: {error}"
            yield f"{name}, {len(modalities)} modalities", problem


def _expect(condition: object, sentence: str) -> None:
    if not condition:
        raise ConformanceError(sentence)


def _make(entry: ModelEntry, modalities: Sequence[Modality]) -> tuple[MultimodalModel, dict[str, Tensor]]:
    """A model in evaluation mode with the default settings, and a batch of ITEMS items."""
    torch.manual_seed(0)
    model = entry.model(modalities, entry.settings())
    _expect(isinstance(model, MultimodalModel), f"{type(model).__name__} is not a MultimodalModel: subclass models.base.MultimodalModel.")
    batch = {}
    for m in modalities:
        x = torch.rand(ITEMS, *m.shape)
        batch[m.name] = torch.nn.functional.one_hot(x.argmax(-1), m.shape[-1]).float() if m.likelihood == "categorical" else x
    return model.eval(), batch


def _subsets(modalities: Sequence[Modality]) -> list[tuple[str, ...]]:
    names = [m.name for m in modalities]
    return list(chain.from_iterable(combinations(names, size) for size in range(1, len(names) + 1)))


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _check_images(what: str, images: dict[str, Tensor], names: Sequence[str], modalities: Sequence[Modality], items: int) -> None:
    _expect(set(images) == set(names), f"{what} returned {sorted(images)}: expected exactly {sorted(names)}.")
    for m in modalities:
        if m.name in images:
            x, shape = images[m.name], (items, *m.shape)
            _expect(tuple(x.shape) == shape, f"{what} returned {m.name} of shape {tuple(x.shape)}: expected {shape}.")
            _expect(x.isfinite().all(), f"{what} returned NaN or infinite values of {m.name}.")
            low, high = x.min().item(), x.max().item()
            _expect(low >= 0 and high <= 1, f"{what} returned {m.name} between {low:.3g} and {high:.3g}: expected decoder means in [0, 1].")


def _same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


def check_construction(entry: ModelEntry, modalities: Sequence[Modality]) -> None:
    """It can be built twice with the same weights, and its repr shows modalities and settings."""
    model, _ = _make(entry, modalities)
    again, _ = _make(entry, modalities)
    _expect(_same(model.state_dict(), again.state_dict()), "two models built after the same torch.manual_seed have different weights.")
    for expected in (repr(model.settings), *(m.name for m in modalities)):
        _expect(expected in repr(model), f"repr(model) does not show {expected}: call super().__init__(modalities, settings).")


def check_loss(entry: ModelEntry, modalities: Sequence[Modality]) -> None:
    """Every stage's loss is a finite scalar with scalar terms, at any progress and batch size, repeatable under a seed."""
    model, batch = _make(entry, modalities)
    before = {name: x.clone() for name, x in batch.items()}
    stages = model.stages()
    _expect(stages, "stages() is empty: expected at least one stage.")
    total = sum(stage.share for stage in stages)
    _expect(math.isclose(total, 1), f"the shares of the stages add up to {total:g}: expected 1.")
    for stage in stages:
        for progress in (0.0, 0.5, 1.0):
            for items in (1, 2, ITEMS):
                part = {name: x[:items] for name, x in batch.items()}
                torch.manual_seed(1)
                loss = stage.loss(part, progress)
                _expect(isinstance(loss, Loss), f"the loss of stage {stage.name} returned {type(loss).__name__}: expected models.base.Loss.")
                for name, value in (("total", loss.total), *loss.terms.items()):
                    _expect(value.ndim == 0, f"{name} of the loss has shape {tuple(value.shape)}: expected a scalar.")
                    _expect(value.isfinite(), f"{name} of the loss is {value.item()} at progress {progress}.")
                held = [name for name, value in loss.terms.items() if value.requires_grad]
                _expect(not held, f"the loss terms {held} carry gradients: detach() what is only logged.")
                torch.manual_seed(1)
                again = stage.loss(part, progress).total
                _expect(torch.equal(loss.total, again), "the loss differs between two calls under the same torch.manual_seed.")
    _expect(_same(before, batch), "the loss changed its batch in place.")


def check_gradients(entry: ModelEntry, modalities: Sequence[Modality]) -> None:
    """Over all stages and the whole of training, a gradient other than zero reaches every parameter."""
    model, batch = _make(entry, modalities)
    names = {parameter: name for name, parameter in model.named_parameters()}
    reached: set[str] = set()
    for stage in model.stages():
        for progress in (0.0, 0.5, 1.0):
            model.zero_grad()
            stage.loss(batch, progress).total.backward()
            for parameter in stage.parameters:
                if parameter.grad is not None:
                    _expect(parameter.grad.isfinite().all(), f"the gradient of {names[parameter]} is not finite.")
                    if parameter.grad.any():
                        reached.add(names[parameter])
    missed = sorted(set(names.values()) - reached)
    _expect(not missed, f"no gradient reaches {', '.join(missed)}: use the parameter in the loss of a stage that trains it, or remove it.")


def check_generate(entry: ModelEntry, modalities: Sequence[Modality]) -> None:
    """generate(n, generator): shapes, values in [0, 1], all randomness from the generator."""
    model, _ = _make(entry, modalities)
    names = [m.name for m in modalities]
    with torch.inference_mode():
        state = torch.get_rng_state()
        images = model.generate(5, _generator())
        _expect(torch.equal(state, torch.get_rng_state()), "generate draws from torch's global generator: use the one it is given.")
        _check_images("generate(5)", images, names, modalities, 5)
        _expect(_same(images, model.generate(5, _generator())), "generate is not repeatable under the same generator seed.")
        _expect(not _same(images, model.generate(5, _generator(1))), "generate gives the same images for different generator seeds.")


def check_translate(entry: ModelEntry, modalities: Sequence[Modality]) -> None:
    """translate from every non-empty subset to all modalities: shapes, values, determinism, and items that do not depend on their batch."""
    model, batch = _make(entry, modalities)
    names = [m.name for m in modalities]
    for subset in _subsets(modalities):
        what, inputs = f"translate from {'+'.join(subset)}", {name: batch[name] for name in subset}
        with torch.inference_mode():
            state = torch.get_rng_state()
            mean = model.translate(inputs, names)
            _check_images(what, mean, names, modalities, ITEMS)
            _expect(_same(mean, model.translate(inputs, names)), f"{what} with sample=False is not deterministic.")
            sample = model.translate(inputs, names, sample=True, generator=_generator())
            _check_images(f"{what} with sample=True", sample, names, modalities, ITEMS)
            again = model.translate(inputs, names, sample=True, generator=_generator())
            _expect(_same(sample, again), f"{what} with sample=True is not repeatable under the same generator seed.")
            _expect(torch.equal(state, torch.get_rng_state()), f"{what} draws from torch's global generator: use the one it is given.")
            _check_images(f"{what} to {names[-1]} alone", model.translate(inputs, names[-1:]), names[-1:], modalities, ITEMS)
            alone = model.translate({name: x[:1] for name, x in inputs.items()}, names)
            close = all(torch.allclose(alone[name], mean[name][:1], atol=1e-5) for name in names)
            _expect(close, f"{what}: an item's result depends on the other items of its batch.")


def check_embed(entry: ModelEntry, modalities: Sequence[Modality]) -> None:
    """embed of every non-empty subset: (B, L), finite, deterministic."""
    model, batch = _make(entry, modalities)
    for subset in _subsets(modalities):
        what, inputs = f"embed of {'+'.join(subset)}", {name: batch[name] for name in subset}
        with torch.inference_mode():
            latent = model.embed(inputs)
            _expect(latent.ndim == 2 and len(latent) == ITEMS, f"{what} has shape {tuple(latent.shape)}: expected ({ITEMS}, L).")
            _expect(latent.isfinite().all(), f"{what} has NaN or infinite values.")
            _expect(torch.equal(latent, model.embed(inputs)), f"{what} is not deterministic.")


def check_saving(entry: ModelEntry, modalities: Sequence[Modality]) -> None:
    """Another model that loads the state_dict is the same model."""
    model, batch = _make(entry, modalities)
    stage = model.stages()[0]
    stage.loss(batch, 0.5).total.backward()
    torch.optim.Adam(stage.parameters, lr=0.1).step()
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other, _ = _make(entry, modalities)
    other.load_state_dict(torch.load(file, weights_only=True))
    with torch.inference_mode():
        same = _same(model.generate(3, _generator()), other.generate(3, _generator()))
    _expect(same, "a model that loaded the state_dict generates other images: register what it learns as parameters or buffers.")


CHECKS: dict[str, Callable[[ModelEntry, Sequence[Modality]], None]] = {
    "construction": check_construction,
    "loss": check_loss,
    "gradients": check_gradients,
    "generate": check_generate,
    "translate": check_translate,
    "embed": check_embed,
    "saving": check_saving,
}
