"""Checks of what a trained model is asked for: draws, translations, embeddings, log-weights, saving."""

import io
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from models.base import Modality, MultimodalModel, NotDefinedError
from models.conformance.tools import (
    ITEMS,
    calling,
    expect,
    expect_images,
    expect_tensor,
    listed,
    make_example,
    observing,
    same,
    seeded,
    subsets,
)
from models.conformance.training import loss_of, stages_of
from models.registry import ModelEntry

__all__ = [
    "check_construction",
    "check_embed",
    "check_generate",
    "check_log_weights",
    "check_saving",
    "check_translate",
]


def check_construction(entry: ModelEntry, modalities: Sequence[Modality]) -> None:
    """It can be built twice with the same weights, and its repr shows modalities and settings."""
    model, _ = make_example(entry, modalities)
    again, _ = make_example(entry, modalities)
    expect(
        same(model.state_dict(), again.state_dict()),
        "Two models built after the same torch.manual_seed have different weights.",
    )
    for expected in (repr(model.settings), *(m.name for m in modalities)):
        expect(
            expected in repr(model),
            f"repr(model) does not show {expected}: call super().__init__(modalities, settings).",
        )


def check_generate(entry: ModelEntry, modalities: Sequence[Modality]) -> None:
    """generate(n, generator): shapes, values in [0, 1], all randomness from the generator.

    Or a NotDefinedError with a sentence.
    """
    model, _ = make_example(entry, modalities)
    with torch.inference_mode():
        state = torch.get_rng_state()
        images = _generate(model, 5)
        _expect_untouched("generate", state)
        if images is None:
            return
        expect_images("generate(5, generator)", images, [m.name for m in modalities], modalities, 5)
        again, other = _generate(model, 5), _generate(model, 5, seed=1)
        expect(
            again is not None and same(images, again),
            "generate is not deterministic: two calls with generators of one seed differ.",
        )
        expect(
            other is not None and not same(images, other),
            "generate gives the same images for different generator seeds.",
        )


def check_translate(entry: ModelEntry, modalities: Sequence[Modality]) -> None:
    """translate from every non-empty subset to all modalities.

    Shapes, values, determinism, and items that do not depend on their batch. Or, in a model that says that it
    generates nothing, a NotDefinedError with a sentence.
    """
    model, batch = make_example(entry, modalities)
    names = [m.name for m in modalities]
    if not model.generates:
        _expect_nothing(model, {name: batch[name] for name in names}, names)
        return
    for subset in subsets(modalities):
        inputs = {name: batch[name] for name in subset}
        what = f"translate from {observing(subset, modalities)[0]}"
        with torch.inference_mode():
            state = torch.get_rng_state()
            mean, again = (_translate(model, modalities, inputs, names) for _ in range(2))
            expect(
                same(mean, again),
                f"{what} with sample=False is not deterministic: two calls on the same inputs differ.",
            )
            draw, again = (
                _translate(model, modalities, inputs, names, sample=True, generator=seeded())
                for _ in range(2)
            )
            expect(
                same(draw, again),
                f"{what} with sample=True is not repeatable under the same generator seed.",
            )
            _expect_untouched(what, state)
            _translate(model, modalities, inputs, names[-1:])
            alone = _translate(model, modalities, {name: x[:1] for name, x in inputs.items()}, names)
            expect(
                all(torch.allclose(alone[name], mean[name][:1], atol=1e-5) for name in names),
                f"{what}: an item's result depends on the other items of its batch.",
            )


def check_embed(entry: ModelEntry, modalities: Sequence[Modality]) -> None:
    """embed of every non-empty subset: (B, L), finite, deterministic; of one L in a common space."""
    model, batch = make_example(entry, modalities)
    sizes: dict[str, int] = {}
    for subset in subsets(modalities):
        given, hint = observing(subset, modalities)
        what, inputs = f"embed of {given}", {name: batch[name] for name in subset}
        with torch.inference_mode():
            with calling(what, hint):
                latent, again = model.embed(inputs), model.embed(inputs)
            expect_tensor(what, latent)
            expect(
                latent.ndim == 2 and len(latent) == ITEMS,
                f"{what} has shape {tuple(latent.shape)}: expected ({ITEMS}, L).",
            )
            expect(latent.isfinite().all(), f"{what} has NaN or infinite values.")
            expect(
                torch.equal(latent, again),
                f"{what} is not deterministic: two calls on the same inputs differ.",
            )
            sizes[given] = latent.shape[1]
    expect(
        not model.common_space or len(set(sizes.values())) == 1,
        f"embed gives {listed([f'{size} dimensions of {given}' for given, size in sizes.items()])}: expected "
        "the same number of all, as the model says that it has a common_space.",
    )


def check_log_weights(entry: ModelEntry, modalities: Sequence[Modality]) -> None:
    """log_weights(batch, K, generator): (K, B), finite, all randomness from the generator.

    Or a NotDefinedError with a sentence.
    """
    model, batch = make_example(entry, modalities)
    samples = 3
    shape = (samples, ITEMS)
    what = f"log_weights(batch, {samples}, generator)"
    with torch.inference_mode(), calling(what):
        state = torch.get_rng_state()
        try:
            weights, again = (model.log_weights(batch, samples, seeded()) for _ in range(2))
        except NotDefinedError as error:
            _expect_sentence(what, error)
            return
        expect_tensor(what, weights)
        expect(
            weights.shape == shape,
            f"{what} has shape {tuple(weights.shape)}: expected {shape}, "
            "a row per draw and a column per item.",
        )
        expect(weights.isfinite().all(), f"{what} has NaN or infinite values.")
        expect(torch.equal(weights, again), f"{what} is not repeatable under the same generator seed.")
        _expect_untouched(what, state)


def check_saving(entry: ModelEntry, modalities: Sequence[Modality]) -> None:
    """Another model that loads the state_dict is the same model."""
    model, batch = make_example(entry, modalities)
    stage = stages_of(model)[0]
    total = loss_of(stage, batch, 0.5).total
    if total.requires_grad:  # what is wrong otherwise, the check of the gradients says
        total.backward()
        torch.optim.Adam(stage.parameters, lr=0.01).step()
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other, _ = make_example(entry, modalities)
    with calling("load_state_dict of a model's own state_dict"):
        other.load_state_dict(torch.load(file, weights_only=True))
    names = [m.name for m in modalities]
    inputs = {name: batch[name] for name in names}
    drawn, translated, embedded = [], [], []
    for each in (model, other):
        torch.manual_seed(2)  # noise where none belongs is for the other checks to report
        with torch.inference_mode():
            drawn.append(_generate(each, 3) or {})  # nothing to compare in a model without a prior
            translated.append(_translate(each, modalities, inputs, names) if each.generates else {})
            with calling("embed of all modalities"):
                embedded.append(each.embed(inputs))
    expect(
        same(*drawn) and same(*translated) and torch.equal(*embedded),
        "A model that loaded the state_dict generates, translates or embeds otherwise: "
        "register what it learns as parameters or buffers.",
    )


def _generate(model: MultimodalModel, n: int, seed: int = 0) -> dict[str, Tensor] | None:
    """`n` joint draws, None in a model that says that it has none."""
    what = f"generate({n}, generator)"
    with calling(what):
        try:
            return model.generate(n, seeded(seed))
        except NotDefinedError as error:
            _expect_sentence(what, error)
            return None


def _translate(
    model: MultimodalModel,
    modalities: Sequence[Modality],
    inputs: dict[str, Tensor],
    targets: Sequence[str],
    **how: Any,
) -> dict[str, Tensor]:
    """The targets given the inputs, checked; `how` are further arguments of the model's translate."""
    given, hint = observing(list(inputs), modalities)
    what = f"translate from {given} to {listed(targets)}{' with sample=True' * bool(how)}"
    with calling(what, hint):
        images = model.translate(inputs, targets, **how)
    expect_images(what, images, targets, modalities, len(next(iter(inputs.values()))))
    return images


def _expect_nothing(model: MultimodalModel, batch: dict[str, Tensor], names: Sequence[str]) -> None:
    """ConformanceError unless a model that generates nothing says so when it is asked to."""
    calls: dict[str, Callable[[], object]] = {
        "generate": lambda: model.generate(5, seeded()),
        "translate": lambda: model.translate(batch, names),
    }
    for what, call in calls.items():
        with calling(what):
            try:
                call()
            except NotDefinedError as error:
                _expect_sentence(what, error)
            else:
                expect(False, f"{what} gave something: expected NotDefinedError, as generates is False.")


def _expect_untouched(what: str, state: Tensor) -> None:
    """ConformanceError unless torch's global generator is still in `state`."""
    expect(
        torch.equal(state, torch.get_rng_state()),
        f"{what} draws from torch's global generator: use the one it is given.",
    )


def _expect_sentence(what: str, error: NotDefinedError) -> None:
    """ConformanceError for an error without a message."""
    expect(
        str(error).strip(),
        f"{what} raised NotDefinedError without a message: say in a sentence what the model lacks.",
    )
