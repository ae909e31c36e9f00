"""`mmbench models`, `datasets` and `check`: what can be run, and whether it keeps its contract."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmbench.cli.options import WHAT, Command, model_file_option, option
from models.errors import InputError

if TYPE_CHECKING:
    from models.registry import ModelEntry

__all__ = ["check", "datasets", "models"]

_json_option = option("--json", "as_json", group=WHAT, is_flag=True, help="As JSON, with every setting.")


@click.command(cls=Command)
@_json_option
def models(as_json: bool) -> None:
    """List the registered models with their sources and settings, and say why some cannot be run here.

    `all` in --models means those of the suite and of plugins; multivae:all means those adapted from MultiVae,
    which need the extra mmbench[multivae].
    """
    from mmbench.plan.tuned_settings import tuned_presets
    from models.registry import MODELS
    from models.settings import describe

    entries = sorted(MODELS, key=lambda entry: (entry.collection, entry.name))
    settings = {entry.name: describe(entry.settings) for entry in entries}
    if as_json:
        keys = ("name", "title", "source", "collection", "incomplete")
        rows = [
            {key: getattr(entry, key) for key in keys}
            | {
                "limit": entry.limit and entry.limit._asdict(),
                "settings": settings[entry.name],
                "tuned": tuned_presets(entry),
                "unavailable": entry.unavailable(),
            }
            for entry in entries
        ]
        click.echo(json.dumps(rows, indent=1))
        return
    width = max(len(name) for name in settings)
    for entry in entries:
        if reason := entry.unavailable():
            click.echo(f"{entry.name:{width}} cannot be run: {reason}")
            continue
        remarks = (
            f"; at most {entry.limit.modalities} modalities: {entry.limit.reason}" if entry.limit else ""
        )
        remarks += "; takes --observe" if entry.incomplete else ""
        shown = [" ".join("{name}={default}".format(**row) for row in settings[entry.name])]
        shown += [
            f"{preset} on {dataset}: {' '.join(f'{key}={value}' for key, value in chosen.items())}"
            for dataset, presets in tuned_presets(entry).items()
            for preset, chosen in presets.items()
        ]
        click.echo(f"{entry.name:{width}} {entry.source}{remarks}  [{'; '.join(shown)}]")


@click.command(cls=Command)
@_json_option
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


@click.command(cls=Command)
@click.argument("name", required=False)
@model_file_option
def check(name: str | None, model_files: tuple[Path, ...]) -> None:
    """Check that a registered model, or without NAME every one of the files, keeps the contract, in words that its author understands."""
    from models.model_file import load_model_file
    from models.names import find_model

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
