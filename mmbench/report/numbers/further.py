"""Metrics that runs have only where they were asked for: in leaderboard and results.json, no table 1-4."""

from collections.abc import Sequence

from metrics.catalogue import GROUPS
from metrics.names import MetricName
from mmbench.report.numbers.columns import Content, column_of, paper_contents
from mmbench.report.numbers.tables import Table, make_tables
from mmbench.storage.runs import StoredRun

__all__ = ["FURTHER", "build_all_tables"]

FURTHER = "further"  # in the place of a table's number


def build_all_tables(runs: Sequence[StoredRun]) -> list[Table]:
    """The tables 1-4, and one more where runs have further metrics, of the runs of one preset folder.

    In the order of `find_runs`.
    """
    return make_tables(runs, paper_contents(runs) | _further_contents(runs))


def _further_contents(runs: Sequence[StoredRun]) -> dict[str, Content]:
    """A column for every metric that a run has and that is computed only where it is asked for."""
    computed = list(map(MetricName.parse, dict.fromkeys(text for run in runs for text in run.metrics)))
    columns, caption = [], ["Shares and errors in per cent."]
    for group in (group for group in GROUPS.values() if group.asked):
        own = [column_of(name) for kind in group.kinds for name in computed if name.kind == kind.name]
        columns += own
        caption += [group.reading] if own else []
    return {FURTHER: Content(columns, " ".join(caption))} if columns else {}
