"""`mmbench run`, `tune` and `evaluate`: make runs, then write the report."""

import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmbench.cli.options import (
    HOW,
    MEASURE,
    RESULTS,
    WHAT,
    WHERE,
    Command,
    data_dir_option,
    data_file_option,
    device_option,
    jobs_option,
    measured,
    model_file_option,
    on_a_cluster,
    option,
    precision_option,
    results_option,
    step_option,
)
from models.errors import InputError

if TYPE_CHECKING:
    from mmbench.console import Console
    from mmbench.plan.job import Job
    from mmbench.plan.planned import PlannedRun

__all__ = ["evaluate", "run", "tune"]


@click.command(cls=Command)
@option(
    "--models",
    group=WHAT,
    help="all, or names separated by commas (see `mmbench models`; default: those of --model-file).",
)
@model_file_option
@option("--dataset", group=WHAT, help="A data set (see `mmbench datasets`).")
@data_file_option
@option("--preset", group=WHAT, help="paper, cpu, quick or smoke (default: the data set's own).")
@option("--seeds", group=WHAT, help="Whole numbers separated by commas (default: the preset's own).")
@option(
    "--set",
    "overrides",
    group=WHAT,
    multiple=True,
    metavar="KEY=VALUE",
    help="Change a setting, for every model or as MODEL.KEY=VALUE; may be repeated.",
)
@option(
    "--observe",
    group=WHAT,
    multiple=True,
    metavar="NAME=SHARE",
    help="Train on this share of the items of modality NAME; may be repeated.",
)
@option(
    "--config",
    group=WHAT,
    type=click.Path(path_type=Path),
    help="Make the run of this config.json again, in place of all of the above.",
)
@option("--label", group=WHAT, help="Keep this variant apart from the unlabelled runs.")
@measured
@option(
    "--looks",
    group=MEASURE,
    default=0,
    show_default=True,
    help="Evaluate on validation images so many times while training, for curves.",
)
@results_option
@data_dir_option
@option(
    "--tensorboard",
    group=WHERE,
    is_flag=True,
    help="Write losses and samples for TensorBoard too, into the folders of the runs.",
)
@jobs_option
@device_option
@precision_option
@step_option
@on_a_cluster
def run(**words: Any) -> None:
    """Train models, evaluate them and write tables and figures.

    Runs that are done are skipped, interrupted ones continue from their checkpoint, failed ones are tried
    again.
    """
    from mmbench.console import Console
    from mmbench.execution.run_job import run_job
    from mmbench.plan.job import JobOptions, check_job

    job, console = check_job(JobOptions(**words)), Console()
    made = run_job(job, console)
    if made.outcome.stopped_by is None:
        _report(job, made.runs, made.outcome.failed, console)
    sys.exit(made.outcome.exit_code)


def _report(
    job: "Job", runs: "Iterable[PlannedRun]", failed: "Iterable[PlannedRun]", console: "Console"
) -> None:
    """What came of a job, on the screen and as tables and figures."""
    from mmbench.report import write_report
    from mmbench.report.status import tabulate_runs

    for line in tabulate_runs(each.folder.path for each in runs):
        console.say(line)
    for each in failed:
        console.say(f"FAILED {each.name}: {_failure(each)}")
    first = job.configs[0]
    for path in write_report(job.results / first.dataset / first.preset, console.say):
        console.say(f"wrote {path}")
    for line in _metrics_to_add(runs, job):
        console.say(line)


def _failure(run: "PlannedRun") -> str:
    """Why it failed, as far as its folder can tell."""
    unknown = "its process died after it was done, or its folder could not be written to or is another run's"
    try:
        return run.folder.status.get("error", unknown)
    except InputError as error:
        return str(error)


def _metrics_to_add(runs: "Iterable[PlannedRun]", job: "Job") -> Iterable[str]:
    """Runs that were done before this job may lack metrics that it asks for: the commands that add them."""
    from metrics.catalogue import group_of

    for each in runs:
        found = each.folder.metrics
        if not found or each.folder.status["state"] != "done":
            continue
        lacking = ",".join(sorted(job.metrics - {group_of(name) for name in found["metrics"]}))
        if lacking:
            file = each.config.entry.file
            words = ["mmbench", "evaluate", str(each.folder.path), "--metrics", lacking]
            words += ["--model-file", str(file.path)] if file else []
            yield f"{each.name} was evaluated without {lacking.replace(',', ', ')}: `{shlex.join(words)}`."


@click.command(cls=Command)
@option("--models", group=WHAT, help="all, or names separated by commas (default: those of --model-file).")
@model_file_option
@option("--dataset", group=WHAT, help="A data set (see `mmbench datasets`).")
@data_file_option
@option(
    "--preset",
    group=WHAT,
    help="Whose defaults the first trial has: paper, cpu, quick or smoke (default: the data set's own).",
)
@option(
    "--trials",
    group=WHAT,
    default=8,
    show_default=True,
    help="Trials of every model; those of earlier commands count.",
)
@option(
    "--set",
    "overrides",
    group=WHAT,
    multiple=True,
    metavar="KEY=VALUE",
    help="Change a setting, for example --set steps=2000.",
)
@option(
    "--results",
    group=WHERE,
    type=click.Path(path_type=Path),
    default=f"{RESULTS}/tuning",
    show_default=True,
    help="Folder of the trials.",
)
@data_dir_option
@jobs_option
@device_option
@precision_option
@step_option
def tune(trials: int, **words: Any) -> None:
    """Search for good settings of every model, judged on validation images: test images are never looked at.

    Every model gets the same number of trials; models/settings.py says how a setting declares what is tried.
    """
    from mmbench.console import Console
    from mmbench.plan.job import JobOptions, check_job
    from mmbench.tuning.tune import METRICS
    from mmbench.tuning.tune import tune as make_trials

    job = check_job(JobOptions(seeds="0", metrics=METRICS, **words))
    sys.exit(make_trials(job, trials, Console()).exit_code)


@click.command(cls=Command)
@click.argument("folders", metavar="RUN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@model_file_option
@measured
@data_dir_option
@data_file_option
@option("--device", group=HOW, default="auto", show_default=True, help="auto, cpu, cuda or mps.")
def evaluate(folders: tuple[Path, ...], **words: Any) -> None:
    """Compute metrics of finished runs again, from their checkpoints.

    RUN is a folder such as results/digits/quick/mopoe/seed-0.
    """
    from mmbench.console import Console
    from mmbench.execution.finished import evaluate_runs
    from mmbench.plan.job import JobOptions
    from mmbench.report import write_report

    console = Console()
    outcome, presets = evaluate_runs(folders, JobOptions(**words), console)
    if outcome.stopped_by is None:
        for preset in presets:
            write_report(preset, console.say)
    sys.exit(outcome.exit_code)
