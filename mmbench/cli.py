"""The command line. Nothing heavy is imported before a command needs it, so that --help is quick."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from models.errors import InputError

__all__ = ["main"]

RESULTS = "results"


class _Group(click.Group):
    """Bad input is one or two sentences and exit code 2, never a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except InputError as error:
            click.echo(f"Error: {error}", err=True)
            sys.exit(2)

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
    return click.option("--results", type=click.Path(path_type=Path), default=RESULTS, show_default=True, help="Folder of the results.")(function)


def _data_options(function: Callable[..., Any]) -> Callable[..., Any]:
    data_dir = click.option("--data-dir", type=click.Path(path_type=Path), help="Folder of the images (default: MMBENCH_DATA).")
    device = click.option("--device", type=str, default="auto", show_default=True, help="auto, cpu, cuda or mps.")
    metrics = click.option("--metrics", help="Only these, comma-separated: coherence, fd_clf, fid, probe (default: the preset's own).")
    weights = click.option("--inception-weights", type=click.Path(path_type=Path), help="File of pytorch-fid's Inception weights, for FID.")
    return data_dir(device(metrics(weights(function))))


@main.command()
@click.option("--models", required=True, help="all, or names separated by commas (see `mmbench models`).")
@click.option("--dataset", required=True, help="A data set (see `mmbench datasets`).")
@click.option("--preset", help="paper, cpu, quick or smoke (default: the data set's own).")
@click.option("--seeds", help="Whole numbers separated by commas (default: the preset's own).")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a setting, for every model or as MODEL.KEY=VALUE.")
@click.option("--label", help="Keep this variant apart from the unlabelled runs.")
@click.option("--jobs", type=int, help="Runs at once (default on a CPU: as many one-thread runs as cores).")
@click.option("--precision", default="auto", show_default=True, help="fp32, bf16, or auto: bf16 where the processor has it.")
@_results_option
@_data_options
def run(
    models: str, dataset: str, preset: str | None, seeds: str | None, overrides: tuple[str, ...], label: str | None, results: Path, **where: Any
) -> None:
    """Train models, evaluate them and write tables and figures.

    Runs that are done are skipped, interrupted ones continue from their checkpoint, failed ones are tried again.
    """
    from mmbench.job import Job
    from mmbench.runner import run_job

    sys.exit(run_job(Job.from_options(models, dataset, preset, seeds, overrides, label, results, **where)))


@main.command()
@click.argument("folders", metavar="RUN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@_data_options
def evaluate(folders: tuple[Path, ...], **where: Any) -> None:
    """Compute metrics of finished runs again, from their checkpoints. RUN is a folder such as results/digits/quick/mopoe/seed-0."""
    from mmbench.evaluation import evaluate_folders

    sys.exit(evaluate_folders(folders, **where))


@main.command()
@_results_option
def report(results: Path) -> None:
    """Write tables and figures again from the files on disk: no model, no data, no training."""
    from mmbench.report import write_report

    for path in write_report(results):
        click.echo(path)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON, with every setting.")
def models(as_json: bool) -> None:
    """List the registered models with their sources and settings."""
    from models.registry import MODELS
    from models.settings import describe

    settings = {entry.name: describe(entry.settings) for entry in MODELS}
    if as_json:
        rows = [{"name": e.name, "title": e.title, "source": e.source, "settings": settings[e.name], "presets": dict(e.presets)} for e in MODELS]
        click.echo(json.dumps(rows, indent=1))
        return
    for entry in MODELS:
        click.echo(f"{entry.name:10} {entry.source}  [{' '.join('{name}={default}'.format(**row) for row in settings[entry.name])}]")


@main.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON, with every setting.")
def datasets(as_json: bool) -> None:
    """List the registered data sets with their sources and settings."""
    from mmbench.data.base import DATASETS, DataSettings
    from models.settings import describe

    settings = describe(DataSettings)
    if as_json:
        keys = ("name", "description", "source", "default_preset")
        click.echo(json.dumps([{key: getattr(entry, key) for key in keys} | {"settings": settings} for entry in DATASETS], indent=1))
        return
    shown = " ".join("{name}={default}".format(**row) for row in settings)
    for entry in DATASETS:
        click.echo(f"{entry.name:12} {entry.description}  [{entry.source}; default preset {entry.default_preset}; {shown}]")


@main.command()
@click.argument("name")
def check(name: str) -> None:
    """Check that a registered model keeps the contract, in words that its author understands."""
    from models.conformance import check_model
    from models.registry import MODELS

    problems = 0
    for what, problem in check_model(MODELS.get(name)):
        click.echo(f"{'ok  ' if problem is None else 'FAIL'} {what}{'' if problem is None else f': {problem}'}")
        problems += problem is not None
    if problems:
        click.echo(f"{name} breaks the contract in {problems} places: models/base.py documents what each method must return.")
        sys.exit(1)
    click.echo(f"{name} keeps the contract.")
