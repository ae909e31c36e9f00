"""What a user sees while a job runs: bars on a terminal, plain lines every so often anywhere else."""

import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["Console", "Task"]

LINE_SECONDS = 10.0  # between two plain lines of one task


def duration(seconds: float) -> str:
    """Seconds in words: 42 s, 12 min, 3.4 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class Task(ABC):
    """Something with a number of steps; `update` says how many are done and what to show beside them."""

    def __init__(self, name: str, total: int):
        self.name, self.total = name, total
        self.started = time.monotonic()
        self.first: int | None = None  # steps done at the first update: a resumed task does not start at 0
        self.rate = 0.0

    def update(self, done: int, note: str = "") -> None:
        now = time.monotonic()
        if self.first is None:
            self.first, self.started = done, now
        elif now > self.started:
            self.rate = (done - self.first) / (now - self.started)
        self.show(done, note)

    @abstractmethod
    def show(self, done: int, note: str) -> None:
        """Bring what the user sees up to date."""


class _Line(Task):
    """Plain lines, one every LINE_SECONDS: short tasks print none."""

    def __init__(self, name: str, total: int):
        super().__init__(name, total)
        self.shown = self.started

    def show(self, done: int, note: str) -> None:
        now = time.monotonic()
        if now - self.shown < LINE_SECONDS:
            return
        self.shown = now
        left = f", {self.rate:.1f}/s, {duration((self.total - done) / self.rate)} left" if self.rate and done < self.total else ""
        print(f"{self.name}: {done}/{self.total}{left}{'  ' + note if note else ''}", flush=True)


class _Bar(Task):
    """A line of a rich progress display."""

    def __init__(self, name: str, total: int, progress: Any):
        super().__init__(name, total)
        self.progress, self.id = progress, progress.add_task(name, total=total, note="", rate="")

    def show(self, done: int, note: str) -> None:
        self.progress.update(self.id, completed=done, note=note, rate=f"{self.rate:.1f}/s" if self.rate else "")


class Console:
    """Prints lines and shows tasks, several at once where several are open."""

    def __init__(self) -> None:
        self.terminal = sys.stdout.isatty()
        self._progress: Any = None  # rich's display, while tasks are open
        self._open = 0

    def say(self, line: str) -> None:
        if self._progress:
            self._progress.console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            print(line, flush=True)

    @contextmanager
    def task(self, name: str, total: int) -> Iterator[Task]:
        """A task that is shown until the block ends."""
        if not self.terminal:
            yield _Line(name, total)
            return
        if self._progress is None:
            self._progress = _make_progress()
            self._progress.start()
        self._open += 1
        bar = _Bar(name, total, self._progress)
        try:
            yield bar
        finally:
            self._progress.remove_task(bar.id)
            self._open -= 1
            if not self._open:
                self._progress.stop()
                self._progress = None


def _make_progress() -> Any:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.table import Column

    note = TextColumn("[dim]{task.fields[note]}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1))
    columns = (TextColumn("{task.description}"), BarColumn(20), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn())
    return Progress(*columns, note, transient=True, expand=True)
