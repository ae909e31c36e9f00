"""What the classes of a data set are called in pictures."""

from collections.abc import Sequence

__all__ = ["CROWDED", "class_names"]

CROWDED = 20  # classes: of more, there is no room for all names, nor for numbers in the cells of a heat map


def class_names(count: int, names: Sequence[str] = ()) -> tuple[str, ...]:
    """What class 0 to `count` - 1 are called: those that have no name by their numbers."""
    return tuple(names[number] if number < len(names) else str(number) for number in range(count))
