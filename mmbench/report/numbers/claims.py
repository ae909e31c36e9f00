"""The paper's claims: in every column of its tables its model leads each baseline. Here: by how much.

A lead is positive where the paper's model is the better one, whichever direction is better. There are two
kinds of baseline, never mixed: the paper's kind, and baselines as their authors published them (settings with
these names, see `models.named_settings`). Runs under another label are variants, and no part of this.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from mmbench.escape import csv_text, escape_markdown
from mmbench.report.numbers import paper
from mmbench.report.numbers.columns import Column
from mmbench.report.numbers.compare import ABSENT, Difference
from mmbench.report.numbers.leaderboard import LEVEL, holm, name_of
from mmbench.report.numbers.render import decimal
from mmbench.report.numbers.tables import Row, Table
from models.named_settings import PAPER, PUBLISHED, WORDS

__all__ = ["Claim", "absences", "claims_csv", "claims_markdown", "fields", "find_claims", "heads", "reading"]

*BASELINES, PROPOSED = paper.MODELS
_OURS = paper.MODELS[PROPOSED]
_AS_PUBLISHED = f", {WORDS[PUBLISHED]}"
_READING = (
    f"Leads of {_OURS}: its figure minus the baseline's, the other way round where lower is better; shares "
    "in per cent. Here: difference of means ± its standard error over training seeds, and in parentheses how "
    "many of those it is; the paper gives no uncertainty. Ahead: of every baseline, each with p ≤ "
    f"{LEVEL:g} in Welch's two-sided test over seeds; behind: the other way round; undecided: p > "
    f"{LEVEL:g}; not tested: fewer than two seeds on a side, or values that do not vary over the seeds of "
    "one. Of many tests some succeed by chance: those whose p Holm's correction for all columns and "
    f"baselines of a kind takes above {LEVEL:g} are named. All of this budget, not of the paper's where they "
    "differ."
)
_KINDS = (
    " The first verdict is against the paper's kind of baseline, the second against baselines as their "
    f"authors published them; the two disagree where {_OURS} is ahead of one kind, or behind it, and not so "
    "of the other."
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
    "p_holm",
    "kind",
)


@dataclass(frozen=True)
class Claim:
    """One column.

    Attributes:
        column: the metric.
        paper: model name -> what the paper reports, for its model and each baseline.
        against: baseline of the paper's kind -> the paper's model minus it, here; either side may lack
            values.
        published: the same for baselines as published, of which there may be others than the paper's.
        names: baseline -> its title, of the published ones.
        corrected: kind of baseline -> baseline -> p by Holm's correction over all claims, where it is tested.
    """

    column: Column
    paper: dict[str, float]
    against: dict[str, Difference]
    published: dict[str, Difference]
    names: dict[str, str]
    corrected: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def kinds(self) -> dict[str, dict[str, Difference]]:
        """The differences by the kind of baseline."""
        return {PAPER: self.against, PUBLISHED: self.published}

    @property
    def sign(self) -> int:
        """Of a difference that is a lead."""
        return -1 if self.column.better == "lower" else 1

    @property
    def rival(self) -> str:
        """The best baseline in the paper."""
        return max(BASELINES, key=lambda name: self.sign * self.paper[name])

    def lead(self, found: Difference) -> float | None:
        """Over the baseline of a difference; None where one of the two has no value."""
        return None if found.value is None else self.sign * found.value

    def paper_lead(self, name: str) -> float:
        return self.sign * (self.paper[PROPOSED] - self.paper[name])

    @property
    def verdict(self) -> str:
        """Ahead of all baselines of a kind with p <= LEVEL each, behind some, or what else is the case."""
        stance, said = self._judge(PAPER, paper.MODELS)
        if not self.published:
            return said
        other, added = self._judge(PUBLISHED, self.names)
        disagree = " The two disagree." if stance and other and stance != other else ""
        return f"{said}. Against those as published: {added}.{disagree}"

    def _judge(self, kind: str, titles: Mapping[str, str]) -> tuple[str, str]:
        """Against one kind of baseline: "ahead", "behind", "undecided" or "" without a test; and in words."""
        against, corrected = self.kinds[kind], self.corrected.get(kind, {})
        behind, near, untested, absent = [], [], [], []
        for name, found in against.items():
            lead = self.lead(found)
            if lead is None:
                absent.append(titles[name])
            elif found.p is None:
                untested.append(titles[name])
            elif found.p > LEVEL:
                near.append(titles[name])
            elif lead < 0:
                behind.append(titles[name])
        if len(absent) == len(against):
            return "", "no value"
        lost = [
            titles[name]
            for name, found in against.items()
            if found.p is not None and found.p <= LEVEL < corrected.get(name, found.p)
        ]
        parts = [
            ("behind", behind),
            ("undecided against", near),
            ("not tested against", untested),
            ("without", absent),
            ("not after Holm's correction:", lost),
        ]
        said = [f"{word} {', '.join(named)}" for word, named in parts if named]
        stance = "behind" if behind else "" if untested else "undecided" if near else "ahead"
        return stance, "; ".join([*([stance] if stance == "ahead" else []), *said])


def find_claims(tables: Sequence[Table], dataset: str) -> list[Claim]:
    """The paper's claims on the models in these tables.

    None where its model or every baseline is absent, and none on other data.
    """
    claims = [claim for table in tables for claim in _claims(table, dataset)]
    corrected = {kind: _corrected([claim.kinds[kind] for claim in claims]) for kind in (PAPER, PUBLISHED)}
    return [
        replace(claim, corrected={kind: found[number] for kind, found in corrected.items()})
        for number, claim in enumerate(claims)
    ]


def _corrected(against: Sequence[Mapping[str, Difference]]) -> list[dict[str, float]]:
    """Of every claim, baseline -> p by Holm's correction over all tests of all claims."""
    tests = {
        (number, name): found.p
        for number, claim in enumerate(against)
        for name, found in claim.items()
        if found.p is not None
    }
    corrected = dict(zip(tests, holm(list(tests.values())), strict=True))
    return [
        {name: corrected[number, name] for name in claim if (number, name) in corrected}
        for number, claim in enumerate(against)
    ]


def _claims(table: Table, dataset: str) -> Iterator[Claim]:
    """The claims on the columns of one table."""
    rows = _of_kind(table, "") | _of_kind(table, PAPER)
    published = _of_kind(table, PUBLISHED)
    if PROPOSED not in rows or not any(name in found for name in BASELINES for found in (rows, published)):
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
        others = {name: row.cells[index] for name, row in published.items()}
        against, as_published = (
            {
                name: Difference(PROPOSED, "", ours.name, column, ours.cells[index], cell)
                for name, cell in kind.items()
            }
            for kind in (cells, others)
        )
        names = {name: row.name.removesuffix(_AS_PUBLISHED) for name, row in published.items()}
        yield Claim(column, reported, against, as_published, names)


def _of_kind(table: Table, kind: str) -> dict[str, Row]:
    """The rows of a kind by model."""
    return {row.model: row for row in table.rows if row.kind == kind}


def heads(claims: Sequence[Claim]) -> list[str]:
    """Of the columns under which `fields` stand."""
    names = [paper.MODELS[name] for name in BASELINES]
    names += [f"{title}{_AS_PUBLISHED}" for title in claims[0].names.values()]
    over = [f"Here: over {name}" for name in names]
    return ["Column", f"Paper: lead of {_OURS} over the best", *over, f"Here {_OURS} is"]


def reading(claims: Sequence[Claim]) -> str:
    """How the claims are read."""
    return _READING + _KINDS * bool(claims[0].names)


def claims_markdown(claims: Sequence[Claim], table: Table) -> str:
    """The claims, a row per column, how they are read, and what they rest on.

    That is the protocol and any warning of `table`, one of theirs.
    """
    columns = heads(claims)
    lines = [
        reading(claims),
        "",
        f"| {' | '.join(map(escape_markdown, columns))} |",
        f"| :-- |{' --: |' * (len(columns) - 2)} :-- |",
        *(f"| {' | '.join(map(escape_markdown, fields(claim)))} |" for claim in claims),
        "",
    ]
    below = [f"— {escape_markdown(note)}" for note in absences(claims)]
    below += [f"**Warning.** {escape_markdown(table.warning)}"] if table.warning else []
    below += [f"Protocol. {escape_markdown(table.sentences)}"]
    return "\n".join([*lines, "<br>\n".join(below)]) + "\n"


def absences(claims: Sequence[Claim]) -> list[str]:
    """Why figures have no value, each reason once."""
    differences = (
        found for claim in claims for found in (*claim.against.values(), *claim.published.values())
    )
    cells = (cell for found in differences for cell in (found.a, found.b))
    return list(dict.fromkeys(cell.note for cell in cells if cell.note and not cell.values))


def fields(claim: Claim) -> list[str]:
    """The texts of its row, under `heads`."""

    def show(value: float, sign: str = "") -> str:
        return decimal(claim.column.shown(value), sign)

    row = [name_of(claim.column), f"{show(claim.paper_lead(claim.rival), '+')} ({paper.MODELS[claim.rival]})"]
    for found in (*claim.against.values(), *claim.published.values()):
        lead = claim.lead(found)
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
        for kind, against in claim.kinds.items():
            for name, found in against.items():
                sides: list[object] = []
                for cell in (found.a, found.b):
                    sides += [cell.mean if cell.values else None, len(cell.values)]
                known = kind == PAPER
                reported = [
                    claim.paper[PROPOSED],
                    *([claim.paper[name], claim.paper_lead(name)] if known else [None, None]),
                ]
                tested = [claim.lead(found), found.error, found.p, claim.corrected.get(kind, {}).get(name)]
                row = [claim.column.metric, claim.column.unit, name, *reported, *sides, *tested, kind]
                lines.append(row)
    return csv_text(lines)
