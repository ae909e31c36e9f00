"""Errors that a user can mend: one or two sentences, no traceback; and in words what other code raises."""

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = ["InputError", "error_words", "suggest"]

_LONGEST = 1_000  # characters of a message that are kept


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


def error_words(error: BaseException) -> str:
    """Type and message of what anybody's code has raised, whatever its message is.

    >>> error_words(KeyError("a"))
    "KeyError: 'a'"
    """
    try:
        message = str(error)
    except Exception:  # the code that makes the message may be theirs too
        message = "its message cannot be shown"
    if len(message) > _LONGEST:
        message = f"{message[:_LONGEST]}... ({len(message):,} characters)"
    return f"{type(error).__name__}: {message}" if message else type(error).__name__
