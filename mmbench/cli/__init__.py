"""The command line. Nothing heavy is imported before a command needs it, so that --help is quick."""

from mmbench.cli.group import main
from mmbench.cli.jobs import evaluate, run, tune
from mmbench.cli.listing import check, datasets, models
from mmbench.cli.reports import report, status

__all__ = ["main"]

for command in (run, tune, evaluate, status, report, models, datasets, check):
    main.add_command(command)
