"""Errors that a user can mend: one or two sentences, no traceback."""

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = ["InputError", "suggest"]


class InputError(ValueError):
    """Bad input. The message names the input, what was expected and what to do.

    The command line prints it and exits with 2.
    """


def suggest(name: str, options: Iterable[str]) -> str:
    """The tail of an error about an unknown `name`: the nearest option, then all of them."""
    options = sorted(options)
    near = get_close_matches(name, options, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{hint}Known: {', '.join(options) or 'none'}."
