"""What every registered model must satisfy, as checks that say in words what is wrong (`mmbench check NAME`, and the tests)."""

import io
import linecache
import math
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, combinations
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor

from models.base import Loss, Modality, MultimodalModel, NotDefinedError, Stage
from models.registry import ModelEntry

__all__ = ["CHECKS", "THREE", "TWO", "ConformanceError", "check_model"]

TWO = (Modality("a", (1, 12, 12), weight=2.0), Modality("b", (3, 8, 8)))
THREE = (*TWO, Modality("c", (5, 4), likelihood="categorical", weight=3.0, symbols=" abc"))
"""Small stand-ins: a fully connected image, a convolutional image, a text of 5 positions over 4 symbols."""

ITEMS = 7  # in a batch: divisible neither by 2 nor by 3
PROGRESS = (0.0, 0.5, 1.0)  # of training, where a loss is looked at


class ConformanceError(AssertionError):
    """A model breaks the contract; the message says where and what was expected."""


def check_model(entry: ModelEntry) -> Iterator[tuple[str, str | None]]:
    """Run every check with two and three modalities: pairs of what was checked and what is wrong (None where nothing is).

    Three are left to models that take so many. Where a model cannot be built, its other checks are left out.
    """
    passed_with_two = set()
    for modalities in (TWO, THREE):
        if not entry.takes(len(modalities)):
            continue
        for name, check in CHECKS.items():
            if check is check_incomplete and not entry.incomplete:
                continue
            try:
                check(entry, modalities)
                problem = None
            except ConformanceError as error:
                problem = str(error)
            except (
                Exception
            ) as error:  # what a model returns may break a check in ways that it does not foresee
                problem = f"The check broke down on what the model returned: {_described(error)}"
            if modalities is TWO and not problem:
                passed_with_two.add(name)
            if modalities is THREE and problem and name in passed_with_two:
                problem += " With two modalities all is well: treat any number of them alike, in loops over self.modalities."
            yield f"{name}, {len(modalities)} modalities", problem
            if problem and name == "construction":
                break


def _expect(condition: object, sentence: str) -> None:
    if not condition:
        raise ConformanceError(sentence)


@contextmanager
def _calling(what: str, hint: str = "") -> Iterator[None]:
    """Turns whatever the author's code raises into a sentence: which call raised what, where."""
    try:
        yield
    except ConformanceError:
        raise
    except Exception as error:
        raise ConformanceError(f"{what} raised {_described(error)}{hint}") from error


def _described(error: Exception) -> str:
    """Type, message and place of an exception: the innermost line outside of torch, and outside of `models` where there is one."""
    frames = [
        (frame, line) for frame, line in traceback.walk_tb(error.__traceback__) if _package(frame) != "torch"
    ]
    frame, line = ([each for each in frames if _package(each[0]) != "models"] or frames)[-1]
    words = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    code = frame.f_code
    if code.co_filename == __file__:  # the call itself fails: no line of the author's was reached
        return f"{words}."
    source = linecache.getline(code.co_filename, line).strip()
    return f"{words} ({Path(code.co_filename).name}, line {line}, in {code.co_name}{': ' + source if source else ''})."


def _package(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]


def _make(entry: ModelEntry, modalities: Sequence[Modality]) -> tuple[MultimodalModel, dict[str, Tensor]]:
    """A model in evaluation mode with the default settings, and a batch of ITEMS items."""
    torch.manual_seed(0)
    described = ", ".join(f"{m.name} of shape {m.shape}" for m in modalities)
    with _calling(f"Building it for {len(modalities)} modalities ({described})"):
        model = entry.model(modalities, entry.settings())
    _expect(
        isinstance(model, MultimodalModel),
        f"{type(model).__name__} is not a MultimodalModel: subclass models.base.MultimodalModel.",
    )
    batch = {}
    for m in modalities:
        x = torch.rand(ITEMS, *m.shape)
        batch[m.name] = (
            torch.nn.functional.one_hot(x.argmax(-1), m.shape[-1]).float()
            if m.likelihood == "categorical"
            else x
        )
    return model.eval(), batch


def _subsets(modalities: Sequence[Modality]) -> list[tuple[str, ...]]:
    names = [m.name for m in modalities]
    return list(chain.from_iterable(combinations(names, size) for size in range(1, len(names) + 1)))


def _observing(subset: Sequence[str], modalities: Sequence[Modality]) -> tuple[str, str]:
    """A subset in words, and the hint for a call that fails on it."""
    if len(subset) == len(modalities):
        return _list(subset), ""
    given = f"{subset[0]} alone" if len(subset) == 1 else _list(subset)
    return (
        given,
        f" The inputs hold only what is observed, here {given}: any non-empty subset of {_list([m.name for m in modalities])} must do.",
    )


def _list(names: Sequence[str]) -> str:
    return " and ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _is_tensor(what: str, x: object) -> None:
    _expect(isinstance(x, Tensor), f"{what} is of type {type(x).__name__}: expected a torch.Tensor.")


def _check_images(
    what: str, images: object, names: Sequence[str], modalities: Sequence[Modality], items: int
) -> None:
    _expect(
        isinstance(images, dict),
        f"{what} returned {type(images).__name__}: expected a dict from modality name to tensor.",
    )
    assert isinstance(images, dict)
    _expect(
        set(images) == set(names),
        f"{what} returned {_list([*map(str, images)]) if images else 'nothing'}: expected exactly {_list(names)}.",
    )
    for m in modalities:
        if m.name in images:
            x, shape = images[m.name], (items, *m.shape)
            _is_tensor(f"{m.name} from {what}", x)
            _expect(
                tuple(x.shape) == shape,
                f"{what} returned {m.name} of shape {tuple(x.shape)}: expected {shape}.",
            )
            _expect(x.isfinite().all(), f"{what} returned NaN or infinite values of {m.name}.")
            low, high = x.min().item(), x.max().item()
            _expect(
                low >= 0 and high <= 1,
                f"{what} returned {m.name} between {low:.3g} and {high:.3g}: expected decoder means in [0, 1].",
            )
            sums = x.sum(-1)
            proper = m.likelihood != "categorical" or torch.allclose(sums, torch.ones_like(sums), atol=1e-4)
            _expect(
                proper,
                f"{what} returned {m.name} whose symbols do not add up to 1: a categorical modality has a probability for each.",
            )


def _same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


def _stages(model: MultimodalModel) -> tuple[Stage, ...]:
    """The model's stages, checked."""
    with _calling("stages()"):
        stages = model.stages()
    _expect(
        isinstance(stages, tuple) and stages,
        "stages() returned no tuple of stages: expected at least one models.base.Stage.",
    )
    own = set(model.parameters())
    for stage in stages:
        _expect(
            isinstance(stage, Stage), f"stages() holds a {type(stage).__name__}: expected models.base.Stage."
        )
        good = isinstance(stage.parameters, tuple) and stage.parameters and own.issuperset(stage.parameters)
        _expect(
            good,
            f"The parameters of stage {stage.name} are not a tuple of parameters of the model: write tuple(self.part.parameters()).",
        )
    total = sum(stage.share for stage in stages)
    _expect(math.isclose(total, 1), f"The shares of the stages add up to {total:g}: expected 1.")
    return stages


def _loss(stage: Stage, batch: dict[str, Tensor], progress: float, subset: str = "") -> Loss:
    """The loss of a stage under a fixed seed, checked to be finite scalars; of a batch that lacks modalities, `subset` says which it has."""
    items = len(next(iter(batch.values())))
    what = f"The loss of stage {stage.name} on {items} item{'s' * (items > 1)}{subset} at progress {progress}"
    torch.manual_seed(1)
    with _calling(
        what, " The model is registered with incomplete=True: a batch may lack modalities." if subset else ""
    ):
        loss = stage.loss(batch, progress)
    _expect(isinstance(loss, Loss), f"{what} returned {type(loss).__name__}: expected models.base.Loss.")
    for name, value in (("total", loss.total), *loss.terms.items()):
        _is_tensor(f"{what}: {name}", value)
        _expect(
            value.ndim == 0,
            f"{what}: {name} has shape {tuple(value.shape)}: expected a scalar, the mean over the batch.",
        )
        _expect(value.isfinite(), f"{what}: {name} is {value.item()}.")
    return loss


def check_construction(entry: ModelEntry, modalities: Sequence[Modality]) -> None:
    """It can be built twice with the same weights, and its repr shows modalities and settings."""
    model, _ = _make(entry, modalities)
    again, _ = _make(entry, modalities)
    _expect(
        _same(model.state_dict(), again.state_dict()),
        "Two models built after the same torch.manual_seed have different weights.",
    )
    for expected in (repr(model.settings), *(m.name for m in modalities)):
        _expect(
            expected in repr(model),
            f"repr(model) does not show {expected}: call super().__init__(modalities, settings).",
        )


def check_loss(entry: ModelEntry, modalities: Sequence[Modality]) -> None:
    """Every stage's loss is a finite scalar with scalar terms, at any progress and batch size, repeatable under a seed."""
    model, batch = _make(entry, modalities)
    before = {name: x.clone() for name, x in batch.items()}
    for stage in _stages(model):
        for progress in PROGRESS:
            for items in (1, 2, ITEMS):
                part = {name: x[:items] for name, x in batch.items()}
                loss = _loss(stage, part, progress)
                held = [name for name, value in loss.terms.items() if value.requires_grad]
                _expect(not held, f"The loss terms {held} carry gradients: detach() what is only logged.")
                _expect(_same(before, batch), "The loss changed its batch in place: work on new tensors.")
                repeated = torch.equal(loss.total, _loss(stage, part, progress).total)
                _expect(
                    repeated,
                    "The loss differs between two calls under the same torch.manual_seed: take all noise from torch's global generator.",
                )


def check_gradients(entry: ModelEntry, modalities: Sequence[Modality]) -> None:
    """Over all stages and the whole of training, a gradient other than zero reaches every parameter."""
    model, batch = _make(entry, modalities)
    names = {parameter: name for name, parameter in model.named_parameters()}
    reached: set[str] = set()
    trained: set[str] = set()
    for stage in _stages(model):
        trained |= {names[parameter] for parameter in stage.parameters}
        for progress in PROGRESS:
            model.zero_grad()
            total = _loss(stage, batch, progress).total
            _expect(
                total.requires_grad,
                f"The loss of stage {stage.name} has no gradient: no detach(), item() or no_grad() on the way to its total.",
            )
            with _calling(f"The gradient of the loss of stage {stage.name}"):
                total.backward()
            for parameter in stage.parameters:
                if parameter.grad is not None:
                    _expect(
                        parameter.grad.isfinite().all(),
                        f"The gradient of {names[parameter]} is not finite at progress {progress}.",
                    )
                    if parameter.grad.any():
                        reached.add(names[parameter])
    idle = sorted(set(names.values()) - trained)
    _expect(
        not idle,
        f"No stage trains {', '.join(idle)}: name it among the parameters of a stage, or make it a buffer.",
    )
    missed = sorted(trained - reached)
    _expect(
        not missed,
        f"No gradient reaches {', '.join(missed)}: use the parameter in the loss of a stage that trains it, or remove it.",
    )


def _generate(model: MultimodalModel, n: int, seed: int = 0) -> dict[str, Tensor] | None:
    """`n` joint draws, None in a model that says that it has none."""
    what = f"generate({n}, generator)"
    with _calling(what):
        try:
            return model.generate(n, _generator(seed))
        except NotDefinedError as error:
            _expect(
                str(error).strip(),
                f"{what} raised NotDefinedError without a message: say in a sentence what the model lacks.",
            )
            return None


def check_incomplete(entry: ModelEntry, modalities: Sequence[Modality]) -> None:
    """A model registered with `incomplete` has a loss of every subset of modalities, which trains parts of these alone and has no term of its own."""
    model, batch = _make(entry, modalities)
    names = {parameter: set(name.split(".")) for name, parameter in model.named_parameters()}
    for stage in _stages(model):
        whole = set().union(*(_loss(stage, batch, progress).terms for progress in PROGRESS))
        parts = set().union(*(names[parameter] for parameter in stage.parameters))
        for subset in _subsets(modalities)[:-1]:
            given, _ = _observing(subset, modalities)
            what = f"The loss of stage {stage.name} on a batch of {given}"
            trained: set[str] = set()
            for progress in PROGRESS:
                loss = _loss(stage, {name: batch[name] for name in subset}, progress, f" of {given}")
                _expect(loss.total.requires_grad, f"{what} has no gradient.")
                extra = sorted(set(loss.terms) - whole)
                _expect(not extra, f"{what} has terms that a complete batch has not: {', '.join(extra)}.")
                model.zero_grad()
                loss.total.backward()
                trained = trained.union(
                    *(
                        found
                        for parameter, found in names.items()
                        if parameter.grad is not None and parameter.grad.any()
                    )
                )
            present, absent = (
                [m.name for m in modalities if (m.name in subset) == there] for there in (True, False)
            )
            touched = [name for name in absent if name in trained]
            _expect(not touched, f"{what} trains parameters of {', '.join(touched)}, which it does not hold.")
            idle = [name for name in present if name in parts - trained]
            _expect(
                not idle,
                f"{what} trains no parameter of {', '.join(idle)}: let it go over all modalities that the batch holds.",
            )


def check_generate(entry: ModelEntry, modalities: Sequence[Modality]) -> None:
    """generate(n, generator): shapes, values in [0, 1], all randomness from the generator; or a NotDefinedError with a sentence."""
    model, _ = _make(entry, modalities)
    with torch.inference_mode():
        state = torch.get_rng_state()
        images = _generate(model, 5)
        _expect(
            torch.equal(state, torch.get_rng_state()),
            "generate draws from torch's global generator: use the one it is given.",
        )
        if images is None:
            return
        _check_images("generate(5, generator)", images, [m.name for m in modalities], modalities, 5)
        again, other = _generate(model, 5), _generate(model, 5, seed=1)
        _expect(
            again is not None and _same(images, again),
            "generate is not deterministic: two calls with generators of one seed differ.",
        )
        _expect(
            other is not None and not _same(images, other),
            "generate gives the same images for different generator seeds.",
        )


def _translate(
    model: MultimodalModel,
    modalities: Sequence[Modality],
    inputs: dict[str, Tensor],
    targets: Sequence[str],
    **how: Any,
) -> dict[str, Tensor]:
    given, hint = _observing(list(inputs), modalities)
    what = f"translate from {given} to {_list(targets)}{' with sample=True' * bool(how)}"
    with _calling(what, hint):
        images = model.translate(inputs, targets, **how)
    _check_images(what, images, targets, modalities, len(next(iter(inputs.values()))))
    return images


def check_translate(entry: ModelEntry, modalities: Sequence[Modality]) -> None:
    """translate from every non-empty subset to all modalities: shapes, values, determinism, and items that do not depend on their batch."""
    model, batch = _make(entry, modalities)
    names = [m.name for m in modalities]
    for subset in _subsets(modalities):
        inputs, what = (
            {name: batch[name] for name in subset},
            f"translate from {_observing(subset, modalities)[0]}",
        )
        with torch.inference_mode():
            state = torch.get_rng_state()
            mean, again = (_translate(model, modalities, inputs, names) for _ in range(2))
            _expect(
                _same(mean, again),
                f"{what} with sample=False is not deterministic: two calls on the same inputs differ.",
            )
            sample, again = (
                _translate(model, modalities, inputs, names, sample=True, generator=_generator())
                for _ in range(2)
            )
            _expect(
                _same(sample, again),
                f"{what} with sample=True is not repeatable under the same generator seed.",
            )
            _expect(
                torch.equal(state, torch.get_rng_state()),
                f"{what} draws from torch's global generator: use the one it is given.",
            )
            _translate(model, modalities, inputs, names[-1:])
            alone = _translate(model, modalities, {name: x[:1] for name, x in inputs.items()}, names)
            close = all(torch.allclose(alone[name], mean[name][:1], atol=1e-5) for name in names)
            _expect(close, f"{what}: an item's result depends on the other items of its batch.")


def check_embed(entry: ModelEntry, modalities: Sequence[Modality]) -> None:
    """embed of every non-empty subset: (B, L), finite, deterministic."""
    model, batch = _make(entry, modalities)
    for subset in _subsets(modalities):
        given, hint = _observing(subset, modalities)
        what, inputs = f"embed of {given}", {name: batch[name] for name in subset}
        with torch.inference_mode():
            with _calling(what, hint):
                latent, again = model.embed(inputs), model.embed(inputs)
            _is_tensor(what, latent)
            _expect(
                latent.ndim == 2 and len(latent) == ITEMS,
                f"{what} has shape {tuple(latent.shape)}: expected ({ITEMS}, L).",
            )
            _expect(latent.isfinite().all(), f"{what} has NaN or infinite values.")
            _expect(
                torch.equal(latent, again),
                f"{what} is not deterministic: two calls on the same inputs differ.",
            )


def check_log_weights(entry: ModelEntry, modalities: Sequence[Modality]) -> None:
    """log_weights(batch, K, generator): (K, B), finite, all randomness from the generator; or a NotDefinedError with a sentence."""
    model, batch = _make(entry, modalities)
    samples = 3
    what = f"log_weights(batch, {samples}, generator)"
    with torch.inference_mode(), _calling(what):
        state = torch.get_rng_state()
        try:
            weights, again = (model.log_weights(batch, samples, _generator()) for _ in range(2))
        except NotDefinedError as error:
            _expect(
                str(error).strip(),
                f"{what} raised NotDefinedError without a message: say in a sentence what the model lacks.",
            )
            return
        _is_tensor(what, weights)
        shape = (samples, ITEMS)
        _expect(
            weights.shape == shape,
            f"{what} has shape {tuple(weights.shape)}: expected {shape}, a row per draw and a column per item.",
        )
        _expect(weights.isfinite().all(), f"{what} has NaN or infinite values.")
        _expect(torch.equal(weights, again), f"{what} is not repeatable under the same generator seed.")
        _expect(
            torch.equal(state, torch.get_rng_state()),
            f"{what} draws from torch's global generator: use the one it is given.",
        )


def check_saving(entry: ModelEntry, modalities: Sequence[Modality]) -> None:
    """Another model that loads the state_dict is the same model."""
    model, batch = _make(entry, modalities)
    stage = _stages(model)[0]
    total = _loss(stage, batch, 0.5).total
    if total.requires_grad:  # what is wrong otherwise, the check of the gradients says
        total.backward()
        torch.optim.Adam(stage.parameters, lr=0.1).step()
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other, _ = _make(entry, modalities)
    with _calling("load_state_dict of a model's own state_dict"):
        other.load_state_dict(torch.load(file, weights_only=True))
    names = [m.name for m in modalities]
    drawn, translated = [], []
    for each in (model, other):
        torch.manual_seed(2)  # noise where none belongs is for the other checks to report
        with torch.inference_mode():
            drawn.append(_generate(each, 3) or {})  # nothing to compare in a model without a prior
            translated.append(_translate(each, modalities, batch, names))
    same = _same(*drawn) and _same(*translated)
    _expect(
        same,
        "A model that loaded the state_dict generates or translates to other images: register what it learns as parameters or buffers.",
    )


CHECKS: dict[str, Callable[[ModelEntry, Sequence[Modality]], None]] = {
    "construction": check_construction,
    "loss": check_loss,
    "gradients": check_gradients,
    "incomplete": check_incomplete,
    "generate": check_generate,
    "translate": check_translate,
    "embed": check_embed,
    "log_weights": check_log_weights,
    "saving": check_saving,
}
