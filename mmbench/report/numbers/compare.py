"""Two results folders side by side: how they differ, cell by cell of their tables."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from mmbench.escape import csv_text, escape_markdown
from mmbench.report.numbers.columns import Column
from mmbench.report.numbers.leaderboard import varies, welch
from mmbench.report.numbers.provenance import disagreements, spell_value
from mmbench.report.numbers.tables import Cell, Table, build_tables
from mmbench.storage.runs import StoredRun
from models.errors import InputError

__all__ = ["ABSENT", "Difference", "compare", "differences", "match"]

Key: TypeAlias = tuple[str, str]
"""Model and label."""

_HEAD = ("model", "label", "title", "metric", "unit")
_MINUS = "\N{MINUS SIGN}"
ABSENT = Cell({}, note="there is no such run.")


@dataclass(frozen=True)
class Difference:
    """One metric on two sides, A and B: of a model in two results folders, or of two models.

    Attributes:
        model, label, title: of the row; of A where B is another model.
        column: the metric.
        a, b: what each side holds.
    """

    model: str
    label: str
    title: str
    column: Column
    a: Cell
    b: Cell

    @property
    def value(self) -> float | None:
        """A minus B, None where one of them has no value."""
        return self.a.mean - self.b.mean if self.a.values and self.b.values else None

    @property
    def error(self) -> float | None:
        """Standard error of the difference of the two means over seeds, sqrt(s_a^2 / n_a + s_b^2 / n_b).

        None with fewer than two seeds on a side.
        """
        counts = len(self.a.values), len(self.b.values)
        return (self.a.std**2 / counts[0] + self.b.std**2 / counts[1]) ** 0.5 if min(counts) > 1 else None

    @property
    def p(self) -> float | None:
        """Of Welch's two-sided test over seeds; None where it tests nothing, see `welch`."""
        return welch(list(self.a.values.values()), list(self.b.values.values()))

    @property
    def varies(self) -> bool:
        """Whether the values of a side vary over its seeds, by more than rounding."""
        return any(len(cell.values) > 1 and varies(list(cell.values.values())) for cell in (self.a, self.b))

    @property
    def note(self) -> str:
        """Which side has it, where only one does, and why the other has not."""
        if self.value is not None:
            return ""
        there, lacks, cell = ("A", "B", self.b) if self.a.values else ("B", "A", self.a)
        return f"only in {there}; {lacks}: {cell.note}"


def compare(a: Sequence[StoredRun], b: Sequence[StoredRun]) -> dict[str, bytes]:
    """comparison.md and comparison.csv of two folders' runs with one data set and preset."""
    found = differences(a, b)
    rows = [row for table in found.values() for row in table]
    return {"comparison.md": _to_markdown(a, b, found).encode(), "comparison.csv": _to_csv(rows).encode()}


def match(
    a: Iterable[StoredRun], b: Iterable[StoredRun]
) -> tuple[list[tuple[list[StoredRun], list[StoredRun]]], str]:
    """The runs of every data set and preset on both sides, and a sentence on those on one side alone.

    Raises:
        InputError: where there are none in common.
    """
    ours, theirs = _presets(a), _presets(b)
    shared = [(runs, theirs[key]) for key, runs in ours.items() if key in theirs]
    if not shared:
        raise InputError(
            f"There is nothing to compare: --results holds {', '.join(ours)}, --against holds "
            f"{', '.join(theirs)}. "
            "Name two folders with a data set and preset in common."
        )
    lonely = [f"{key} is only in {'A' if key in ours else 'B'}" for key in sorted({*ours} ^ {*theirs})]
    return shared, f"{'; '.join(lonely)}." if lonely else ""


def differences(a: Sequence[StoredRun], b: Sequence[StoredRun]) -> dict[str, list[Difference]]:
    """Table number -> the cells with values on either side; models as in `a`, then those of `b` alone."""
    theirs = {table.number: table for table in build_tables(b)}
    return {
        ours.number: _compare_tables(ours, theirs[ours.number])
        for ours in build_tables(a)
        if ours.number in theirs
    }


def _compare_tables(ours: Table, theirs: Table) -> list[Difference]:
    """The cells of two tables of one number that have values on either side."""
    columns = {column.metric: column for column in (*ours.columns, *theirs.columns)}
    titles = {(row.model, row.label): row.name for row in (*theirs.rows, *ours.rows)}
    sides = [_cells(table) for table in (ours, theirs)]
    keys = dict.fromkeys(key for side in sides for key in side)
    pairs = (
        Difference(*key, titles[key], column, *(side.get(key, {}).get(metric, ABSENT) for side in sides))
        for key in keys
        for metric, column in columns.items()
    )
    return [pair for pair in pairs if pair.a.values or pair.b.values]


def _cells(table: Table) -> dict[Key, dict[str, Cell]]:
    metrics = [column.metric for column in table.columns]
    return {(row.model, row.label): dict(zip(metrics, row.cells, strict=True)) for row in table.rows}


def _presets(runs: Iterable[StoredRun]) -> dict[str, list[StoredRun]]:
    """<dataset>/<preset> -> its runs."""
    found: dict[str, list[StoredRun]] = {}
    for run in runs:
        found.setdefault(f"{run.dataset}/{run.preset}", []).append(run)
    return found


def _to_markdown(a: Sequence[StoredRun], b: Sequence[StoredRun], found: dict[str, list[Difference]]) -> str:
    """The differences as a page: warnings, then a table for each number."""
    lines = [
        f"# {escape_markdown(a[0].dataset)}, preset {escape_markdown(a[0].preset)}: two results side by side",
        "",
        "A is the folder of this file (`--results`), B the other one (`--against`). Entries are means over "
        "seeds, ± their standard deviation; of a difference, ± its standard error where both sides have two "
        "seeds or more. Shares are in per cent.",
        "",
        *(f"{escape_markdown(line)}\n" for line in _warnings(a, b)),
    ]
    for number, rows in found.items():
        if rows:
            lines += [
                f"## Table {number}",
                "",
                f"| Model | Metric | A | B | A {_MINUS} B | |",
                "| :-- | :-- | --: | --: | --: | :-- |",
            ]
            lines += [f"| {' | '.join(map(escape_markdown, _fields(row)))} |" for row in rows]
            lines.append("")
    return "\n".join(lines)


def _fields(row: Difference) -> list[str]:
    """The texts of a row: model, metric, A, B, their difference and a note."""

    def entry(value: float | None, spread: float | None, sign: str = "") -> str:
        numbers = (
            []
            if value is None
            else [f"{row.column.shown(value):{sign}.2f}"]
            + ([] if spread is None else [f"{row.column.shown(spread):.2f}"])
        )
        return " ± ".join(numbers).replace("-", _MINUS) or "—"

    sides = [
        entry(cell.mean if cell.values else None, cell.std if len(cell.values) > 1 else None)
        for cell in (row.a, row.b)
    ]
    return [
        row.title,
        f"{row.column.group} {row.column.part}".strip(),
        *sides,
        entry(row.value, row.error, "+"),
        row.note,
    ]


def _warnings(a: Sequence[StoredRun], b: Sequence[StoredRun]) -> list[str]:
    """In what the two sides differ: data, budget, protocol, references, settings of models on both sides."""
    sides = [
        replace(run, config={**run.config, "title": name, "label": None})
        for name, runs in (("A", a), ("B", b))
        for run in runs
    ]
    shared = disagreements([run for run in sides if run.state == "done"] or sides)
    found = [f"Warning. {shared}"] if shared else []
    theirs = {(run.model, run.label): run for run in b}
    for run in {(run.model, run.label): run for run in a}.values():
        other = theirs.get((run.model, run.label))
        ours, others = (each.config.get("settings") or {} for each in (run, other or run))
        differ = [name for name in {**ours, **others} if ours.get(name) != others.get(name)]
        if differ:
            words = (
                f"{name} {spell_value(ours.get(name))} in A, {spell_value(others.get(name))} in B"
                for name in differ
            )
            found.append(f"{run.name} has other settings: {'; '.join(words)}.")
    return found


def _to_csv(rows: Sequence[Difference]) -> str:
    """One line per cell, in the units of metrics.json."""
    head = [*_HEAD, *(f"{side}_{what}" for side in "ab" for what in ("mean", "std", "n"))]
    lines: list[list[object]] = [[*head, "difference", "standard_error", "note"]]
    for row in rows:
        sides: list[object] = []
        for cell in (row.a, row.b):
            mean, std = cell.mean if cell.values else None, cell.std if len(cell.values) > 1 else None
            sides += [mean, std, len(cell.values)]
        found = [row.model, row.label, row.title, row.column.metric, row.column.unit]
        lines.append([*found, *sides, row.value, row.error, row.note])
    return csv_text(lines)
