"""`mmbench models`, `datasets` and `check`: what can be run, and whether it keeps its contract."""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmbench.cli.options import WHAT, Command, data_dir_option, model_file_option, option
from mmbench.console import printable, table
from models.errors import InputError

if TYPE_CHECKING:
    from models.registry import ModelEntry

__all__ = ["check", "datasets", "models"]

_json_option = option("--json", "as_json", group=WHAT, is_flag=True, help="As JSON, with every setting.")


@click.command(cls=Command)
@click.argument("name", required=False)
@_json_option
def models(name: str | None, as_json: bool) -> None:
    """List the registered models, or with NAME the settings of one.

    `all` in --models means those of the suite and of plugins that generate; coordinated:all means those that
    represent modalities in one space and generate nothing; multivae:all means those adapted from MultiVae,
    which need the extra mmbench[multivae].
    """
    from models.names import full_name
    from models.registry import MODELS

    entries = sorted(MODELS, key=lambda entry: (entry.collection, entry.name))
    if name is not None:
        entries = [MODELS.get(full_name(name))]
    if as_json:
        click.echo(json.dumps([_as_json(entry) for entry in entries], indent=1))
    elif name is not None:
        _echo(_details(entries[0]))
    else:
        rows = [[entry.name, entry.title, entry.source, _remarks(entry)] for entry in entries]
        _echo(table(["model", "title", "source", "remarks"], rows))
        click.echo("`mmbench models NAME` shows the settings of one.")


def _echo(lines: Iterable[str]) -> None:
    for line in lines:
        click.echo(line)


def _as_json(entry: "ModelEntry") -> dict[str, Any]:
    """Everything that the registry knows of a model."""
    from mmbench.plan.tuned_settings import tuned_presets
    from models.settings import describe

    keys = ("name", "title", "source", "collection", "incomplete")
    return {
        **{key: getattr(entry, key) for key in keys},
        "limit": entry.limit and entry.limit._asdict(),
        "settings": describe(entry.settings),
        "named": {
            name: {key: value._asdict() for key, value in chosen.items()}
            for name, chosen in entry.named.items()
        },
        "tuned": tuned_presets(entry),
        "unavailable": entry.unavailable(),
    }


def _remarks(entry: "ModelEntry") -> str:
    """What to know before running a model, in a few words."""
    from models.registry import COORDINATED

    if reason := entry.unavailable():
        return f"cannot be run: {reason}"
    found = [f"at most {entry.limit.modalities} modalities"] if entry.limit else []
    found += ["takes --observe"] if entry.incomplete else []
    found += ["generates nothing"] if entry.collection == COORDINATED else []
    return "; ".join(found)


def _details(entry: "ModelEntry") -> Iterable[str]:
    """A model with all of its settings, those that have a name, and what was tuned for which data set."""
    from mmbench.plan.tuned_settings import tuned_presets
    from models.named_settings import WORDS
    from models.settings import describe

    yield printable(f"{entry.name}: {entry.title} ({entry.source})")
    if remarks := _remarks(entry):
        yield printable(f"{remarks[0].upper()}{remarks[1:]}.")
    if entry.limit:
        yield printable(f"More than {entry.limit.modalities} modalities: {entry.limit.reason}.")
    rows = [
        [str(row[key]) for key in ("name", "default", "expected", "help")] for row in describe(entry.settings)
    ]
    yield from table(["setting", "default", "expected", "meaning"], rows)
    for name, sourced in entry.named.items():
        yield ""
        yield f"{WORDS[name][0].upper()}{WORDS[name][1:]}: --set {entry.name}={name}"
        yield from table(
            ["setting", "value", "source"],
            [[key, str(value.value), printable(value.source)] for key, value in sourced.items()],
        )
    for dataset, presets in tuned_presets(entry).items():
        for preset, chosen in presets.items():
            words = " ".join(f"{key}={value}" for key, value in chosen.items())
            yield f"Preset {preset} on {dataset}: {words}"


@click.command(cls=Command)
@_json_option
def datasets(as_json: bool) -> None:
    """List the registered data sets with their sources, and the settings of their pairing."""
    from mmbench.data import DATASETS, DataSettings
    from models.settings import describe

    if as_json:
        keys = ("name", "description", "source", "default_preset")
        own = describe(DataSettings)
        found = [{**{key: getattr(entry, key) for key in keys}, "settings": own} for entry in DATASETS]
        click.echo(json.dumps(found, indent=1))
        return
    rows = [[entry.name, entry.description, entry.source, entry.default_preset] for entry in DATASETS]
    _echo(table(["data set", "items", "source", "default preset"], rows))
    settings = ", ".join("{name}={default} ({help})".format(**row) for row in describe(DataSettings))
    click.echo(f"Settings of every one: {settings}.")


@click.command(cls=Command)
@click.argument("name", required=False)
@model_file_option
@option("--dataset", group=WHAT, help="Check this data set in the place of a model.")
@data_dir_option
def check(
    name: str | None, model_files: tuple[Path, ...], dataset: str | None, data_dir: Path | None
) -> None:
    """Check that a model, or a data set, keeps its contract, in words that its author understands.

    NAME is a registered model; without it every model of the files is checked. On a GPU it is also said
    whether its training steps can be recorded, without which they are several times slower.
    """
    from mmbench.data import check_dataset
    from mmbench.execution.isolation import same_state
    from mmbench.execution.recordable import why_not_recorded
    from mmbench.plan.choices import pick_device
    from models.conformance import TWO, check_model
    from models.model_file import load_model_file
    from models.names import find_model

    entries = [entry for file in dict.fromkeys(model_files) for entry in load_model_file(file)]
    if name is not None:
        entries = [find_model(name)]
    if not (entries or dataset):
        raise InputError(
            "No model to check: name one (`mmbench models` lists them), a file of yours with --model-file, "
            "or a data set with --dataset."
        )
    kept, device = [], pick_device("auto")
    for entry in entries:
        with same_state(lambda line: _echo([printable(f"note {line}")])):
            kept.append(_keeps(entry.name, check_model(entry), "models/base.py"))
            if kept[-1] and device.type == "cuda" and not entry.misfit("this check", len(TWO), 2):
                why = why_not_recorded(entry, device)
                _echo([printable(f"note {why or 'Its training steps can be recorded on this GPU.'}")])
    if dataset is not None:
        kept.append(_keeps(dataset, check_dataset(dataset, data_dir), "mmbench/data/base.py"))
    sys.exit(0 if all(kept) else 1)


def _keeps(name: str, checks: Iterable[tuple[str, str | None]], contract: str) -> bool:
    """Whether all checks of something called `name` pass; each is shown as it ends.

    Args:
        checks: what was looked at, and what is wrong with it, None where nothing is.
        contract: the file that documents what it has to be.
    """
    problems = 0
    for what, problem in checks:
        line = f"ok   {what}" if problem is None else f"FAIL {what}: {problem}"
        click.echo(printable(line))
        problems += problem is not None
    if problems:
        click.echo(
            f"{name} breaks the contract in {problems} places: {contract} documents what it has to be."
        )
    else:
        click.echo(f"{name} keeps the contract.")
    return not problems
