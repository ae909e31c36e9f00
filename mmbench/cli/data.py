"""`mmbench data check`: what a data file holds and what can be measured on it, before a model is trained."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmbench.cli.options import HOW, PATH, WHAT, Command, device_option, model_file_option, option
from mmbench.console import duration, printable

if TYPE_CHECKING:
    from mmbench.data import MultimodalData
    from mmbench.plan.job import Job

__all__ = ["data"]


@click.group()
def data() -> None:
    """Look through files of data."""


@data.command(cls=Command)
@click.argument("file", type=PATH)
@option("--models", group=WHAT, default="mopoe", show_default=True, help="Whose training time to estimate.")
@model_file_option
@option("--preset", group=WHAT, help="For how long (default: that of `mmbench run`).")
@device_option
@option("--no-time", group=HOW, is_flag=True, help="Estimate no time: nothing is trained for it.")
def check(
    file: Path, models: str, model_files: tuple[Path, ...], preset: str | None, device: str, no_time: bool
) -> None:
    """Say what FILE, an .npz or a folder, holds, and what can be measured on it.

    Kinds, shapes and classes; rows that lack modalities; equal items in train and test part; which metrics
    can be filled, and why others cannot; how long training takes.
    """
    from mmbench.data import load_data
    from mmbench.data.check import DatasetError
    from mmbench.data.own import register_data_file
    from mmbench.data.own.findings import describe, fillable, leakage
    from mmbench.plan.job import JobOptions, check_job
    from models.model_file import load_model_file

    for path in model_files:
        load_model_file(path)
    entry = register_data_file(file)
    job = check_job(JobOptions(models=models, data_file=file, preset=preset, device=device))
    try:
        found = load_data(entry.name)
    except DatasetError as error:
        for problem in error.problems:
            click.echo(printable(f"FAIL {problem}"))
        click.echo(printable(f"{file} cannot be used: docs/own-data.md says what it has to be."))
        sys.exit(1)
    for title, lines in (
        ("Found", describe(found)),
        ("Equal items in train and test part", leakage(file)),
        ("Metrics", fillable(found)),
    ):
        click.echo(f"{title}:")
        for line in lines:
            click.echo(printable(f"  {line}"))
    if not no_time:
        _say_time(found, job)
    command = shlex.join(["mmbench", "run", "--data-file", str(file), "--models", "all"])
    click.echo(printable(f"{file} can be used: {command}"))


def _say_time(found: "MultimodalData", job: "Job") -> None:
    """How long training takes, at the rate of some steps of each model."""
    from mmbench.execution.estimate import seconds_per_step
    from mmbench.execution.isolation import same_state
    from mmbench.execution.signals import Stop
    from models.errors import error_words

    click.echo(f"Training, preset {job.configs[0].preset}, {len(job.seeds)} seed(s), one run at a time:")
    for config in job.without_misfits(found).configs:
        if misfit := config.misfit(found):
            click.echo(printable(f"  {config.entry.name}: it {misfit}"))
            continue
        try:
            with same_state(lambda line: None):
                rate = seconds_per_step(config, found, job.execution.device, Stop())
        except Exception as error:  # a model of a file may raise anything
            click.echo(printable(f"  {config.entry.name}: its first steps failed ({error_words(error)})"))
            continue
        took = duration(rate * config.training.steps * len(job.seeds))
        click.echo(printable(f"  {config.entry.name}: about {took}"))
