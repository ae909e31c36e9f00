"""Tables as CSV (raw numbers), Markdown and LaTeX, with every word from outside escaped."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import groupby

from metrics.names import MetricName
from mmbench.escape import csv_text, escape_latex, escape_markdown
from mmbench.report.numbers.columns import Column
from mmbench.report.numbers.tables import Cell, Row, Table

__all__ = ["Field", "Grid", "decimal", "lay_out", "to_csv", "to_latex", "to_markdown"]

_EMPTY = "—"
_WIDEST = 48  # letters in a cell of a LaTeX table, which ends at 16,383 pt
_HEAD = [
    "model",
    "label",
    "title",
    "metric",
    "unit",
    "mean",
    "std",
    "n",
    "values",
    "seeds",
    "paper",
    "difference",
    "standard_error",
    "best",
    "note",
]
_MINUS = "\N{MINUS SIGN}"


def to_csv(table: Table) -> str:
    """One line per model and metric, in the units of metrics.json, then floors.

    A line has mean, std (ddof 1), n, values and their seeds, paper, difference, and the standard error of
    mean and difference.
    """
    lines: list[list[object]] = [[*_HEAD]]
    for row in table.rows:
        for column, cell in zip(table.columns, row.cells, strict=True):
            several = len(cell.values) > 1
            difference = cell.mean - cell.paper if cell.values and cell.paper is not None else None
            note = " ".join(dict.fromkeys(filter(None, (cell.note, row.note))))
            lines.append(
                [
                    *(row.model, row.label, row.name, column.metric, column.unit),
                    cell.mean if cell.values else None,
                    cell.std if several else None,
                    len(cell.values),
                    _numbers(cell.values.values()),
                    ";".join(map(str, cell.values)),
                    *(cell.paper, difference),
                    cell.standard_error if several else None,
                    "yes" if cell.best else "",
                    note,
                ]
            )
    for column, floors in zip(table.columns, table.floors, strict=False):
        if column.floor:
            mean = floors[0] if len(floors) == 1 else None
            head = ["", "", "floor", column.floor, column.unit]
            lines.append([*head, mean, "", len(floors), _numbers(floors), *[""] * 6])
    return csv_text(lines)


def to_markdown(table: Table) -> str:
    """The table with its title, footnotes, warning and protocol."""
    grid = lay_out(table)
    lines = [
        f"**Table {table.number}.** {escape_markdown(table.caption)}",
        "",
        _bar(escape_markdown(f"{group} {part}".strip()) for group, part in grid.head),
        _bar([":--", *["--:"] * (len(grid.head) - 1)]),
        *(_bar(map(_markdown_field, row)) for row in grid.body + grid.foot),
    ]
    below = [f"<sup>{mark}</sup> {escape_markdown(note)}" for note, mark in grid.notes.items()]
    below += [f"**Warning.** {escape_markdown(table.warning)}"] if table.warning else []
    below += [f"Protocol. {escape_markdown(table.sentences)}"]
    return "\n".join([*lines, "", "<br>\n".join(below)]) + "\n"


def to_latex(table: Table) -> str:
    """A table float for \\input: booktabs rules, groups of columns, scaled down where it is too wide."""
    grid = lay_out(table)
    groups = [(name, len(list(items))) for name, items in groupby(grid.head, key=lambda head: head[0])]
    ends = [sum(width for _, width in groups[: i + 1]) for i in range(len(groups))]
    rules = [
        f"\\cmidrule(lr){{{end - width + 1}-{end}}}"
        for (_, width), end in zip(groups, ends, strict=True)
        if width > 1
    ]
    heads = [
        name if width == 1 else f"\\multicolumn{{{width}}}{{c}}{{{name}}}"
        for name, width in ((escape_latex(name, _WIDEST), width) for name, width in groups)
    ]
    wide = {name for name, width in groups if width > 1}
    parts = [escape_latex(part or ("ours" if group in wide else ""), _WIDEST) for group, part in grid.head]
    below = [f"\\textsuperscript{{{mark}}} {escape_latex(note)}" for note, mark in grid.notes.items()]
    below += [f"\\textbf{{Warning.}} {escape_latex(table.warning)}"] if table.warning else []
    below += [f"Protocol. {escape_latex(table.sentences)}"]
    return "\n".join(
        [
            "% Needs \\usepackage{booktabs} and \\usepackage{graphicx}.",
            "\\begin{table}[t]",
            "\\centering",
            f"\\caption{{{escape_latex(table.caption)}}}",
            f"\\label{{tab:{table.name}}}",
            "\\resizebox{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}{!}{%",
            f"\\begin{{tabular}}{{l{'r' * (len(grid.head) - 1)}}}",
            "\\toprule",
            f"{' & '.join(heads)} \\\\",
            *([" ".join(rules), f"{' & '.join(parts)} \\\\"] if rules else []),
            "\\midrule",
            *(f"{' & '.join(map(_latex_field, row))} \\\\" for row in grid.body),
            *(["\\midrule"] if grid.foot else []),
            *(f"{' & '.join(map(_latex_field, row))} \\\\" for row in grid.foot),
            "\\bottomrule",
            "\\end{tabular}}",
            "\\par\\smallskip",
            "\\begin{minipage}{\\linewidth}\\footnotesize",
            "\\par\n".join(below),
            "\\end{minipage}",
            "\\end{table}",
            "",
        ]
    )


@dataclass(frozen=True)
class Field:
    """What stands in one place of a printed table."""

    text: str
    bold: bool = False
    mark: str = ""


@dataclass
class Grid:
    """A printed table before it is written: heads (group, part), rows, floor rows, footnotes with marks."""

    head: list[tuple[str, str]]
    body: list[list[Field]] = field(default_factory=list)
    foot: list[list[Field]] = field(default_factory=list)
    notes: dict[str, str] = field(default_factory=dict)

    def mark(self, note: str) -> str:
        """The letters of a footnote: a, b, ..., z, aa, ab, ..."""
        if note and note not in self.notes:
            number, letters = len(self.notes) + 1, ""
            while number:
                number, digit = divmod(number - 1, 26)
                letters = chr(ord("a") + digit) + letters
            self.notes[note] = letters
        return self.notes.get(note, "")


def lay_out(table: Table) -> Grid:
    """A table as it is printed."""
    if table.matrix:
        return _lay_out_matrix(table)
    return _lay_out_upright(table) if table.upright else _lay_out_rows(table)


def _lay_out_matrix(table: Table) -> Grid:
    """For every model a row per modality that is given, and a column per other one; of sampled latents."""
    grid = Grid([("Model", ""), ("Given", ""), *((f"→ {name}", "") for name in table.matrix)])
    places = {
        (*name.sources, name.target): place
        for place, column in reversed(list(enumerate(table.columns)))
        if (name := MetricName.parse(column.metric)).is_pair and name.mode != "mean"
    }  # of several metrics of a direction the first
    for row in table.rows:
        for given in table.matrix:
            fields = [
                Field(row.name if given == table.matrix[0] else "", mark=grid.mark(row.note)),
                Field(given),
            ]
            for other in table.matrix:
                place = places.get((given, other))
                entry = None if place is None else _entry(grid, table.columns[place], row.cells[place])
                fields.append(entry or Field(""))
            grid.body.append(fields)
    return grid


def _lay_out_rows(table: Table) -> Grid:
    """A row per model."""
    grid = Grid([("Model", ""), ("Seeds", "")])
    compared = [table.compares(index) for index in range(len(table.columns))]
    for column, paired in zip(table.columns, compared, strict=True):
        grid.head += [
            (column.group, column.part),
            *([(column.group, "paper"), (column.group, "Δ")] if paired else []),
        ]
    for row in table.rows:
        fields = [Field(row.name), Field(str(row.seeds), mark=grid.mark(row.note))]
        for column, cell, paired in zip(table.columns, row.cells, compared, strict=True):
            fields += [_entry(grid, column, cell), *(_comparison(grid, column, cell, row) if paired else [])]
        grid.body.append(fields)
    if table.floors:
        fields = [Field("Floor (real train data)"), Field("")]
        for i, (column, values) in enumerate(zip(table.columns, table.floors, strict=True)):
            empty = [
                row.cells[i] for row in table.rows if not row.cells[i].values
            ]  # a metric that no run has lacks its floor for the same reason
            note = empty[0].note if len(empty) == len(table.rows) else "No run holds this floor."
            text = " or ".join(decimal(column.shown(value)) for value in values)
            fields += [
                Field(text) if values else Field(_EMPTY, mark=grid.mark(note)),
                *[Field("")] * (2 * compared[i]),
            ]
        grid.foot.append(fields)
    return grid


def _lay_out_upright(table: Table) -> Grid:
    """A row per metric, without what a paper reports."""
    grid = Grid([("", ""), *((row.name, "") for row in table.rows)])
    grid.body.append(
        [Field("Seeds"), *(Field(str(row.seeds), mark=grid.mark(row.note)) for row in table.rows)]
    )
    for i, column in enumerate(table.columns):
        grid.body.append(
            [
                Field(f"{column.group} {column.part}".strip()),
                *(_entry(grid, column, row.cells[i]) for row in table.rows),
            ]
        )
    return grid


def _entry(grid: Grid, column: Column, cell: Cell) -> Field:
    if not cell.values:
        return Field("not defined" if cell.undefined else _EMPTY, mark=grid.mark(cell.note))
    spread = f" ± {decimal(column.shown(cell.std))}" if len(cell.values) > 1 else ""
    return Field(decimal(column.shown(cell.mean)) + spread, cell.best, grid.mark(cell.note))


def _comparison(grid: Grid, column: Column, cell: Cell, row: Row) -> list[Field]:
    """What the paper reports, and ours minus that."""
    if cell.paper is None:
        note = f"The paper does not report this {'variant' if row.label else 'model'}."
        return [Field(_EMPTY, mark=grid.mark(note))] * 2
    reported = Field(decimal(column.shown(cell.paper)))
    if not cell.values:
        return [reported, Field(_EMPTY, mark=grid.mark(cell.note))]
    return [reported, Field(decimal(column.shown(cell.mean - cell.paper), sign="+"))]


def decimal(value: float, sign: str = "") -> str:
    """With two decimals and a minus sign; `sign` "+" asks for the plus sign too."""
    return f"{value:{sign}.2f}".replace("-", _MINUS)


def _numbers(values: Iterable[float]) -> str:
    return ";".join(f"{value:.10g}" for value in values)


def _bar(fields: Iterable[str]) -> str:
    return f"| {' | '.join(fields)} |"


def _markdown_field(item: Field) -> str:
    text = escape_markdown(item.text)
    return (f"**{text}**" if item.bold else text) + (f"<sup>{item.mark}</sup>" if item.mark else "")


def _latex_field(item: Field) -> str:
    text = escape_latex(item.text, _WIDEST)
    return (f"\\textbf{{\\boldmath {text}}}" if item.bold else text) + (
        f"\\textsuperscript{{{item.mark}}}" if item.mark else ""
    )
