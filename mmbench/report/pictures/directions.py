"""Which directions between modalities pictures show: there are M (M - 1) of them, times as many models."""

from collections.abc import Callable, Iterable
from typing import TypeVar

__all__ = ["reading", "shown_directions"]

T = TypeVar("T")

MOST = 6  # directions, those of three modalities, that are all shown
READING = f"Of more than {MOST} directions, those from one modality stand for all."


def reading(modalities: int) -> str:
    """That not all directions between so many modalities are shown; empty where they are."""
    return READING if modalities * (modalities - 1) > MOST else ""


def shown_directions(items: Iterable[T], source: Callable[[T], str]) -> list[T]:
    """All items, one per direction, or, where they are more than MOST, those from the modality of the first.

    Args:
        source: gives the modality that the direction of an item starts from.
    """
    found = list(items)
    return found if len(found) <= MOST else [each for each in found if source(each) == source(found[0])]
