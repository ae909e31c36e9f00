"""Settings: frozen dataclasses whose fields are typed, documented, bounded, and refused when unknown.

>>> @dataclass(frozen=True)
... class MySettings:
...     beta: float = setting(1.0, "weight of the KL term", low=0.0)
>>> resolve(MySettings, {"beta": "2.5"}, owner="my-model")  # strings of a command line are parsed
MySettings(beta=2.5)
"""

import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from typing import Any, TypeVar, get_type_hints

from models.errors import InputError, suggest

__all__ = ["check_class", "decisive", "describe", "resolve", "search_space", "setting"]

T = TypeVar("T")
_WORDS = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "a word"}
_BOOLS = {"true": True, "false": False, "yes": True, "no": False, "1": True, "0": False}


def setting(
    default: Any,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    search: tuple[object, ...] = (),
    late: bool = False,
) -> Any:
    """A dataclass field with its documentation and the values that it admits (bounds inclusive).

    `search` is what `mmbench tune` chooses from: of a number the least and the largest value, both positive,
    between which it draws log-uniformly; of anything else the values themselves. Settings without it keep
    their defaults there.

    A `late` setting came to a model that had runs already: at its default it is no part of their
    configuration, so that runs and checkpoints from before it stay those of the model.
    """
    return field(
        default=default,
        metadata={"help": help, "low": low, "high": high, "choices": choices, "search": search, "late": late},
    )


def decisive(settings: Any) -> dict[str, object]:
    """The settings that a run's configuration names: all but late ones at their defaults."""
    return {
        f.name: value
        for f in fields(settings)
        if (value := getattr(settings, f.name)) != f.default or not f.metadata.get("late")
    }


@dataclass(frozen=True)
class _Rule:
    """What one setting admits."""

    type: type
    low: float | None
    high: float | None
    choices: tuple[str, ...]

    def __str__(self) -> str:
        """What it admits, in words."""
        if self.choices:
            return "one of " + ", ".join(self.choices)
        words = _WORDS[self.type.__name__]
        low, high = (
            "" if bound is None else str(bound) if isinstance(bound, int) else f"{bound:g}"
            for bound in (self.low, self.high)
        )
        if low and high:
            return f"{words} from {low} to {high}"
        if low:
            return f"{words}, at least {low}"
        return f"{words}, at most {high}" if high else words

    def parse(self, value: object) -> object:
        """`value` in the setting's type, or ValueError."""
        if self.type is bool:
            if isinstance(value, str):
                value = _BOOLS.get(value.lower())
            if not isinstance(value, bool):
                raise ValueError
            return value
        fractional = isinstance(value, float) and not value.is_integer()
        if isinstance(value, bool) or (self.type is int and fractional):
            raise ValueError
        parsed = self.type(value)
        if self.choices and parsed not in self.choices:
            raise ValueError
        if self.type is float and not math.isfinite(parsed):
            raise ValueError
        if (self.low is not None and parsed < self.low) or (self.high is not None and parsed > self.high):
            raise ValueError
        return parsed


def _rules(cls: type) -> dict[str, _Rule]:
    """What each setting of `cls` admits."""
    types = get_type_hints(cls)
    found = {}
    for f in fields(cls):
        bounds = f.metadata.get("low"), f.metadata.get("high")
        found[f.name] = _Rule(types[f.name], *bounds, f.metadata.get("choices", ()))
    return found


def check_class(cls: type, owner: str) -> None:
    """InputError unless `cls` is a dataclass of int, float, bool and str fields, all with defaults."""
    if not (isinstance(cls, type) and is_dataclass(cls)):
        raise InputError(
            f"The settings of {owner} are {cls!r}: "
            "expected a class with the decorator @dataclass(frozen=True)."
        )
    try:
        types = get_type_hints(cls)
    except NameError as error:
        raise InputError(
            f"The settings of {owner} have an annotation that cannot be read ({error}): import what it names."
        ) from None
    for f in fields(cls):
        if types[f.name] not in (int, float, bool, str):
            raise InputError(
                f"Setting {f.name!r} of {owner} is of type {types[f.name]}: expected int, float, bool or str."
            )
        if f.default is MISSING:
            raise InputError(
                f"Setting {f.name!r} of {owner} has no default: give it one with models.settings.setting."
            )
    for name, values in search_space(cls).items():
        _check_search(name, values, _rules(cls)[name], owner)


def _check_search(name: str, values: tuple[Any, ...], rule: _Rule, owner: str) -> None:
    """InputError unless the setting admits all of `values`, and numbers among them are a range."""
    try:
        parsed = [rule.parse(value) for value in values]
    except (TypeError, ValueError, OverflowError):
        parsed = []
    number = rule.type in (int, float)
    if len(parsed) < 2 or (number and not (len(parsed) == 2 and 0 < values[0] < values[1])):
        wanted = "the least and the largest value, both positive" if number else "two values or more"
        raise InputError(
            f"Setting {name!r} of {owner} has the search {values}: expected {wanted}, each of them {rule}."
        )


def search_space(cls: type) -> dict[str, tuple[Any, ...]]:
    """The settings of `cls` that are open to `mmbench tune`, and the `search` of each."""
    return {f.name: f.metadata["search"] for f in fields(cls) if f.metadata.get("search")}


def resolve(cls: type[T], overrides: Mapping[str, object], owner: str) -> T:
    """An instance of the settings class `cls`, its defaults replaced by `overrides`.

    Args:
        cls: a frozen dataclass of `setting` fields of type int, float, bool or str.
        overrides: values by field name; a string is parsed to the field's type.
        owner: whose settings they are, for the message.

    Raises:
        InputError: for an unknown field, a wrong type or a value out of range.
    """
    rules = _rules(cls)
    values = {}
    for name, value in overrides.items():
        if name not in rules:
            raise InputError(f"Unknown setting {name!r} of {owner}: {suggest(name, rules)}")
        try:
            values[name] = rules[name].parse(value)
        except (TypeError, ValueError, OverflowError):
            raise InputError(
                f"Setting {name}={value} of {owner} is not usable: expected {rules[name]}."
            ) from None
    return cls(**values)


def describe(cls: type) -> list[dict[str, object]]:
    """One row per setting of `cls`: name, type, default, what it admits, help."""
    rules = _rules(cls)
    return [
        {
            "name": f.name,
            "type": rules[f.name].type.__name__,
            "default": f.default,
            "expected": str(rules[f.name]),
            "help": f.metadata.get("help", ""),
        }
        for f in fields(cls)
    ]
