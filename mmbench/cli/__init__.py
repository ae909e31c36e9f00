"""The command line. Nothing heavy is imported before a command needs it, so that --help is quick."""

from mmbench.cli.about import cite, doctor
from mmbench.cli.data import data
from mmbench.cli.group import main
from mmbench.cli.jobs import evaluate, run, tune
from mmbench.cli.listing import check, datasets, models
from mmbench.cli.reports import report, status
from mmbench.cli.submissions import bundle, collect
from mmbench.cli.trained import embed, export, sample, translate

__all__ = ["main"]

for command in (
    run,
    tune,
    evaluate,
    status,
    report,
    models,
    datasets,
    data,
    check,
    sample,
    translate,
    embed,
    export,
    bundle,
    collect,
    cite,
    doctor,
):
    main.add_command(command)
