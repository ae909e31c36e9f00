"""Standard streams that end no work: what cannot be shown is lost or replaced, results are made all the same.

A full disk behind `> log`, a pipe whose reader has left, a terminal that is gone, a stream that was closed
from the start, an encoding without the letter: each would otherwise end a command from within `print`,
wherever that stands, in a model's code too.
"""

import io
import os
import select
import sys
from contextlib import suppress
from typing import Any

__all__ = ["keep_streams"]


def keep_streams() -> None:
    """Make standard output and error of this process ones that every write to succeeds.

    The first failure of the output is a sentence on the standard error; from then on it goes nowhere. An
    error stream that fails says nothing, since the output may be for a program. Streams that somebody has put
    in the place of Python's own, as tests do, stay.
    """
    closed = _open_closed()
    if 1 in closed:
        _tell("it is closed")
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif stream is getattr(sys, f"__{name}__") and sys.platform != "win32":
            setattr(sys, name, _lasting(stream, number))


class _Lasting(io.FileIO):
    """The file of a stream, which goes nowhere once it cannot be written to."""

    def write(self, content: Any) -> int:
        try:
            while (written := super().write(content)) is None:  # one that does not block is full for now
                select.select([], [self], [])
            return written
        except OSError as error:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())  # for what else writes there, as libraries in C do
            os.close(nowhere)
            if self.fileno() == 1:
                _tell(error.strerror or type(error).__name__)
            return len(content)


def _lasting(stream: Any, number: int) -> io.TextIOWrapper:
    """A text stream like `stream` that every write to succeeds."""
    file = io.BufferedWriter(_Lasting(number, "w", closefd=False))
    return io.TextIOWrapper(
        file,
        stream.encoding,
        "backslashreplace",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def _open_closed() -> set[int]:
    """Numbers 0 to 2 that are closed; opened, or the next file would get one, and what is printed with it."""
    closed = set()
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            closed.add(number)
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    return closed


def _tell(reason: str) -> None:
    """Say on the standard error, if that works, that the output is lost."""
    line = f"The output cannot be written ({reason}): the command goes on, its results are kept.\n"
    with suppress(OSError):
        os.write(2, line.encode())
