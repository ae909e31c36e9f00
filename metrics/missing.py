"""Why a metric has no value: a kind, for programs, and a sentence, for people. Without torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

__all__ = ["Lack", "Missing"]


class Lack(Enum):
    """The kinds of reasons."""

    NOT_DEFINED = "not defined"
    """The model or the modality has nothing of the kind: no run of it will ever have a value."""
    NOT_ASKED = "not asked for"
    """Nobody asked for it: `mmbench evaluate` adds it."""
    FAILED = "failed"
    """It was tried, and what the model gave could not be measured."""
    UNAVAILABLE = "unavailable"
    """What it is measured against is not there: weights, a judge, enough items."""


@dataclass(frozen=True)
class Missing:
    """In the place of a value. As text the sentence, after "Not defined: " where that is its kind.

    Attributes:
        kind: of the reason.
        sentence: the reason.
    """

    kind: Lack
    sentence: str

    def __str__(self) -> str:
        return f"Not defined: {self.sentence}" if self.kind is Lack.NOT_DEFINED else self.sentence

    def to_json(self) -> dict[str, str]:
        """As metrics.json and results.json hold it."""
        return {"kind": self.kind.value, "why": self.sentence}

    @classmethod
    def from_json(cls, value: object) -> "Missing":
        """What `to_json` wrote; ValueError for anything else."""
        if not (isinstance(value, Mapping) and isinstance(value.get("why"), str)):
            raise ValueError(f"expected an object with 'kind' and 'why', not {value!r}")
        return cls(Lack(value.get("kind")), value["why"])
