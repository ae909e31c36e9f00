"""Ctrl-C, SIGTERM and SIGHUP: finish the step, write a checkpoint, leave. A second one leaves at once."""

import signal
from types import FrameType
from typing import Any

__all__ = ["STOPPING", "Stop", "StoppedError"]

# SIGHUP: a closed terminal, and some schedulers; not on Windows
STOPPING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class StoppedError(Exception):
    """Raised between two steps of something that keeps no checkpoint, after a stop was asked for."""


class Stop:
    """A context in which a first signal asks for a stop, and a second raises KeyboardInterrupt(its number).

    Args:
        patient: a second signal changes nothing; for worker processes, which a signal may reach twice.
    """

    def __init__(self, patient: bool = False) -> None:
        self.patient = patient
        self.signal: int | None = None
        self._before: dict[int, Any] = {}

    def asked(self) -> bool:
        """Whether a stop was asked for."""
        return self.signal is not None

    def check(self, *_: object) -> None:
        """StoppedError if a stop was asked for; takes and ignores whatever a progress callback is given."""
        if self.asked():
            raise StoppedError

    def caused(self, error: BaseException) -> bool:
        """Whether a signal is behind `error`, and not code that raises what signals lead to by itself."""
        return self.signal is not None and isinstance(error, (StoppedError, KeyboardInterrupt))

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None and not self.patient:
            raise KeyboardInterrupt(number)  # no SystemExit: that of a model is its run's failure
        self.signal = number

    def __enter__(self) -> "Stop":
        for number in STOPPING:
            if signal.getsignal(number) == signal.SIG_IGN:  # as nohup has it for SIGHUP
                continue
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
