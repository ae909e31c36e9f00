"""All tables as one: every metric of every model, the best of each column, and which others are not significantly worse."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from mmbench.report.numbers.further import FURTHER
from mmbench.report.numbers.tables import Cell, Column, Table
from mmbench.storage.runs import StoredRun

__all__ = ["LEVEL", "Entry", "Group", "Leaderboard", "Line", "build_leaderboard", "name_of", "welch"]

LEVEL = 0.05  # of the test: a larger p is "not significantly worse"
# in the order of the columns
_TITLES = {
    "1": "Coherence",
    "2": "Quality",
    "3": "Linear probe",
    FURTHER: "Further metrics",
    "1b": "Coherence of every direction",
}
_KEYS = {"1": "coherence", "2": "quality", "3": "probe", FURTHER: "further", "1b": "directions"}


@dataclass(frozen=True)
class Group:
    """Neighbouring columns that are shown and hidden together."""

    key: str
    title: str
    caption: str
    columns: list[Column]


@dataclass(frozen=True)
class Entry:
    """One metric of one model.

    Attributes:
        level: whether Welch's test finds no significant difference to the best of the column, which is another one.
    """

    group: str
    column: Column
    cell: Cell
    level: bool = False


@dataclass(frozen=True)
class Line:
    """One model: how many of its runs are done, and its entries in the order of the columns."""

    name: str
    seeds: int
    runs: int
    note: str
    entries: list[Entry]


@dataclass(frozen=True)
class Leaderboard:
    """The table.

    Attributes:
        floors: what a perfect model would reach, in the units of the metrics, per column; empty lists without such a reference.
        absent: names of columns without any figure, which are left out, by the reason.
        tested: whether anything was tested, which takes two seeds of two models.
    """

    groups: list[Group]
    lines: list[Line]
    floors: list[list[float]]
    absent: dict[str, list[str]]
    tested: bool

    @property
    def columns(self) -> list[Column]:
        return [column for group in self.groups for column in group.columns]

    @property
    def has_paper(self) -> bool:
        return any(entry.cell.paper is not None for line in self.lines for entry in line.entries)


def build_leaderboard(tables: Sequence[Table], models: Sequence[Sequence[StoredRun]]) -> Leaderboard:
    """The columns of all tables beside each other. Columns that neither a model nor the paper fills are left out.

    Args:
        tables: of one preset folder.
        models: the runs of each row of the tables, in their order.
    """
    numbered = {table.number: table for table in tables}
    groups: list[Group] = []
    floors: list[list[float]] = []
    absent: dict[str, list[str]] = {}
    entries: list[list[Entry]] = [[] for _ in models]
    for number, title in _TITLES.items():
        if number not in numbered:
            continue
        table, kept = numbered[number], []
        for index, column in enumerate(table.columns):
            cells = [row.cells[index] for row in table.rows]
            if not any(cell.values or cell.paper is not None for cell in cells):
                reason = " ".join(dict.fromkeys(cell.note for cell in cells if cell.note))
                absent.setdefault(reason, []).append(name_of(column))
                continue
            kept.append(column)
            floors.append(table.floors[index] if table.floors else [])
            for found, entry in zip(entries, _mark(_KEYS[number], column, cells), strict=True):
                found.append(entry)
        if kept:
            groups.append(Group(_KEYS[number], title, table.caption, kept))
    rows = tables[0].rows
    lines = [
        Line(row.name, row.seeds, len(runs), row.note, found)
        for row, runs, found in zip(rows, models, entries, strict=True)
    ]
    return Leaderboard(groups, lines, floors, absent, _testable(entries))


def name_of(column: Column) -> str:
    return f"{column.group} {column.part}".strip()


def welch(a: Sequence[float], b: Sequence[float]) -> float:
    """The two-sided p-value of Welch's t-test for equal means, variances unknown and not assumed equal (Welch 1947).

    t = (mean a - mean b) / sqrt(u + v), with u = var a / n_a and v = var b / n_b (ddof 1), has about
    (u + v)^2 / (u^2 / (n_a - 1) + v^2 / (n_b - 1)) degrees of freedom.

    Args:
        a, b: two values or more each. Where neither varies at all, p is 1 for equal means and 0 otherwise.
    """
    u, v = np.var(a, ddof=1) / len(a), np.var(b, ddof=1) / len(b)
    if u + v == 0:
        return float(np.mean(a) == np.mean(b))
    freedom = (u + v) ** 2 / (u**2 / (len(a) - 1) + v**2 / (len(b) - 1))
    return float(2 * stats.t.sf(abs(np.mean(a) - np.mean(b)) / np.sqrt(u + v), freedom))


def _mark(group: str, column: Column, cells: Sequence[Cell]) -> list[Entry]:
    """The entries of a column: all that have two seeds are tested against the best mean, where that has two seeds too."""
    entries = [Entry(group, column, cell) for cell in cells]
    best = _best(column, cells)
    if best is None or not _counts(column, best):
        return entries
    reference = list(best.values.values())
    return [
        replace(
            entry,
            level=_counts(column, entry.cell)
            and not entry.cell.best
            and welch(list(entry.cell.values.values()), reference) > LEVEL,
        )
        for entry in entries
    ]


def _best(column: Column, cells: Sequence[Cell]) -> Cell | None:
    """Of the cells marked as best, which are equal as printed, the one that is best."""
    sign = 1 if column.better == "higher" else -1
    return max((cell for cell in cells if cell.best), key=lambda cell: sign * cell.mean, default=None)


def _counts(column: Column, cell: Cell) -> bool:
    return bool(column.better) and len(cell.values) > 1


def _testable(entries: Sequence[Sequence[Entry]]) -> bool:
    return any(
        sum(_counts(entry.column, entry.cell) for entry in column) > 1
        for column in zip(*entries, strict=True)
    )
