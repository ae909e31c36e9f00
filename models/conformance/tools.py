"""What the checks share: small modalities, models and batches of them, and failures in words."""

import linecache
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, combinations
from pathlib import Path
from types import FrameType

import torch
from torch import Tensor

from models.base import LABELS, Modality, MultimodalModel
from models.errors import error_words
from models.registry import ModelEntry

__all__ = [
    "COUNTED",
    "ITEMS",
    "THREE",
    "TWO",
    "ConformanceError",
    "calling",
    "describe_error",
    "expect",
    "expect_images",
    "expect_tensor",
    "listed",
    "make_example",
    "observing",
    "same",
    "seeded",
    "subsets",
]

TWO = (Modality("a", (1, 12, 12), weight=2.0), Modality("b", (3, 8, 8)))
THREE = (*TWO, Modality("c", (5, 4), likelihood="categorical", weight=3.0, symbols=" abc"))
"""Small stand-ins: a fully connected image, a convolutional image, a text of 5 positions over 4 symbols."""

COUNTED = (TWO[0], Modality("d", (6,), likelihood="multinomial", weight=2.0, symbols="uvwxyz", words=9))
"""An image with counts of 6 symbols."""
CLASSES = 3
"""Of the labels that some models are trained with."""

ITEMS = 7
"""Items in a batch: divisible neither by 2 nor by 3."""


class ConformanceError(AssertionError):
    """A model breaks the contract; the message says where and what was expected."""


def expect(condition: object, sentence: str) -> None:
    """ConformanceError with `sentence` unless `condition` holds."""
    if not condition:
        raise ConformanceError(sentence)


def expect_tensor(what: str, x: object) -> None:
    """ConformanceError unless `x` is a tensor."""
    expect(isinstance(x, Tensor), f"{what} is of type {type(x).__name__}: expected a torch.Tensor.")


def expect_images(
    what: str, images: object, names: Sequence[str], modalities: Sequence[Modality], items: int
) -> None:
    """ConformanceError unless `images`, from the call `what`, are `items` decoder means of all `names`."""
    expect(
        isinstance(images, dict),
        f"{what} returned {type(images).__name__}: expected a dict from modality name to tensor.",
    )
    assert isinstance(images, dict)
    found = listed([*map(str, images)]) if images else "nothing"
    expect(set(images) == set(names), f"{what} returned {found}: expected exactly {listed(names)}.")
    for m in modalities:
        if m.name in images:
            _expect_means(what, images[m.name], m, items)


def _expect_means(what: str, x: Tensor, modality: Modality, items: int) -> None:
    """ConformanceError unless `x` holds `items` decoder means of `modality`."""
    name, shape = modality.name, (items, *modality.shape)
    expect_tensor(f"{name} from {what}", x)
    expect(tuple(x.shape) == shape, f"{what} returned {name} of shape {tuple(x.shape)}: expected {shape}.")
    expect(x.isfinite().all(), f"{what} returned NaN or infinite values of {name}.")
    low, high = x.min().item(), x.max().item()
    expect(
        low >= 0 and high <= 1,
        f"{what} returned {name} between {low:.3g} and {high:.3g}: expected decoder means in [0, 1].",
    )
    sums = x.sum(-1)
    expect(
        not modality.symbolic or torch.allclose(sums, torch.ones_like(sums), atol=1e-4),
        f"{what} returned {name} whose symbols do not add up to 1: "
        f"a {modality.likelihood} modality has a probability for each.",
    )


@contextmanager
def calling(what: str, hint: str = "") -> Iterator[None]:
    """Turn whatever the author's code raises inside into a sentence: which call raised what, and where."""
    try:
        yield
    except ConformanceError:
        raise
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # sys.exit() and the panic of a binding too
        raise ConformanceError(f"{what} raised {describe_error(error)}{hint}") from error


def describe_error(error: BaseException) -> str:
    """Type, message and place of an exception.

    The place is the innermost line outside of torch, and outside of `models` where there is one.
    """
    trace = traceback.walk_tb(error.__traceback__)
    frames = [(frame, line) for frame, line in trace if _package(frame) != "torch"]
    frame, line = ([each for each in frames if _package(each[0]) != "models"] or frames)[-1]
    words = error_words(error)
    code = frame.f_code
    file = Path(code.co_filename)
    if file.parent == Path(__file__).parent:  # the call itself fails: no line of the author's was reached
        return f"{words}."
    source = linecache.getline(code.co_filename, line).strip()
    return f"{words} ({file.name}, line {line}, in {code.co_name}{': ' + source if source else ''})."


def _package(frame: FrameType) -> str:
    """The top-level package that a frame runs in."""
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]


def make_example(
    entry: ModelEntry, modalities: Sequence[Modality]
) -> tuple[MultimodalModel, dict[str, Tensor]]:
    """A model in evaluation mode with the default settings, and a batch of ITEMS items; always the same."""
    torch.manual_seed(0)
    shapes = ", ".join(f"{m.name} of shape {m.shape}" for m in modalities)
    with calling(f"Building it for {len(modalities)} modalities ({shapes})"):
        model = entry.build(modalities, entry.settings(), CLASSES)
    expect(
        isinstance(model, MultimodalModel),
        f"{type(model).__name__} is not a MultimodalModel: subclass models.base.MultimodalModel.",
    )
    batch = {}
    for m in modalities:
        x = torch.rand(ITEMS, *m.shape)
        if m.likelihood == "categorical":
            x = torch.nn.functional.one_hot(x.argmax(-1), m.shape[-1]).float()
        if m.likelihood == "multinomial":
            x = (x * m.words / m.shape[-1]).round() / m.words
        batch[m.name] = x
    if entry.uses_labels:
        batch[LABELS] = torch.arange(ITEMS) % CLASSES
    return model.eval(), batch


def subsets(modalities: Sequence[Modality]) -> list[tuple[str, ...]]:
    """All non-empty subsets of the modalities' names, small ones first."""
    names = [m.name for m in modalities]
    return list(chain.from_iterable(combinations(names, size) for size in range(1, len(names) + 1)))


def observing(subset: Sequence[str], modalities: Sequence[Modality]) -> tuple[str, str]:
    """A subset in words, and the hint for a call that fails on it."""
    if len(subset) == len(modalities):
        return listed(subset), ""
    given = f"{subset[0]} alone" if len(subset) == 1 else listed(subset)
    names = listed([m.name for m in modalities])
    return given, (
        f" The inputs hold only what is observed, here {given}: any non-empty subset of {names} must do."
    )


def listed(names: Sequence[str]) -> str:
    """The names in words: "a, b and c"."""
    return " and ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)


def seeded(seed: int = 0) -> torch.Generator:
    """A generator on the CPU."""
    return torch.Generator().manual_seed(seed)


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    """Whether two dicts hold equal tensors."""
    return all(torch.equal(a[name], b[name]) for name in a)
