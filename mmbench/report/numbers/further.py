"""Metrics that runs have only where they were asked for: in the leaderboard and in results.json, in none of the tables 1-3."""

from collections.abc import Sequence

from metrics.groups import FURTHER_KINDS
from mmbench.report.numbers.tables import Column, Content, Table, make_tables, paper_contents
from mmbench.storage.runs import StoredRun

__all__ = ["FURTHER", "build_all_tables"]

FURTHER = "further"  # in the place of a table's number

_CAPTION = (
    "Shares and errors in per cent. Precision, recall, density and coverage: of draws from the prior among real test data and the other way "
    "round, in the judge's features; real data would have a density of 100, which is no bound. Clusters: accuracy of k-means on the latents of "
    "test data, and its normalised mutual information (NMI) with the classes. MSE and SSIM: test images reconstructed from themselves. "
    "Log-likelihood: importance-weighted, of tuples of test data, in nats; comparable between models of the same likelihood and scale only, so that "
    "no best is marked. Diversity: mean distance of cross generations from one condition in "
    "the judge's features, to be read beside their coherence, for what shows no class is diverse too."
)


def build_all_tables(runs: Sequence[StoredRun]) -> list[Table]:
    """The tables 1-3, and one more where runs have further metrics, of the runs of one preset folder, in the order of `find_runs`."""
    return make_tables(runs, paper_contents(runs) | _further_contents(runs))


def _further_contents(runs: Sequence[StoredRun]) -> dict[str, Content]:
    """A column for every further metric that a run has; none where no run has any."""
    computed = dict.fromkeys(metric for run in runs for metric in run.metrics)
    columns = [
        _column(metric) for kind in FURTHER_KINDS for metric in computed if metric.split("/")[0] == kind
    ]
    return {FURTHER: (columns, _CAPTION)} if columns else {}


def _column(metric: str) -> Column:
    """The column of "density/a" or "diversity/a->b"."""
    kind, _, where = metric.partition("/")
    found = FURTHER_KINDS[kind]
    return Column(
        metric, f"{found.title} {where.replace('->', '→')}".rstrip(), unit=found.unit, better=found.better
    )
