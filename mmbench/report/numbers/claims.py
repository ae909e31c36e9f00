"""The paper's claims: in every column of its tables its model leads each baseline. Here: by how much.

A lead is positive where the paper's model is the better one, whichever direction is better. Runs under a
--label are variants, and no part of this.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mmbench.escape import csv_text, escape_markdown
from mmbench.report.numbers import paper
from mmbench.report.numbers.columns import Column
from mmbench.report.numbers.compare import ABSENT, Difference
from mmbench.report.numbers.leaderboard import LEVEL, name_of
from mmbench.report.numbers.render import decimal
from mmbench.report.numbers.tables import Table

__all__ = ["HEADS", "READING", "Claim", "absences", "claims_csv", "claims_markdown", "fields", "find_claims"]

*BASELINES, PROPOSED = paper.MODELS
_OURS = paper.MODELS[PROPOSED]
HEADS = (
    "Column",
    f"Paper: lead of {_OURS} over the best",
    *(f"Here: over {paper.MODELS[name]}" for name in BASELINES),
    f"Here {_OURS} is",
)
READING = (
    f"Leads of {_OURS}: its figure minus the baseline's, the other way round where lower is better; shares "
    "in per cent. Here: difference of means ± its standard error over training seeds, and in parentheses how "
    "many of those it is; the paper gives no uncertainty. Ahead: of every baseline, each with p ≤ "
    f"{LEVEL:g} in Welch's two-sided test over seeds; behind: the other way round; undecided: p > "
    f"{LEVEL:g}; not tested: fewer than two seeds on a side, or values that do not vary over the seeds of "
    "one. No correction for the number of columns. All of this budget, not of the paper's where they differ."
)
_HEAD = (
    "metric",
    "unit",
    "baseline",
    "paper",
    "paper_baseline",
    "paper_lead",
    "mean",
    "n",
    "baseline_mean",
    "baseline_n",
    "lead",
    "standard_error",
    "p",
)


@dataclass(frozen=True)
class Claim:
    """One column.

    Attributes:
        column: the metric.
        paper: model name -> what the paper reports, for its model and each baseline.
        against: baseline -> the paper's model minus it, here; either side may lack values.
    """

    column: Column
    paper: dict[str, float]
    against: dict[str, Difference]

    @property
    def sign(self) -> int:
        """Of a difference that is a lead."""
        return -1 if self.column.better == "lower" else 1

    @property
    def rival(self) -> str:
        """The best baseline in the paper."""
        return max(BASELINES, key=lambda name: self.sign * self.paper[name])

    def lead(self, name: str) -> float | None:
        """Over a baseline, here; None where one of the two has no value."""
        value = self.against[name].value
        return None if value is None else self.sign * value

    def paper_lead(self, name: str) -> float:
        return self.sign * (self.paper[PROPOSED] - self.paper[name])

    @property
    def verdict(self) -> str:
        """Ahead of all baselines with p <= LEVEL each, behind some, or what else is the case."""
        behind, near, untested, absent = [], [], [], []
        for name, found in self.against.items():
            title, lead = paper.MODELS[name], self.lead(name)
            if lead is None:
                absent.append(title)
            elif found.p is None:
                untested.append(title)
            elif found.p > LEVEL:
                near.append(title)
            elif lead < 0:
                behind.append(title)
        if len(absent) == len(self.against):
            return "no value"
        parts = [
            ("behind", behind),
            ("undecided against", near),
            ("not tested against", untested),
            ("without", absent),
        ]
        said = [f"{word} {', '.join(titles)}" for word, titles in parts if titles]
        if not (behind or near or untested):
            said.insert(0, "ahead")
        return "; ".join(said)


def find_claims(tables: Sequence[Table], dataset: str) -> list[Claim]:
    """The paper's claims on the models in these tables.

    None where its model or every baseline is absent, and none on other data.
    """
    return [claim for table in tables for claim in _claims(table, dataset)]


def _claims(table: Table, dataset: str) -> Iterator[Claim]:
    """The claims on the columns of one table."""
    rows = {row.model: row for row in table.rows if not row.label}
    if PROPOSED not in rows or not any(name in rows for name in BASELINES):
        return
    ours = rows[PROPOSED]
    for index, column in enumerate(table.columns):
        reported = {
            name: value
            for name in paper.MODELS
            if (value := paper.reported(dataset, name, column.metric)) is not None
        }
        # training on part of the items has no figure in the paper
        if ours.cells[index].paper is None or len(reported) < len(paper.MODELS):
            continue
        cells = {name: rows[name].cells[index] if name in rows else ABSENT for name in BASELINES}
        yield Claim(
            column,
            reported,
            {
                name: Difference(PROPOSED, "", ours.name, column, ours.cells[index], cell)
                for name, cell in cells.items()
            },
        )


def claims_markdown(claims: Sequence[Claim], table: Table) -> str:
    """The claims, a row per column, how they are read, and what they rest on.

    That is the protocol and any warning of `table`, one of theirs.
    """
    lines = [
        READING,
        "",
        f"| {' | '.join(HEADS)} |",
        f"| :-- |{' --: |' * (len(HEADS) - 2)} :-- |",
        *(f"| {' | '.join(map(escape_markdown, fields(claim)))} |" for claim in claims),
        "",
    ]
    below = [f"— {escape_markdown(note)}" for note in absences(claims)]
    below += [f"**Warning.** {escape_markdown(table.warning)}"] if table.warning else []
    below += [f"Protocol. {escape_markdown(table.sentences)}"]
    return "\n".join([*lines, "<br>\n".join(below)]) + "\n"


def absences(claims: Sequence[Claim]) -> list[str]:
    """Why figures have no value, each reason once."""
    cells = (cell for claim in claims for found in claim.against.values() for cell in (found.a, found.b))
    return list(dict.fromkeys(cell.note for cell in cells if cell.note and not cell.values))


def fields(claim: Claim) -> list[str]:
    """The texts of its row, under HEADS."""

    def show(value: float, sign: str = "") -> str:
        return decimal(claim.column.shown(value), sign)

    row = [name_of(claim.column), f"{show(claim.paper_lead(claim.rival), '+')} ({paper.MODELS[claim.rival]})"]
    for name, found in claim.against.items():
        lead = claim.lead(name)
        if lead is None:
            row.append("—")
        elif found.error is None or not found.varies:
            row.append(show(lead, "+"))
        else:
            row.append(f"{show(lead, '+')} ± {show(found.error)} ({decimal(lead / found.error, '+')})")
    return [*row, claim.verdict]


def claims_csv(claims: Sequence[Claim]) -> str:
    """One line per column and baseline, in the units of metrics.json; models by their registered names."""
    lines: list[Sequence[object]] = [_HEAD]
    for claim in claims:
        for name, found in claim.against.items():
            sides: list[object] = []
            for cell in (found.a, found.b):
                sides += [cell.mean if cell.values else None, len(cell.values)]
            reported = [claim.paper[PROPOSED], claim.paper[name], claim.paper_lead(name)]
            tested = [claim.lead(name), found.error, found.p]
            lines.append([claim.column.metric, claim.column.unit, name, *reported, *sides, *tested])
    return csv_text(lines)
