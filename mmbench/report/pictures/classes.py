"""What the classes of a data set are called in pictures."""

from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Classes", "name_classes"]

_DIGITS = tuple("0123456789")


class Classes(NamedTuple):
    """The names of all classes, by number, and the word for one of them: "digit" or "class"."""

    names: tuple[str, ...]
    word: str


def name_classes(count: int, names: Sequence[str] = ()) -> Classes:
    """`count` classes called `names`, by default by their numbers: ten of these are taken for digits."""
    called = tuple(names) or tuple(map(str, range(count)))
    return Classes(called, "digit" if called == _DIGITS else "class")
