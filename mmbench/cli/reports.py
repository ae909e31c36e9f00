"""`mmbench status` and `report`: what the files on disk say."""

from pathlib import Path

import click

from mmbench.cli.options import RESULTS, WHERE, Command, option, results_option
from mmbench.console import printable
from models.errors import InputError

__all__ = ["report", "status"]


@click.command(cls=Command)
@click.argument("results", type=click.Path(path_type=Path), default=RESULTS)
def status(results: Path) -> None:
    """Show how far the runs in RESULTS are: while they are made, or after a crash.

    RESULTS is any folder of results.
    """
    from mmbench.report.status import describe_runs

    for line in describe_runs(results):
        click.echo(line)


@click.command(cls=Command)
@results_option
@option(
    "--against",
    group=WHERE,
    type=click.Path(path_type=Path),
    help="Compare with this other folder of results instead.",
)
@option(
    "--across",
    group=WHERE,
    is_flag=True,
    help="Rank the models over all data sets in the folder instead.",
)
def report(results: Path, against: Path | None, across: bool) -> None:
    """Write tables and figures again from the files on disk: no model, no data, no training.

    With --against the differences between the two folders are printed, and written beside the tables as
    comparison.md and comparison.csv. With --across mean ranks over data sets are printed, and written into
    the folder as ranks.md and ranks.csv, with critical-difference diagrams.
    """
    from mmbench.report import write_comparison, write_ranks, write_report

    def tell(line: str) -> None:
        click.echo(printable(line), err=True)

    if across and against is not None:
        raise InputError("--across and --against are two different reports: leave one of them out.")
    if across or against is not None:
        text, paths = (
            write_ranks(results, tell) if against is None else write_comparison(results, against, tell)
        )
        click.echo(printable(text))
        for path in paths:
            tell(f"wrote {path}")
        return
    for path in write_report(results, tell):  # its output is the paths alone
        click.echo(printable(str(path)))
