"""All tables as one: every metric of every model, the best of each, and what is not significantly worse."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from scipy import stats

from mmbench.report.numbers.columns import Column
from mmbench.report.numbers.further import FURTHER
from mmbench.report.numbers.tables import Cell, Table
from mmbench.storage.runs import StoredRun

__all__ = [
    "LEVEL",
    "Entry",
    "Group",
    "Leaderboard",
    "Line",
    "build_leaderboard",
    "holm",
    "name_of",
    "varies",
    "welch",
]

LEVEL = 0.05  # of the test: a larger p is "not significantly worse"
UNTESTED = "Not tested against the best: the values of one of the two do not vary over seeds."
# in the order of the columns
_TITLES = {
    "1": "Coherence",
    "2": "Quality",
    "3": "Linear probe",
    "4": "Retrieval",
    FURTHER: "Further metrics",
    "1b": "Coherence of every direction",
}
_KEYS = {
    "1": "coherence",
    "2": "quality",
    "3": "probe",
    "4": "retrieval",
    FURTHER: "further",
    "1b": "directions",
}


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
        level: whether Welch's test finds no significant difference to the best of the column, another
            model's.
    """

    group: str
    column: Column
    cell: Cell
    level: bool = False


@dataclass(frozen=True)
class Line:
    """One model: how many of its runs are done, and its entries in the order of the columns.

    Attributes:
        name: title and label, which several may have in common.
        key: model and label as in the configuration, which tell all apart.
    """

    name: str
    key: tuple[str, str]
    seeds: int
    runs: int
    note: str
    entries: list[Entry]


@dataclass(frozen=True)
class Leaderboard:
    """The table.

    Attributes:
        floors: what a perfect model would reach, in the units of the metrics, per column; an empty list
            without one.
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
    """The columns of all tables beside each other, without those that neither a model nor the paper fills.

    Matrices stay by themselves.

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
        if number not in numbered or numbered[number].matrix:
            continue
        table, kept = numbered[number], []
        for index, column in enumerate(table.columns):
            if any(column.metric == each.metric for group in groups for each in group.columns):
                continue  # table 4 repeats the probe
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
        Line(row.name, (row.model, row.label), row.seeds, len(runs), row.note, found)
        for row, runs, found in zip(rows, models, entries, strict=True)
    ]
    return Leaderboard(groups, lines, floors, absent, _testable(entries))


def name_of(column: Column) -> str:
    """The two lines of a column's head in one."""
    return f"{column.group} {column.part}".strip()


def varies(values: Sequence[float]) -> bool:
    """Whether values differ by more than rounding: by more than a billionth of the largest of them."""
    return max(values) - min(values) > 1e-9 * max(map(abs, values))


def welch(a: Sequence[float], b: Sequence[float]) -> float | None:
    """The two-sided p-value of Welch's t-test for equal means, variances not assumed equal (Welch 1947).

    None where there is nothing to test: fewer than two values on a side, or values that do not vary on one.
    Equal values of two or three seeds estimate a variance of zero, which makes any difference significant.
    """
    if min(len(a), len(b)) < 2 or not (varies(a) and varies(b)):
        return None
    return float(stats.ttest_ind(a, b, equal_var=False).pvalue)


def holm(values: Sequence[float]) -> list[float]:
    """The p-values corrected for how many there are, by Holm's method (1979, Scand. J. Statist. 6, 65-70).

    The k-th smallest of n is multiplied by n - k + 1, is at least as large as the one before it, and at most
    1. The chance that any true hypothesis is rejected at a level is then at most the level, however the tests
    depend on each other.
    """
    corrected, least = [0.0] * len(values), 0.0
    for rank, place in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        least = max(least, min(1.0, (len(values) - rank) * values[place]))
        corrected[place] = least
    return corrected


def _mark(group: str, column: Column, cells: Sequence[Cell]) -> list[Entry]:
    """The entries of a column, each tested against the best mean where both have two seeds."""
    entries = [Entry(group, column, cell) for cell in cells]
    best = _best(column, cells)
    if best is None or not _counts(column, best):
        return entries
    reference = list(best.values.values())
    return [
        entry if entry.cell.best or not _counts(column, entry.cell) else _tested(entry, reference)
        for entry in entries
    ]


def _tested(entry: Entry, best: Sequence[float]) -> Entry:
    """The entry with what the test against the best values says, or with a note that nothing was tested."""
    p = welch(list(entry.cell.values.values()), best)
    if p is None:
        note = f"{entry.cell.note} {UNTESTED}".lstrip()
        return replace(entry, cell=replace(entry.cell, note=note))
    return replace(entry, level=p > LEVEL)


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
