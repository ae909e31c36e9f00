"""What a user sees of runs: bars on a terminal, plain lines every so often anywhere else; times, metrics and tables in words."""

import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from metrics.groups import unit_of

__all__ = ["Console", "Task", "duration", "summarise", "tabulate"]

LINE_SECONDS = 10.0  # between two plain lines of one task


def duration(seconds: float) -> str:
    """Seconds in words: 42 s, 12 min, 3.4 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def summarise(metrics: Mapping[str, float | None], references: Mapping[str, float | None]) -> str:
    """The figures of a finished run in one line, shares in per cent, the judges beside them; of many cross coherences the means alone."""
    found = {
        name: value
        for name, value in metrics.items()
        if value is not None and not name.endswith(("/chance", "/entropy"))
    }
    if any("/size-" in name for name in found):
        found = {name: value for name, value in found.items() if "->" not in name}
    words = [
        f"{name} {100 * value:.1f} %" if unit_of(name) == "fraction" else f"{name} {value:.1f}"
        for name, value in found.items()
    ]
    accuracies = {
        name.removeprefix("judge/"): value
        for name, value in references.items()
        if name.startswith("judge/") and value is not None
    }
    judges = ", ".join(f"{name} {100 * value:.1f} %" for name, value in accuracies.items())
    return ", ".join(words) + (f" (judges: {judges})" if judges else "")


def tabulate(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines in which the fields of `rows`, as many in each, stand below each other: the first column begins together, the others end together."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows
    ]


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
        left = (
            f", {self.rate:.1f}/s, {duration((self.total - done) / self.rate)} left"
            if self.rate and done < self.total
            else ""
        )
        print(f"{self.name}: {done}/{self.total}{left}{'  ' + note if note else ''}", flush=True)


class _Bar(Task):
    """A line of a rich progress display."""

    def __init__(self, name: str, total: int, progress: Any):
        super().__init__(name, total)
        self.progress, self.id = progress, progress.add_task(name, total=total, note="", rate="")

    def show(self, done: int, note: str) -> None:
        self.progress.update(
            self.id, completed=done, note=note, rate=f"{self.rate:.1f}/s" if self.rate else ""
        )


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

    note = TextColumn(
        "[dim]{task.fields[note]}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)
    )
    columns = (
        TextColumn("{task.description}"),
        BarColumn(20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    return Progress(*columns, note, transient=True, expand=True)
