"""What a terminal shows: tasks under way, tables that fit it, times and the figures of a run in words.

Where the output is no terminal there are plain lines instead of bars, and tables as wide as they need to be.
"""

import io
import shutil
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from metrics.catalogue import kind_of
from metrics.names import MetricName
from mmbench.escape import visible

__all__ = ["Console", "Task", "duration", "headline", "printable", "summarise", "table"]

LINE_SECONDS = 10.0  # between two plain lines of one task


def printable(text: str) -> str:
    """`text` without power over a terminal, in the characters that its encoding has."""
    return visible(text).encode(_encoding(), "backslashreplace").decode(_encoding())


def _is_terminal() -> bool:
    """Whether what is shown goes to a terminal; without a standard output it goes nowhere."""
    return sys.stdout is not None and sys.stdout.isatty()


def _encoding() -> str:
    return getattr(sys.stdout, "encoding", None) or "utf-8"


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    numbers: Collection[str] = (),
    grouped: bool = False,
) -> list[str]:
    """The lines of a table, for `print`: in a terminal no wider than that, long fields folded.

    Where the output is no terminal, every row is one line, whatever its length.

    Args:
        columns: their heads.
        rows: a field for each column; from anywhere, they are made printable here.
        numbers: heads of the columns that are set flush right.
        grouped: whether neighbours with one first field are a group: a terminal shows it above them, once.
    """
    from rich import box
    from rich.console import Console as Printer
    from rich.table import Table
    from rich.text import Text

    terminal = _is_terminal()
    fields = [[" ".join(printable(field).split()) for field in row] for row in rows]
    if terminal and grouped:
        columns, fields = columns[1:], _under_heads(fields)
    drawn = Table(box=box.SIMPLE_HEAD if terminal else None, pad_edge=False, header_style="")
    for column in columns:
        drawn.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    for row in fields:
        drawn.add_row(*map(Text, row))
    width = shutil.get_terminal_size().columns if terminal else 10**5
    page = io.TextIOWrapper(io.BytesIO(), _encoding())  # its encoding tells rich which lines it can draw
    Printer(file=page, width=width, color_system=None, force_terminal=False).print(drawn)
    page.seek(0)
    return [line for line in (line.rstrip() for line in page) if line]


def _under_heads(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """`rows` without their first fields, which become rows of their own above those that share them."""
    found: list[list[str]] = []
    above = None
    for group, first, *rest in rows:
        if group != above:
            found.append([group, *[""] * len(rest)])
            above = group
        found.append([f"  {first}", *rest])
    return found


def duration(seconds: float) -> str:
    """Seconds in words: 42 s, 12 min, 3.4 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def headline(metrics: Mapping[str, float | None]) -> dict[str, float]:
    """The figures that sum up a run, in per cent: those that it has of joint, cross and probe.

    Joint coherence; cross coherence with sampled latents, the mean over ordered pairs of modalities; the
    accuracy of linear probes, the mean over modalities.
    """
    found: dict[str, list[float]] = {"joint": [], "cross": [], "probe": []}
    for text, value in metrics.items():
        title = _title(MetricName.parse(text))
        if title and value is not None:
            found[title].append(value)
    return {title: 100 * sum(values) / len(values) for title, values in found.items() if values}


def _title(name: MetricName) -> str:
    """The figure of a headline that a metric is a part of; empty for all others."""
    if name.kind == "cross_coherence" and name.is_pair and name.mode == "sample":
        return "cross"
    return {"joint_coherence": "joint", "probe": "probe"}.get("" if name.part else name.kind, "")


def summarise(metrics: Mapping[str, float | None]) -> str:
    """A run's `headline` in words; where it has nothing of that, all its metrics."""
    if main := headline(metrics):
        return ", ".join(f"{title} {value:.1f} %" for title, value in main.items())
    known = {name: value for name, value in metrics.items() if value is not None}
    kinds = {name: kind_of(name) for name in known}
    shares = {name for name, kind in kinds.items() if kind and kind.unit == "fraction"}
    return ", ".join(
        f"{name} {100 * value:.1f} %" if name in shares else f"{name} {value:.1f}"
        for name, value in known.items()
    )


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
        left = ""
        if self.rate and done < self.total:
            left = f", {self.rate:.1f}/s, {duration((self.total - done) / self.rate)} left"
        line = f"{self.name}: {done}/{self.total}{left}{'  ' + note if note else ''}"
        print(printable(line), flush=True)


class _Bar(Task):
    """A line of a rich progress display."""

    def __init__(self, name: str, total: int, progress: Any):
        super().__init__(name, total)
        self.progress = progress
        self.id = progress.add_task(printable(name), total=total, note="", rate="")

    def show(self, done: int, note: str) -> None:
        rate = f"{self.rate:.1f}/s" if self.rate else ""
        self.progress.update(self.id, completed=done, note=printable(note), rate=rate)


class Console:
    """Prints lines and shows tasks, several at once where several are open."""

    def __init__(self) -> None:
        self.terminal = _is_terminal()
        self._progress: Any = None  # rich's display, while tasks are open
        self._open = 0

    def say(self, line: str) -> None:
        """Print `line`, above the tasks that are open."""
        line = printable(line)
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
    """A display of rich with a line for each task: name, bar, steps, rate, time left, note."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.table import Column

    rest = Column(no_wrap=True, overflow="ellipsis", ratio=1)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", style="dim", markup=False, table_column=rest),
    )
    return Progress(*columns, transient=True, expand=True)
