"""Named settings: how a model was run elsewhere, every value with its source.

`paper` is a baseline as the paper of the comparison (Ai et al. 2026) seems to have run it, `published` as its
own authors did. A model registers either or both, and `--set mmvae=published` takes them in the place of what
was tuned here. Settings that are not named keep their defaults: latent size, networks and budget are those of
the comparison, so that only the model differs.
"""

from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

from models.errors import InputError, suggest
from models.settings import resolve

__all__ = ["PAPER", "PUBLISHED", "WORDS", "NamedSettings", "Sourced", "check_named", "named_values"]

PAPER, PUBLISHED = "paper", "published"

WORDS = {PAPER: "as in the paper", PUBLISHED: "as published"}
"""The names that there are, and what stands behind a model's title in a table."""


class Sourced(NamedTuple):
    """The value of a setting and where it comes from."""

    value: object
    source: str


NamedSettings: TypeAlias = Mapping[str, Mapping[str, Sourced]]
"""Name -> setting -> value and source."""


def check_named(named: NamedSettings, cls: type, owner: str) -> None:
    """InputError unless all names are in WORDS, and every value is one that `cls` admits and has a source."""
    for name, chosen in named.items():
        what = f"The named settings {name!r} of {owner}"
        if name not in WORDS:
            raise InputError(f"{what} are not usable: {suggest(name, WORDS)}")
        for key, entry in chosen.items():
            if not (isinstance(entry, Sourced) and isinstance(entry.source, str) and entry.source.strip()):
                raise InputError(f"{what} have {key}={entry!r}: expected Sourced(value, source).")
        resolve(cls, {key: entry.value for key, entry in chosen.items()}, f"{name} {owner}")


def named_values(named: NamedSettings, name: str, owner: str) -> dict[str, object]:
    """The values of the settings called `name`.

    Raises:
        InputError: for a name that the model called `owner` does not have.
    """
    if name not in named:
        raise InputError(f"Unknown settings {name!r} of {owner}: {suggest(name, named)}")
    return {key: entry.value for key, entry in named[name].items()}
