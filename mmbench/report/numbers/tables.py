"""Tables 1-4 as data: mean and standard deviation over seeds, the best per metric, and why a cell is empty.

Which metrics they show is in `columns.py`, how they are written in `render.py`.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np

from metrics.catalogue import group_of
from metrics.missing import Lack, Missing
from metrics.names import MetricName
from mmbench.report.numbers import paper
from mmbench.report.numbers.columns import Column, Content, paper_contents
from mmbench.report.numbers.provenance import disagreements, protocol_of, reference_values
from mmbench.storage.runs import StoredRun
from mmbench.storage.shapes import OBSERVED
from models.named_settings import PUBLISHED

__all__ = ["Cell", "Row", "Table", "build_tables", "make_tables"]


@dataclass(frozen=True)
class Cell:
    """One metric of one model over its seeds.

    Attributes:
        values: by seed; seeds without a value are absent.
        paper: what the paper reports.
        note: why there is no value, or fewer values than seeds.
        best: whether it is in bold.
        lack: why there is no value, where all seeds have a reason of the same kind.
    """

    values: dict[int, float]
    paper: float | None = None
    note: str = ""
    best: bool = False
    lack: Lack | None = None

    @property
    def undefined(self) -> bool:
        """Whether the model has nothing of the kind."""
        return self.lack is Lack.NOT_DEFINED

    @property
    def mean(self) -> float:
        return float(np.mean(list(self.values.values())))

    @property
    def std(self) -> float:
        """The sample standard deviation (ddof 1); for two values or more."""
        return float(np.std(list(self.values.values()), ddof=1))

    @property
    def standard_error(self) -> float:
        """Of the mean, and of its difference to a paper's figure taken as exact; for two values or more."""
        return self.std / math.sqrt(len(self.values))


@dataclass(frozen=True)
class Row:
    """One model, or one variant of it.

    Attributes:
        name: title and label.
        model, label: as in the configuration.
        seeds: how many runs are done.
        cells: one per column.
        note: which seeds are missing and why.
        kind: "" for the model itself, the name of its settings if they have one (see
            `models.named_settings`), None for a variant under a label of its own.
    """

    name: str
    model: str
    label: str
    seeds: int
    cells: list[Cell]
    note: str = ""
    kind: str | None = ""


@dataclass(frozen=True)
class Table:
    """One table of a preset folder.

    Attributes:
        number: 1, 1b, 2, 3, 4 or 4b; `further` names its own.
        name: unique over data sets and presets, for LaTeX labels.
        caption: what the columns mean.
        columns, rows: the body.
        upright: whether metrics are printed below each other and models side by side, as there are many
            metrics.
        matrix: the modalities that are rows and columns of what is printed for every model, as `Content`
            says; empty for tables with a column for each metric.
        floors: under the body, distinct values per column where a column has a floor; empty without a floor
            row.
        protocol: how the numbers came about: title -> text.
        warning: that rows are not comparable; or empty.
    """

    number: str
    name: str
    caption: str
    columns: list[Column]
    rows: list[Row]
    upright: bool
    matrix: tuple[str, ...]
    floors: list[list[float]]
    protocol: dict[str, str]
    warning: str

    @property
    def has_paper(self) -> bool:
        return _has_paper(self.rows)

    @property
    def sentences(self) -> str:
        """The protocol in sentences: "Title: text." after each other."""
        return " ".join(f"{title}: {text}." for title, text in self.protocol.items())

    def compares(self, column: int) -> bool:
        """Whether the paper reports the column."""
        return any(row.cells[column].paper is not None for row in self.rows)


def build_tables(runs: Sequence[StoredRun]) -> list[Table]:
    """The tables 1-4 of the runs of one preset folder, in the order of `find_runs`."""
    return make_tables(runs, paper_contents(runs))


def make_tables(runs: Sequence[StoredRun], contents: Mapping[str, Content]) -> list[Table]:
    """The tables of these contents over the runs of one preset folder, each with a row for every model."""
    done = [run for run in runs if run.state == "done"]
    protocol, warning = protocol_of(done or runs), disagreements(done or runs)
    models = [list(group) for _, group in groupby(runs, key=lambda run: (run.model, run.label))]
    folder = re.sub(r"[^A-Za-z0-9]+", "-", f"{runs[0].dataset}-{runs[0].preset}")
    tables = []
    for number, (columns, caption, matrix) in contents.items():
        rows = _mark_best(columns, [_row(model, columns) for model in models])
        floors = (
            [reference_values(done, column.floor) for column in columns]
            if any(column.floor for column in columns)
            else []
        )
        said = protocol | ({"Paper": paper.CITATION} if _has_paper(rows) else {})
        upright = number == "1b" and not matrix
        left_out = any(
            len(_varied(index, columns, rows)) < sum(bool(row.cells[index].values) for row in rows)
            for index in range(len(columns))
        )
        caption = f"{caption} {_legend(rows, bool(matrix), upright, left_out)}".rstrip()
        name = f"{folder}-{number}"
        tables.append(Table(number, name, caption, columns, rows, upright, matrix, floors, said, warning))
    return tables


def _has_paper(rows: Sequence[Row]) -> bool:
    return any(cell.paper is not None for row in rows for cell in row.cells)


def _legend(rows: Sequence[Row], matrix: bool, upright: bool, left_out: bool) -> str:
    """What the entries of a table show.

    Args:
        matrix: whether every model has a matrix of numbers.
        upright: whether a row is a column of numbers.
        left_out: whether a model cannot be the best of joint coherence.
    """
    counted = [row for row in rows if row.seeds]
    few = ", of joint coherence among models with at least half of the largest entropy" * left_out
    parts = (
        ["Entries are mean ± standard deviation over training seeds."]
        if any(row.seeds > 1 for row in counted)
        else []
    )
    parts += (
        [f"Bold: best of the {'direction' if matrix else 'row' if upright else 'column'}{few}."]
        if any(cell.best for row in rows for cell in row.cells)
        else []
    )
    parts += [f"Paper: {paper.SHORT_CITATION}; Δ: ours minus the paper."] if _has_paper(rows) else []
    return " ".join(parts)


def _row(runs: list[StoredRun], columns: Sequence[Column]) -> Row:
    """The row of one model, from all of its runs."""
    done = [run for run in runs if run.state == "done"]
    missing = "; ".join(_state(run) for run in runs if run.state != "done")
    rests = f"Rests on {len(done)} of {len(runs)} seeds" if done else "No seed is done"
    note = f"{rests}: {missing}." if missing else ""
    cells = [
        _cell(done, column, runs[0]) if done else Cell({}, _paper(runs[0], column), note)
        for column in columns
    ]
    kind = None if runs[0].is_variant else runs[0].named
    return Row(runs[0].name, runs[0].model, runs[0].label, len(done), cells, note, kind)


def _state(run: StoredRun) -> str:
    error = " ".join(str(run.status.get("error") or "").split())
    return f"seed {run.seed} {'is ' if run.state != 'failed' else ''}{run.state}" + (
        f" ({error[:200]})" if error else ""
    )


def _paper(run: StoredRun, column: Column) -> float | None:
    """What the paper reports: of training on all items, and of the models as it ran them.

    A variant under a label, or a baseline as its authors published it, is another thing.
    """
    partial = (run.config.get("training") or {}).get(OBSERVED)
    if partial or run.is_variant or run.named == PUBLISHED:
        return None
    return paper.reported(run.dataset, run.model, column.metric)


def _cell(done: list[StoredRun], column: Column, first: StoredRun) -> Cell:
    """A metric over the seeds that are done, and why seeds have no value."""
    values = {run.seed: value for run in done if (value := run.metrics.get(column.metric)) is not None}
    unasked = Missing(
        Lack.NOT_ASKED,
        "not computed in this run; mmbench evaluate adds it later, with --metrics " + group_of(column.metric),
    )
    reasons: dict[Missing, list[str]] = {}
    for run in done:
        if run.seed not in values:
            reason = run.reasons.get(column.metric, unasked)
            plain = replace(reason, sentence=reason.sentence.rstrip("."))
            reasons.setdefault(plain, []).append(str(run.seed))
    reported, kinds = _paper(first, column), {reason.kind for reason in reasons}
    lack = kinds.pop() if len(kinds) == 1 and not values else None
    if len(reasons) == 1 and not values:
        return Cell(values, reported, f"{next(iter(reasons))}.", lack=lack)
    notes = (f"Seed {', '.join(seeds)}: {reason}." for reason, seeds in reasons.items())
    return Cell(values, reported, " ".join(notes), lack=lack)


def _mark_best(columns: Sequence[Column], rows: list[Row]) -> list[Row]:
    """Rows with the best cells marked: all ties as printed, and none where one model alone has values."""
    for index, column in enumerate(columns):
        varied = _varied(index, columns, rows)
        means = [column.shown(rows[place].cells[index].mean) for place in varied]
        if column.better and sum(bool(row.cells[index].values) for row in rows) > 1 and means:
            best = max(means) if column.better == "higher" else min(means)
            for place in varied:
                cell = rows[place].cells[index]
                rows[place].cells[index] = replace(cell, best=column.shown(cell.mean) == best)
    return rows


def _varied(index: int, columns: Sequence[Column], rows: Sequence[Row]) -> list[int]:
    """The places of the rows with a value in a column that can be the best.

    Of a coherence of joint draws only those whose entropy is at least half of the largest one: a model that
    draws one class again and again is coherent at no cost.
    """
    found = [place for place, row in enumerate(rows) if row.cells[index].values]
    name = MetricName.parse(columns[index].metric)
    entropy = str(replace(name, part="entropy"))
    beside = next((i for i, column in enumerate(columns) if not name.part and column.metric == entropy), None)
    if beside is None:
        return found
    known = {place: rows[place].cells[beside].mean for place in found if rows[place].cells[beside].values}
    least = max(known.values(), default=0.0) / 2
    return [place for place in found if known.get(place, least) >= least]
