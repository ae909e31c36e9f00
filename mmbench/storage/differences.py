"""Where two JSON objects differ: what a stored configuration says against what is asked for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Difference", "departures", "differences"]


@dataclass(frozen=True)
class Difference:
    """One leaf.

    Attributes:
        key: its path, from the outermost key to the innermost.
        there: the stored value, None where it is absent.
        asked: the value asked for, None where it is absent.
    """

    key: tuple[str, ...]
    there: object
    asked: object

    def __str__(self) -> str:
        return f"{'.'.join(self.key)} ({self.there} there, {self.asked} asked for)"


def differences(
    there: Mapping[str, Any], asked: Mapping[str, Any], above: tuple[str, ...] = ()
) -> list[Difference]:
    """Every leaf in which two JSON objects differ, sorted by key; `above` is the path to both of them."""
    found = []
    for key in sorted(set(there) | set(asked)):
        left, right, path = there.get(key), asked.get(key), (*above, key)
        if isinstance(left, Mapping) and isinstance(right, Mapping):
            found += differences(left, right, path)
        elif left != right:
            found.append(Difference(path, left, right))
    return found


def departures(stored: Mapping[str, Any], decisive: Mapping[str, Any]) -> list[Difference]:
    """Where the config.json `stored` differs from what decides a run; the code of a model's file counts."""
    return differences({key: stored[key] for key in (*decisive, "code") if key in stored}, decisive)
