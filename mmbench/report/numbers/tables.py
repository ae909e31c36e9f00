"""Tables 1-3 as data: which metrics, mean and standard deviation over seeds, the best per metric, and why a cell is empty.

    table 1    coherence: joint, and every ordered pair of modalities; of more than two modalities the mean per number of sources
    table 1b   of more than two modalities: coherence of every direction, from each subset to each other modality
    table 2    Frechet distances: FID (Inception) and FD-clf (the judge's features), with their floors
    table 3    linear probe of the latents

How they are written is in `render.py`.
"""

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, groupby
from typing import Literal, TypeAlias

import numpy as np

from metrics.groups import Unit, metric_group
from mmbench.report.numbers import paper
from mmbench.report.numbers.provenance import disagreements, protocol_lines, reference_values
from mmbench.storage.records import OBSERVED
from mmbench.storage.runs import StoredRun

__all__ = [
    "Cell",
    "Column",
    "Content",
    "Row",
    "Table",
    "abbreviations",
    "build_tables",
    "make_tables",
    "paper_contents",
]


@dataclass(frozen=True)
class Column:
    """A metric and how a table shows it.

    Attributes:
        metric: its name in metrics.json.
        group, part: the two lines of its head.
        unit: of the stored number; fractions are shown in per cent.
        better: which direction is better; empty for what has none.
        floor: the reference that a perfect model would reach, by name.
    """

    metric: str
    group: str
    part: str = ""
    unit: Unit = "fraction"
    better: Literal["higher", "lower", ""] = "higher"
    floor: str = ""

    def shown(self, value: float) -> float:
        """`value` in the table's unit, at the table's two decimals. Adding 0 turns -0 into 0."""
        return round(100 * value if self.unit == "fraction" else value, 2) + 0.0


Content: TypeAlias = tuple[list[Column], str]  # columns, and a caption that says what they mean


@dataclass(frozen=True)
class Cell:
    """One metric of one model over its seeds.

    Attributes:
        values: by seed; seeds without a value are absent.
        paper: what the paper reports.
        note: why there is no value, or fewer values than seeds.
        best: whether it is in bold.
    """

    values: dict[int, float]
    paper: float | None = None
    note: str = ""
    best: bool = False

    @property
    def undefined(self) -> bool:
        """Whether the model has nothing of the kind, as its reason begins by saying."""
        return not self.values and self.note.startswith("Not defined")

    @property
    def mean(self) -> float:
        return float(np.mean(list(self.values.values())))

    @property
    def std(self) -> float:
        """The sample standard deviation (ddof 1); for two values or more."""
        return float(np.std(list(self.values.values()), ddof=1))

    @property
    def standard_error(self) -> float:
        """Of the mean over seeds, and of its difference to a paper's figure that is taken as exact; for two values or more."""
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
    """

    name: str
    model: str
    label: str
    seeds: int
    cells: list[Cell]
    note: str = ""


@dataclass(frozen=True)
class Table:
    """One table of a preset folder.

    Attributes:
        number: 1, 1b, 2 or 3; `further` names its own.
        name: unique over data sets and presets, for LaTeX labels.
        caption: what the columns mean.
        columns, rows: the body.
        upright: whether metrics are printed below each other and models side by side, because the metrics are many.
        floors: under the body, distinct values per column where a column has a floor; empty without a floor row.
        lines: the protocol, in sentences.
        warning: that rows are not comparable; or empty.
    """

    number: str
    name: str
    caption: str
    columns: list[Column]
    rows: list[Row]
    upright: bool
    floors: list[list[float]]
    lines: list[str]
    warning: str

    @property
    def has_paper(self) -> bool:
        return _has_paper(self.rows)

    def compares(self, column: int) -> bool:
        """Whether the paper reports the column."""
        return any(row.cells[column].paper is not None for row in self.rows)


def build_tables(runs: Sequence[StoredRun]) -> list[Table]:
    """The tables 1-3 of the runs of one preset folder, in the order of `find_runs`."""
    return make_tables(runs, paper_contents(runs))


def paper_contents(runs: Sequence[StoredRun]) -> dict[str, Content]:
    """What the tables 1-3 hold for these runs, by number."""
    modalities = list(dict.fromkeys(name for run in runs for name in run.modalities))
    texts = {
        modality["name"] for run in runs for modality in run.config["modalities"] if modality.get("symbols")
    }
    fitted = any("fitted_coherence" in run.metrics for run in runs)
    return {
        "1": _coherence(modalities, fitted),
        **({"1b": _every_direction(modalities)} if len(modalities) > 2 else {}),
        "2": _distances(modalities, texts),
        "3": _probes(modalities),
    }


def make_tables(runs: Sequence[StoredRun], contents: Mapping[str, Content]) -> list[Table]:
    """The tables of these contents, by number, over the runs of one preset folder; each with a row for every model."""
    done = [run for run in runs if run.state == "done"]
    lines, warning = protocol_lines(done or runs), disagreements(done or runs)
    models = [list(group) for _, group in groupby(runs, key=lambda run: (run.model, run.label))]
    folder = re.sub(r"[^A-Za-z0-9]+", "-", f"{runs[0].dataset}-{runs[0].preset}")
    tables = []
    for number, (columns, caption) in contents.items():
        rows = _mark_best(columns, [_row(model, columns) for model in models])
        floors = (
            [reference_values(done, column.floor) for column in columns]
            if any(column.floor for column in columns)
            else []
        )
        source = [f"Paper: {paper.CITATION}."] if _has_paper(rows) else []
        upright = number == "1b"
        caption = f"{caption} {_legend(rows, upright)}".rstrip()
        tables.append(
            Table(
                number, f"{folder}-{number}", caption, columns, rows, upright, floors, lines + source, warning
            )
        )
    return tables


def abbreviations(names: Sequence[str]) -> dict[str, str]:
    """The shortest beginnings that tell `names` apart, capitalised: mnist, svhn -> M, S."""
    longest = max(map(len, names))
    length = next(
        (k for k in range(1, longest) if len({name[:k].lower() for name in names}) == len(names)), longest
    )
    return {name: name[:length].capitalize() for name in names}


def _coherence(modalities: list[str], fitted: bool) -> Content:
    columns = [
        Column("joint_coherence", "Joint"),
        Column("joint_coherence/chance", "Joint", "chance", better=""),
        Column("joint_coherence/entropy", "Joint", "entropy (nats)", unit="nats", better=""),
    ]
    caption = (
        "Coherence in per cent, higher is better. Joint: prior draws on which all judges agree; chance: agreement expected from the judges' class "
        "histograms alone; entropy: of the agreed class. "
    )
    if fitted:
        columns += [
            Column("fitted_coherence", "Joint fitted"),
            Column("fitted_coherence/chance", "Joint fitted", "chance", better=""),
            Column("fitted_coherence/entropy", "Joint fitted", "entropy (nats)", unit="nats", better=""),
        ]
        caption += (
            "Joint fitted: as joint, with draws from a Gaussian mixture in place of the prior, fitted to latents of train data after training; "
            "not the model's prior, and not the paper's joint coherence. "
        )
    if len(modalities) == 2:
        directions = _directions(modalities, 1)
        return columns + directions, caption + _reading(modalities, directions[0])
    for size in range(1, len(modalities)):
        columns += [
            Column(f"cross_coherence/size-{size}/{latent}", f"From {size}", latent)
            for latent in ("sample", "mean")
        ]
    return columns, caption + (
        "From n: n modalities are given and another one is generated, and the judge finds their class, averaged over all such directions (table 1b "
        "has each of them); sample: latent drawn once; mean: latent mean."
    )


def _every_direction(modalities: list[str]) -> Content:
    columns = [column for size in range(1, len(modalities)) for column in _directions(modalities, size)]
    return (
        columns,
        f"Cross coherence in per cent, higher is better. {_reading(modalities, columns[0])} {columns[-1].group}: given several at once.",
    )


def _directions(modalities: list[str], size: int) -> list[Column]:
    """From every subset of so many modalities to every other one."""
    short = abbreviations(modalities)
    return [
        Column(
            f"cross_coherence/{'+'.join(sources)}->{target}/{latent}",
            f"{'+'.join(short[name] for name in sources)}→{short[target]}",
            latent,
        )
        for sources in combinations(modalities, size)
        for target in modalities
        if target not in sources
        for latent in ("sample", "mean")
    ]


def _reading(modalities: list[str], example: Column) -> str:
    """What a direction means."""
    key = "; ".join(f"{letters}: {name}" for name, letters in abbreviations(modalities).items())
    return (
        f"{example.group}: the second modality generated from the first, and the judge finds the class of the condition; sample: latent drawn once; "
        f"mean: latent mean. {key}."
    )


def _distances(modalities: list[str], texts: Collection[str]) -> Content:
    columns = [
        Column(
            f"{metric}/{name}",
            f"{title} {name}",
            unit="distance",
            better="lower",
            floor=f"{metric}_floor/{name}",
        )
        for metric, title in (("fid", "FID"), ("fd_clf", "FD-clf"))
        for name in modalities
        if not (metric == "fid" and name in texts)
    ]
    return columns, (
        "Fréchet distance of generated to real test data, lower is better. FID: in Inception's features"
        f"{', which only images have' if texts else ''}; FD-clf: in the judge's features, another measure that is not comparable with FID. "
        "Floor: real train data in place of the generated ones."
    )


def _probes(modalities: list[str]) -> Content:
    columns = [Column(f"probe/{name}", f"Probe {name}") for name in modalities]
    return (
        columns,
        "Accuracy in per cent of a linear probe on the latents of single modalities, higher is better.",
    )


def _has_paper(rows: Sequence[Row]) -> bool:
    return any(cell.paper is not None for row in rows for cell in row.cells)


def _legend(rows: Sequence[Row], upright: bool) -> str:
    counted = [row for row in rows if row.seeds]
    parts = (
        ["Entries are mean ± standard deviation over training seeds."]
        if any(row.seeds > 1 for row in counted)
        else []
    )
    parts += (
        [f"Bold: best of the {'row' if upright else 'column'}."]
        if any(cell.best for row in rows for cell in row.cells)
        else []
    )
    parts += [f"Paper: {paper.SHORT_CITATION}; Δ: ours minus the paper."] if _has_paper(rows) else []
    return " ".join(parts)


def _row(runs: list[StoredRun], columns: Sequence[Column]) -> Row:
    done = [run for run in runs if run.state == "done"]
    missing = "; ".join(_state(run) for run in runs if run.state != "done")
    rests = f"Rests on {len(done)} of {len(runs)} seeds" if done else "No seed is done"
    note = f"{rests}: {missing}." if missing else ""
    cells = [
        _cell(done, column, runs[0]) if done else Cell({}, _paper(runs[0], column), note)
        for column in columns
    ]
    return Row(runs[0].name, runs[0].model, runs[0].label, len(done), cells, note)


def _state(run: StoredRun) -> str:
    error = " ".join(str(run.status.get("error") or "").split())
    return f"seed {run.seed} {'is ' if run.state != 'failed' else ''}{run.state}" + (
        f" ({error[:200]})" if error else ""
    )


def _paper(run: StoredRun, column: Column) -> float | None:
    """What the paper reports, of training on all items."""
    return (
        None
        if (run.config.get("training") or {}).get(OBSERVED)
        else paper.reported(run.dataset, run.model, column.metric)
    )


def _cell(done: list[StoredRun], column: Column, first: StoredRun) -> Cell:
    values = {run.seed: value for run in done if (value := run.metrics.get(column.metric)) is not None}
    unasked = f"not computed in this run; mmbench evaluate adds it later, with --metrics {metric_group(column.metric)}"
    reasons: dict[str, list[str]] = {}
    for run in done:
        if run.seed not in values:
            reasons.setdefault(run.reasons.get(column.metric, unasked).rstrip("."), []).append(str(run.seed))
    if len(reasons) == 1 and not values:
        note = f"{next(iter(reasons))}."
    else:
        note = "".join(f"Seed {', '.join(seeds)}: {reason}. " for reason, seeds in reasons.items()).strip()
    return Cell(values, _paper(first, column), note)


def _mark_best(columns: Sequence[Column], rows: list[Row]) -> list[Row]:
    """Rows with the best cells marked: ties at the printed precision all count, and one model alone is not the best of anything."""
    for index, column in enumerate(columns):
        means = [column.shown(row.cells[index].mean) for row in rows if row.cells[index].values]
        if column.better and len(means) > 1:
            best = max(means) if column.better == "higher" else min(means)
            for row in rows:
                cell = row.cells[index]
                row.cells[index] = replace(cell, best=bool(cell.values) and column.shown(cell.mean) == best)
    return rows
