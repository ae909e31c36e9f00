"""The paper's claim, column by column: by how much its model leads the best of its baselines there and here, and whether that is chance.

A lead is positive where the paper's model is the better one, whichever direction is better. The best of the paper's baselines is chosen per
column, in the paper among those that were run here, and here among those with a value: being chosen flatters it a little in the test.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mmbench.report import paper
from mmbench.report.compare import Difference
from mmbench.report.leaderboard import LEVEL, name_of, welch
from mmbench.report.render import escape_markdown
from mmbench.report.tables import Column, Row, Table

__all__ = ["Claim", "claims_csv", "claims_markdown", "find_claims"]

*BASELINES, PROPOSED = paper.MODELS
_HEAD = (
    *("metric", "unit", "paper", "paper_rival", "paper_rival_value", "paper_lead"),
    *("mean", "rival", "rival_mean", "lead", "standard_error", "p", "verdict"),
)


@dataclass(frozen=True)
class Claim:
    """One column in which the paper says that its model leads.

    Attributes:
        column: the metric.
        proposed: the row of the paper's model.
        index: of the column in its table, and so of its cell in a row.
        paper_rival: the best baseline in the paper.
        rival: the best baseline here; None where no baseline or not the paper's model has a value.
    """

    column: Column
    proposed: Row
    index: int
    paper_rival: Row
    rival: Row | None

    @property
    def _sign(self) -> int:
        return -1 if self.column.better == "lower" else 1

    @property
    def paper_lead(self) -> float:
        return self._sign * (_reported(self.proposed, self.index) - _reported(self.paper_rival, self.index))

    @property
    def difference(self) -> Difference | None:
        """The paper's model against the best baseline here."""
        if self.rival is None:
            return None
        row = self.proposed
        return Difference(row.model, row.label, row.name, self.column, row.cells[self.index], self.rival.cells[self.index])

    @property
    def lead(self) -> float | None:
        found = self.difference
        return None if found is None or found.value is None else self._sign * found.value

    @property
    def p(self) -> float | None:
        """Of Welch's two-sided test over seeds; None where one side has fewer than two."""
        found = self.difference
        if found is None or found.error is None:
            return None
        return welch(list(found.a.values.values()), list(found.b.values.values()))

    @property
    def verdict(self) -> str:
        if self.lead is None:
            return "no value"
        if self.p is None:
            return "not tested: one seed"
        if self.p > LEVEL:
            return "undecided"
        return "holds" if self.lead > 0 else "does not hold"


def find_claims(tables: Sequence[Table]) -> list[Claim]:
    """The paper's claims on the models in these tables: none where its model or all of its baselines are absent, or the data are others."""
    return [claim for table in tables for claim in _claims(table)]


def _claims(table: Table) -> Iterator[Claim]:
    rows = {row.model: row for row in table.rows if not row.label}
    if PROPOSED not in rows:
        return
    proposed = rows[PROPOSED]
    for index, column in enumerate(table.columns):
        baselines = [rows[name] for name in BASELINES if name in rows and rows[name].cells[index].paper is not None]
        if proposed.cells[index].paper is None or not baselines:
            continue
        best = max if column.better == "higher" else min
        with_value = [row for row in baselines if row.cells[index].values] if proposed.cells[index].values else []
        yield Claim(
            column,
            proposed,
            index,
            best(baselines, key=lambda row: _reported(row, index)),
            best(with_value, key=lambda row: row.cells[index].mean) if with_value else None,
        )


def _reported(row: Row, index: int) -> float:
    found = row.cells[index].paper
    assert found is not None  # rows without a figure were left out
    return found


def claims_markdown(claims: Sequence[Claim]) -> str:
    """A table of the claims, a row per column of tables 1-3, and how it is read."""
    name = escape_markdown(claims[0].proposed.name)
    lines = [
        f"{name} against the best of the paper's baselines that were run here. Lead: {name} minus that baseline, the other way round where lower is "
        f"better; ± its standard error over seeds, and how many of those it is. p: Welch's two-sided test, without a correction for the number "
        f"of columns; holds: a lead with p ≤ {LEVEL:g}; undecided: p > {LEVEL:g}. Shares in per cent.",
        "",
        f"| Column | Paper: {name} | best baseline | lead | Here: {name} | best baseline | lead | in standard errors | p | The paper's claim |",
        f"| :-- |{' --: |' * 8} :-- |",
    ]
    return "\n".join([*lines, *(f"| {' | '.join(map(escape_markdown, _fields(claim)))} |" for claim in claims)]) + "\n"


def _fields(claim: Claim) -> list[str]:
    def show(value: float, sign: str = "") -> str:
        return f"{claim.column.shown(value):{sign}.2f}".replace("-", "\N{MINUS SIGN}")

    fields = [
        name_of(claim.column),
        show(_reported(claim.proposed, claim.index)),
        f"{show(_reported(claim.paper_rival, claim.index))} ({claim.paper_rival.name})",
        show(claim.paper_lead, "+"),
    ]
    found, lead = claim.difference, claim.lead
    if found is None or lead is None or claim.rival is None:
        return [*fields, *["—"] * 5, claim.verdict]
    error = found.error
    spread = "" if error is None else f" ± {show(error)}"
    in_errors = "—" if not error else f"{lead / error:+.1f}".replace("-", "\N{MINUS SIGN}")
    p = "—" if claim.p is None else "< 0.001" if claim.p < 0.001 else f"{claim.p:.3f}"
    here = [show(found.a.mean), f"{show(found.b.mean)} ({claim.rival.name})", show(lead, "+") + spread, in_errors, p]
    return [*fields, *here, claim.verdict]


def claims_csv(claims: Sequence[Claim]) -> str:
    """One line per column, in the units of metrics.json; models by their registered names."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(_HEAD)
    for claim in claims:
        there, found = claim.paper_rival, claim.difference
        ours, rival = (found.a.mean, found.b.mean) if found else (None, None)
        fields = [
            *(claim.column.metric, claim.column.unit),
            *(_reported(claim.proposed, claim.index), there.model, _reported(there, claim.index), claim.paper_lead),
            *(ours, claim.rival and claim.rival.model, rival, claim.lead, found and found.error, claim.p, claim.verdict),
        ]
        writer.writerow([f"{field:.10g}" if isinstance(field, float) else field for field in fields])
    return stream.getvalue()
