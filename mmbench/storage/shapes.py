"""What the JSON files of a run hold, declared: the type of every field that anybody reads.

A shape is a `Leaf`, a list with the shape of every item, `Some` for a list of a few, `Each` for an object
whose keys are names, `Maybe` for what may be null or missing, or a dictionary from keys to shapes. Nobody
reads keys that are not declared.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from mmbench.storage.bounds import LARGEST

__all__ = [
    "CONFIG",
    "DIAGNOSTICS",
    "METRICS",
    "MOST_MODALITIES",
    "OBSERVED",
    "PRECISIONS",
    "SAMPLES",
    "SECONDS",
    "SEEDS",
    "STATES",
    "STEPS",
]
__all__ += ["STATUS", "misfit"]

OBSERVED = "share_observed"  # in the training section of a configuration
PRECISIONS = ("fp32", "bf16")
STEPS = ("eager", "captured", "compiled")  # ways of making a training step
SEEDS = range(2**63)
MOST_MODALITIES = 10
STATES = ("pending", "running", "done", "failed")
_LETTERS = 300  # of a name
_SHOWN = 60  # letters of a wrong value in a message


@dataclass(frozen=True)
class Leaf:
    """A value without parts: what is expected, in words, and whether a value is that."""

    words: str
    fits: Callable[[Any], bool]


@dataclass(frozen=True)
class Each:
    """An object: names of its user's choice, and values of one shape."""

    shape: "Shape"


@dataclass(frozen=True)
class Some:
    """A list of one item at least, and of `most` at most."""

    shape: "Shape"
    most: int


@dataclass(frozen=True)
class Maybe:
    """A value of this shape, null, or nothing."""

    shape: "Shape"


Shape: TypeAlias = Leaf | Each | Some | Maybe | list[Any] | dict[str, Any]


def misfit(value: Any, shape: Shape, name: str = "") -> str:
    """Where and how `value` is not of this shape; empty where it is.

    >>> misfit({"training": {"steps": "ten"}}, {"training": {"steps": WHOLE}})
    "'training.steps' is 'ten', expected a whole number"
    """
    if isinstance(shape, Maybe):
        return "" if value is None else misfit(value, shape.shape, name)
    if isinstance(shape, Leaf):
        return "" if shape.fits(value) else _unexpected(name, value, shape.words)
    if isinstance(shape, Some):
        if not (isinstance(value, list) and 0 < len(value) <= shape.most):
            return _unexpected(name, value, f"a list of 1 to {shape.most}")
        return misfit(value, [shape.shape], name)
    if isinstance(shape, list):
        if not isinstance(value, list):
            return _unexpected(name, value, "a list")
        parts = ((f"{name}[{index}]", each, shape[0]) for index, each in enumerate(value))
    elif not isinstance(value, dict):
        return _unexpected(name, value, "an object")
    elif isinstance(shape, Each):
        if long := next((key for key in value if len(key) > _LETTERS), ""):
            return _unexpected(name, long, f"names of at most {_LETTERS} letters")
        parts = ((f"{name}.{key}".lstrip("."), each, shape.shape) for key, each in value.items())
    else:
        parts = ((f"{name}.{key}".lstrip("."), value.get(key), inner) for key, inner in shape.items())
    return next((found for where, each, inner in parts if (found := misfit(each, inner, where))), "")


def _unexpected(name: str, value: Any, words: str) -> str:
    """A value that is not what its place is for, cut where it is long."""
    shown = repr(value) if not isinstance(value, int) or abs(value) < 10**_SHOWN else "a huge number"
    shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"
    return f"{name!r} is {shown}, expected {words}"


def _is_whole(value: Any) -> bool:
    return type(value) is int and value in SEEDS


def _is_number(value: Any) -> bool:
    """Whether it is a float that is a result, or a whole number that a float holds."""
    return (type(value) is float and abs(value) <= LARGEST) or (type(value) is int and abs(value) <= 2**53)


def _one_of(*words: str) -> Leaf:
    return Leaf(f"one of {', '.join(words)}", lambda value: isinstance(value, str) and value in words)


def _at_most(most: int) -> Leaf:
    return Leaf(f"a whole number from 1 to {most:,}", lambda value: type(value) is int and 1 <= value <= most)


TEXT = Leaf("a text", lambda value: isinstance(value, str))
NAME = Leaf(
    f"a text of 1 to {_LETTERS} letters", lambda value: isinstance(value, str) and 0 < len(value) <= _LETTERS
)
WORD = Leaf(
    f"a text of 1 to {_LETTERS} letters in one line", lambda value: NAME.fits(value) and value.isprintable()
)
LABEL = Leaf(f"a text of at most {_LETTERS} letters", lambda value: value == "" or NAME.fits(value))
TRUTH = Leaf("true or false", lambda value: isinstance(value, bool))
WHOLE = Leaf("a whole number", _is_whole)
SEED = Leaf("a whole number from 0 to 2^63 - 1", _is_whole)
NUMBER = Leaf(f"a number up to {LARGEST:g}", _is_number)
DURATION = Leaf("a number from 0 on", lambda value: _is_number(value) and value >= 0)
CLASS = Leaf("a class below 10,000", lambda value: type(value) is int and 0 <= value < 10_000)
LIST = Leaf("a list", lambda value: isinstance(value, list))
OBJECT = Leaf("an object", lambda value: isinstance(value, dict))

CONFIG: Shape = {
    **dict.fromkeys(("model", "dataset", "preset", "hash"), WORD),
    "precision": _one_of(*PRECISIONS),
    "seed": SEED,
    "command": TEXT,
    "title": Maybe(LABEL),
    "label": Maybe(LABEL),
    "named": Maybe(LABEL),
    "code": Maybe(TEXT),
    "settings": OBJECT,
    "training": {"steps": Maybe(WHOLE), OBSERVED: Maybe(Each(NUMBER))},
    "protocol": OBJECT,
    "data": {
        "settings": Maybe(OBJECT),
        "notes": Maybe([TEXT]),
        "counts": Maybe(OBJECT),
        "modalities": Maybe(OBJECT),
    },
    "modalities": Some(
        {
            "name": NAME,
            "shape": Maybe(Some(_at_most(2**24), most=4)),
            "likelihood": Maybe(NAME),
            "weight": Maybe(NUMBER),
            **dict.fromkeys(("symbols", "networks"), Maybe(TEXT)),
            "words": Maybe(WHOLE),
            "spread": Maybe(NUMBER),
            **dict.fromkeys(("polyline", "sound"), Maybe(TRUTH)),
            **dict.fromkeys(("low", "high"), Maybe([NUMBER])),
        },
        most=MOST_MODALITIES,
    ),
    "classes": Maybe([NAME]),
    "environment": Maybe(
        {
            "threads": Maybe(_at_most(4096)),
            **dict.fromkeys(("code", "model_code", "precision"), Maybe(TEXT)),
        }
    ),
}
SECONDS = ("train_seconds", "look_seconds", "compile_seconds", "evaluate_seconds")  # what a run took
PEAKS = ("peak_host_mib", "peak_device_mib")  # of memory
STATUS: Shape = {
    "state": _one_of(*STATES),
    "hash": Maybe(WORD),
    "seed": Maybe(SEED),
    **dict.fromkeys(("step", "kept_step"), Maybe(WHOLE)),
    **dict.fromkeys((*SECONDS, "steps_per_second", *PEAKS), Maybe(DURATION)),
    "error": Maybe(TEXT),
    **dict.fromkeys(("traceback", "remark"), Maybe(TEXT)),
}
METRICS: Shape = {
    "hash": Maybe(WORD),
    "seed": Maybe(SEED),
    "metrics": Each(Maybe(NUMBER)),
    "reasons": Each({"kind": TEXT, "why": TEXT}),
    "references": Each(Maybe(NUMBER)),
    **dict.fromkeys(("code", "files"), Maybe(Each(TEXT))),
}
_SIDE = _at_most(2**14)  # pixels: WebP has no more
_TILES: Shape = {
    "text": Maybe(LIST),
    "file": Maybe(NAME),
    **dict.fromkeys(("count", "columns"), Maybe(_at_most(2**20))),
    "shape": Maybe([_SIDE]),
}
SAMPLES: Shape = {
    "joint": Each(_TILES),
    "cross": [
        {"source": NAME, "target": NAME, "labels": [CLASS], "conditions": _TILES, "outputs": _TILES},
    ],
    "found": Maybe(
        [
            {
                **{"source": NAME, "target": NAME, "labels": [CLASS], "classes": [CLASS]},
                **{"queries": _TILES, "hits": _TILES},
            }
        ]
    ),
}
_POINTS: Shape = {"x": [NUMBER], "y": [NUMBER], "label": [CLASS]}
DIAGNOSTICS: Shape = {
    "confusion": Each([[NUMBER]]),
    "latent": Maybe({"explained": [NUMBER], "points": Each(_POINTS)}),
    "recall": Maybe(Each([NUMBER])),
}
