"""The command line. Nothing heavy is imported before a command needs it, so that --help is quick."""

import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from metrics.groups import FURTHER, METRICS
from mmbench.console import printable
from models.errors import InputError

if TYPE_CHECKING:
    from models.registry import ModelEntry

__all__ = ["main"]

RESULTS = "results"


class _Group(click.Group):
    """Bad input is one or two sentences and exit code 2, a signal a sentence and 128 + its number, never a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except InputError as error:
            click.echo(f"Error: {printable(str(error))}", err=True)
            sys.exit(2)
        except (
            KeyboardInterrupt
        ) as interrupt:  # Ctrl-C before the runs begin, after they end, and for the second time
            click.echo(
                "Stopped at once. What is on disk is kept: the same command goes on from there.", err=True
            )
            sys.exit(128 + next(iter(interrupt.args), signal.SIGINT))

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError:
            from models.errors import suggest

            raise InputError(f"Unknown command {args[0]!r}: {suggest(args[0], self.commands)}") from None


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="mmbench")
def main() -> None:
    """Train, evaluate and compare multimodal variational autoencoders."""


def _results_option(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--results",
        type=click.Path(path_type=Path),
        default=RESULTS,
        show_default=True,
        help="Folder of the results.",
    )(function)


def _data_options(function: Callable[..., Any]) -> Callable[..., Any]:
    groups = ", ".join(METRICS + FURTHER)
    metrics = click.option(
        "--metrics", help=f"Only these, comma-separated: {groups} (default: the preset's own)."
    )
    weights = click.option(
        "--inception-weights",
        type=click.Path(path_type=Path),
        help="File of pytorch-fid's Inception weights, for FID.",
    )
    return _device_options(metrics(weights(function)))


def _jobs_option(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--jobs", type=int, help="Runs at once (default on a CPU: as many one-thread runs as cores)."
    )(function)


def _cluster_options(function: Callable[..., Any]) -> Callable[..., Any]:
    executor = click.option(
        "--executor",
        default="local",
        show_default=True,
        help="Where runs are made: local, or ray for a Ray cluster.",
    )
    address = click.option(
        "--ray-address", help="Of the cluster (default: auto, the one that this machine belongs to)."
    )
    cpus = click.option(
        "--cpus-per-run",
        type=int,
        help="Processors of its node that a run on the cluster takes, and threads (default: 1).",
    )
    gpus = click.option(
        "--gpus-per-run", type=float, help="GPUs that it takes: 1, or a share of one (default: 0)."
    )
    return executor(address(cpus(gpus(function))))


def _precision_option(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--precision",
        default="auto",
        show_default=True,
        help="fp32, bf16, or auto: bf16 where the processor has it.",
    )(function)


def _device_options(function: Callable[..., Any]) -> Callable[..., Any]:
    data_dir = click.option(
        "--data-dir", type=click.Path(path_type=Path), help="Folder of the images (default: MMBENCH_DATA)."
    )
    return data_dir(
        click.option("--device", type=str, default="auto", show_default=True, help="auto, cpu, cuda or mps.")(
            function
        )
    )


def _model_file_option(function: Callable[..., Any]) -> Callable[..., Any]:
    kind, text = click.Path(path_type=Path), "Python file that registers models of your own; may be repeated."
    return click.option("--model-file", "model_files", multiple=True, type=kind, help=text)(function)


@main.command()
@click.option(
    "--models",
    help="all, or names separated by commas (see `mmbench models`; default: those of --model-file).",
)
@_model_file_option
@click.option("--dataset", help="A data set (see `mmbench datasets`).")
@click.option("--preset", help="paper, cpu, quick or smoke (default: the data set's own).")
@click.option("--seeds", help="Whole numbers separated by commas (default: the preset's own).")
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change a setting, for every model or as MODEL.KEY=VALUE.",
)
@click.option(
    "--observe",
    multiple=True,
    metavar="NAME=SHARE",
    help="Train on this share of the items of modality NAME; may be repeated.",
)
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="Make the run of this config.json again, in place of all of the above.",
)
@click.option("--label", help="Keep this variant apart from the unlabelled runs.")
@click.option(
    "--looks",
    default=0,
    show_default=True,
    help="Evaluate on validation images so many times while training, for curves.",
)
@click.option(
    "--tensorboard",
    is_flag=True,
    help="Write losses and samples for TensorBoard too, into the folders of the runs.",
)
@_jobs_option
@_cluster_options
@_precision_option
@_results_option
@_data_options
def run(
    models: str | None,
    dataset: str | None,
    preset: str | None,
    seeds: str | None,
    overrides: tuple[str, ...],
    observe: tuple[str, ...],
    config: Path | None,
    label: str | None,
    precision: str,
    results: Path,
    executor: str,
    ray_address: str | None,
    cpus_per_run: int | None,
    gpus_per_run: float | None,
    **where: Any,
) -> None:
    """Train models, evaluate them and write tables and figures.

    Runs that are done are skipped, interrupted ones continue from their checkpoint, failed ones are tried again.
    """
    from mmbench.execution.orchestrator import run_job
    from mmbench.plan.cluster import pick_cluster
    from mmbench.plan.job import Job

    where["cluster"] = pick_cluster(executor, ray_address, cpus_per_run, gpus_per_run)
    if config is not None:
        said = {
            "--models": models,
            "--dataset": dataset,
            "--preset": preset,
            "--seeds": seeds,
            "--set": overrides,
            "--observe": observe,
            "--precision": precision != "auto",
        }
        if given := [option for option, value in said.items() if value]:
            raise InputError(f"--config {config} says what {given[0]} says: leave one of them out.")
        sys.exit(run_job(Job.from_config(config, label, results, **where)))
    if dataset is None:
        raise InputError(
            "No data set to run on: name one with --dataset (`mmbench datasets` lists them), or a run to make again with --config."
        )
    where |= {"observe": observe, "precision": precision}
    sys.exit(run_job(Job.from_options(models, dataset, preset, seeds, overrides, label, results, **where)))


@main.command()
@click.option("--models", help="all, or names separated by commas (default: those of --model-file).")
@_model_file_option
@click.option("--dataset", required=True, help="A data set (see `mmbench datasets`).")
@click.option(
    "--preset",
    help="Whose defaults the first trial has: paper, cpu, quick or smoke (default: the data set's own).",
)
@click.option(
    "--trials", default=8, show_default=True, help="Of every model; those of earlier commands count."
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change a setting, for example --set steps=2000.",
)
@click.option(
    "--results",
    type=click.Path(path_type=Path),
    default=f"{RESULTS}/tuning",
    show_default=True,
    help="Folder of the trials.",
)
@_jobs_option
@_precision_option
@_device_options
def tune(
    models: str | None,
    dataset: str,
    preset: str | None,
    trials: int,
    overrides: tuple[str, ...],
    **where: Any,
) -> None:
    """Search for good settings of every model, judged on validation images: test images are never looked at.

    Every model gets the same number of trials; models/settings.py says how a setting declares what is tried.
    """
    from mmbench.plan.job import Job
    from mmbench.tuning.tune import METRICS
    from mmbench.tuning.tune import tune as make_trials

    sys.exit(
        make_trials(
            Job.from_options(models, dataset, preset, "0", overrides, metrics=METRICS, **where), trials
        )
    )


@main.command()
@click.argument("folders", metavar="RUN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@_model_file_option
@_data_options
def evaluate(folders: tuple[Path, ...], **where: Any) -> None:
    """Compute metrics of finished runs again, from their checkpoints. RUN is a folder such as results/digits/quick/mopoe/seed-0."""
    from mmbench.execution.evaluating import evaluate_folders

    sys.exit(evaluate_folders(folders, **where))


@main.command()
@click.argument("results", type=click.Path(path_type=Path), default=RESULTS)
def status(results: Path) -> None:
    """Show how far the runs in RESULTS are, a line for each: while they are made, or after a crash. RESULTS is any folder of results."""
    from mmbench.report.status import describe_runs

    for line in describe_runs(results):
        click.echo(line)


@main.command()
@_results_option
@click.option(
    "--against", type=click.Path(path_type=Path), help="Compare with this other folder of results instead."
)
def report(results: Path, against: Path | None) -> None:
    """Write tables and figures again from the files on disk: no model, no data, no training.

    With --against the differences between the two folders are printed, and written beside the tables as comparison.md and comparison.csv.
    """
    from mmbench.report import write_comparison, write_report

    def tell(line: str) -> None:
        click.echo(printable(line), err=True)

    if against is not None:
        text, paths = write_comparison(results, against, tell)
        click.echo(printable(text))
        for path in paths:
            tell(f"wrote {path}")
        return
    for path in write_report(results, tell):  # its output is the paths alone
        click.echo(printable(str(path)))


@main.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON, with every setting.")
def models(as_json: bool) -> None:
    """List the registered models with their sources and settings, then those of MultiVae: what can be run, and why others cannot.

    Those need the extra mmbench[multivae]; multivae:all in --models means all of them.
    """
    from mmbench.adapters.multivae import ENTRIES, UNSUPPORTED
    from models.registry import MODELS
    from models.settings import describe

    entries = [*MODELS, *ENTRIES.values()]
    settings = {entry.name: describe(entry.settings) for entry in entries}
    if as_json:
        keys = ("name", "title", "source", "incomplete")
        rows = [
            {key: getattr(e, key) for key in keys}
            | {
                "limit": e.limit and e.limit._asdict(),
                "settings": settings[e.name],
                "presets": dict(e.presets),
                "unsupported": None,
            }
            for e in entries
        ]
        rows += [{"name": name, "unsupported": reason} for name, reason in UNSUPPORTED.items()]
        click.echo(json.dumps(rows, indent=1))
        return
    width = max(len(entry.name) for entry in entries)
    for entry in entries:
        remarks = (
            f"; at most {entry.limit.modalities} modalities: {entry.limit.reason}" if entry.limit else ""
        )
        remarks += "; takes --observe" if entry.incomplete else ""
        shown = [" ".join("{name}={default}".format(**row) for row in settings[entry.name])]
        shown += [
            f"{preset}: {' '.join(f'{key}={value}' for key, value in chosen.items())}"
            for preset, chosen in entry.presets.items()
        ]
        click.echo(f"{entry.name:{width}} {entry.source}{remarks}  [{'; '.join(shown)}]")
    for name, reason in UNSUPPORTED.items():
        click.echo(f"{name:{width}} cannot be run: {reason}")


@main.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON, with every setting.")
def datasets(as_json: bool) -> None:
    """List the registered data sets with their sources and settings."""
    from mmbench.data.base import DATASETS, DataSettings
    from models.settings import describe

    settings = describe(DataSettings)
    if as_json:
        keys = ("name", "description", "source", "default_preset")
        click.echo(
            json.dumps(
                [{key: getattr(entry, key) for key in keys} | {"settings": settings} for entry in DATASETS],
                indent=1,
            )
        )
        return
    shown = " ".join("{name}={default}".format(**row) for row in settings)
    for entry in DATASETS:
        click.echo(
            f"{entry.name:12} {entry.description}  [{entry.source}; default preset {entry.default_preset}; {shown}]"
        )


@main.command()
@click.argument("name", required=False)
@_model_file_option
def check(name: str | None, model_files: tuple[Path, ...]) -> None:
    """Check that a registered model, or without NAME every one of the files, keeps the contract, in words that its author understands."""
    from mmbench.adapters import find_model
    from models.registry import load_model_file

    entries = [entry for file in dict.fromkeys(model_files) for entry in load_model_file(file)]
    if name is None and not entries:
        raise InputError(
            "No model to check: name one (`mmbench models` lists them), or a file of yours with --model-file."
        )
    kept = [_keeps_contract(entry) for entry in (entries if name is None else [find_model(name)])]
    sys.exit(0 if all(kept) else 1)


def _keeps_contract(entry: "ModelEntry") -> bool:
    """Whether it does, with every check on the screen."""
    from models.conformance import check_model

    problems = 0
    for what, problem in check_model(entry):
        click.echo(
            f"{'ok  ' if problem is None else 'FAIL'} {what}{'' if problem is None else f': {problem}'}"
        )
        problems += problem is not None
    if problems:
        click.echo(
            f"{entry.name} breaks the contract in {problems} places: models/base.py documents what each method must return."
        )
    else:
        click.echo(f"{entry.name} keeps the contract.")
    return not problems
