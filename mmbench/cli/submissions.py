"""`mmbench bundle` and `collect`: results of several people."""

from pathlib import Path

import click

from mmbench.cli.options import HOW, PATH, RESULTS, WHERE, Command, option
from mmbench.console import printable

__all__ = ["bundle", "collect"]


@click.command(cls=Command)
@click.argument("results", type=PATH, default=RESULTS)
@option("--by", group=HOW, required=True, help="Who made the runs, as the leaderboard shall say it.")
@option("--out", group=WHERE, type=PATH, required=True, help="The archive, a .zip.")
def bundle(results: Path, by: str, out: Path) -> None:
    """Put the finished runs in RESULTS into one archive, to be collected by somebody else.

    It holds configurations, histories and metrics, and samples where the licence of the data lets them be
    passed on; no weights.
    """
    from mmbench.submissions.bundle import bundle_runs

    found = bundle_runs(results, out, by)
    if found.bare:
        names = ", ".join(sorted({run.dataset for run in found.bare}))
        click.echo(f"without samples, which may not be passed on: {printable(names)}", err=True)
    for run in found.unfinished:
        click.echo(printable(f"left out, as it is {run.state}: {run.folder}"), err=True)
    click.echo(printable(str(found.path)))


@click.command(cls=Command)
@click.argument("bundles", type=PATH, nargs=-1, required=True, metavar="BUNDLE...")
@option("--out", group=WHERE, type=PATH, required=True, help="A new folder for runs and leaderboard.")
def collect(bundles: tuple[Path, ...], out: Path) -> None:
    """Merge bundles of several people into one leaderboard, with where each row comes from.

    Runs of one hash are pooled as seeds, those of different protocols stand apart. Bundles may be anybody's:
    nothing in them is executed.
    """
    from mmbench.submissions.collect import collect_bundles

    found = collect_bundles(bundles, out)
    for run in found.twice:
        click.echo(printable(f"counted once, as an earlier bundle has it: {run}"), err=True)
    for protocol in found.protocols:
        folder = found.folder / f"protocol-{protocol}"
        click.echo(printable(f"`mmbench report --results {folder}` draws its page."), err=True)
    click.echo(printable(str(found.folder / "leaderboard.md")))
