"""The parts of a report's page that are tables, each of them also a file of its own."""

from collections.abc import Sequence
from typing import TypeAlias

from mmbench.report.numbers.claims import Claim, claims_csv, claims_markdown
from mmbench.report.numbers.priors import PriorRow, priors_csv, priors_markdown
from mmbench.report.numbers.render import to_csv, to_latex, to_markdown
from mmbench.report.numbers.spread import Spread, spread_csv, spread_markdown
from mmbench.report.numbers.tables import Table

__all__ = ["Part", "claims_part", "priors_part", "spreads_part", "tables_part"]

Part: TypeAlias = tuple[dict[str, bytes], list[str]]
"""Files by name, and lines of the page that show them."""

_HEADINGS = {
    "1": "Coherence",
    "1b": "Coherence of every direction",
    "2": "Quality of generated samples",
    "3": "Linear probe",
    "4": "Retrieval",
    "4b": "Retrieval of every direction",
}


def tables_part(tables: Sequence[Table]) -> Part:
    """The tables that are numbered in the paper's order, each in three formats."""
    files: dict[str, bytes] = {}
    page: list[str] = []
    for table in (table for table in tables if table.number in _HEADINGS):
        name, text = f"table{table.number}", to_markdown(table)
        files[f"{name}.csv"] = to_csv(table).encode()
        files[f"{name}.md"] = text.encode()
        files[f"{name}.tex"] = to_latex(table).encode()
        page += [f"## {_HEADINGS[table.number]}", "", text]
        page += [f"As [CSV]({name}.csv) (raw numbers) and [LaTeX]({name}.tex).", ""]
    return files, page


def priors_part(rows: Sequence[PriorRow], table: Table) -> Part:
    """Every model with the same kinds of prior; nothing where none was learned."""
    if not rows:
        return {}, []
    return _section("The same prior for everyone", "priors", priors_markdown(rows, table), priors_csv(rows))


def claims_part(claims: Sequence[Claim], table: Table) -> Part:
    """What became of the paper's claims; nothing where it makes none."""
    if not claims:
        return {}, []
    return _section("The paper's claims", "claims", claims_markdown(claims, table), claims_csv(claims))


def spreads_part(spreads: Sequence[Spread]) -> Part:
    """What seeds and pairings add to the spread of figures; nothing where all runs have one pairing."""
    if not spreads:
        return {}, []
    heading = "Spread over seeds and pairings"
    return _section(heading, "spread", spread_markdown(spreads), spread_csv(spreads))


def _section(heading: str, name: str, text: str, csv: str) -> Part:
    """A section of the page that is a file of its own too, and its numbers as CSV."""
    files = {f"{name}.csv": csv.encode(), f"{name}.md": text.encode()}
    return files, [f"## {heading}", "", text, f"As [CSV]({name}.csv) (raw numbers).", ""]
