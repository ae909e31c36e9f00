"""The group of all commands: bad input and signals end it with a sentence, never a traceback."""

import signal
import sys
from typing import Any

import click

from mmbench.console import printable
from mmbench.streams import keep_streams
from models.errors import InputError, suggest

__all__ = ["main"]


class _Group(click.Group):
    """Bad input is one or two sentences and exit code 2, a signal a sentence and 128 + its number."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        keep_streams()
        return super().main(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except InputError as error:
            click.echo(f"Error: {printable(str(error))}", err=True)
            sys.exit(2)
        except KeyboardInterrupt as interrupt:
            # before the runs begin, after they end, and for the second time
            click.echo(
                "Stopped at once. What is on disk is kept: the same command goes on from there.", err=True
            )
            sys.exit(128 + next(iter(interrupt.args), signal.SIGINT))

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError:
            raise InputError(f"Unknown command {args[0]!r}: {suggest(args[0], self.commands)}") from None


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="mmbench")
def main() -> None:
    """Train, evaluate and compare multimodal generative models."""
