"""`mmbench cite` and `doctor`: what to cite, and what a report of a problem needs."""

import click

from mmbench.cli.options import Command
from mmbench.console import printable, table
from models.errors import InputError, suggest

__all__ = ["cite", "doctor"]


@click.command(cls=Command)
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
def cite(names: tuple[str, ...]) -> None:
    """Print the BibTeX of models, data sets and metrics, each publication once.

    NAME is one of `mmbench models`, `mmbench datasets` or `mmbench run --metrics`.
    """
    from metrics.catalogue import GROUPS
    from mmbench.data import DATASETS
    from models.names import full_name
    from models.registry import MODELS

    known = {entry.name: entry.bibtex for registry in (MODELS, DATASETS) for entry in registry}
    known |= {group.name: group.bibtex for group in GROUPS.values()}
    found: dict[str, None] = {}  # keeps the order
    for name in names:
        if (full := name if name in known else full_name(name)) not in known:
            raise InputError(f"Unknown model, data set or metric {name!r}: {suggest(name, known)}")
        if not known[full]:
            raise InputError(f"{full} has no BibTeX: ask its author, or add it where it is registered.")
        found |= dict.fromkeys(known[full].split("\n\n"))
    click.echo(printable_lines("\n\n".join(found)))


def printable_lines(text: str) -> str:
    """`text` without power over a terminal, its lines as they are."""
    return "\n".join(printable(line) for line in text.splitlines())


@click.command(cls=Command)
def doctor() -> None:
    """Print what a report of a problem needs: versions, devices, threads, cache, data. No private paths."""
    from mmbench.plan.doctor import diagnose

    for line in table(["what", "found"], [[what, found] for what, found in diagnose()]):
        click.echo(line)
