"""Settings that were chosen for one data set, in the place of a model's defaults: `tuned/<data set>.toml`.

A file has a table per preset, with a `source` that says where its settings come from, and in it a table per
model:

    [cpu]
    source = "mmbench tune, eight trials of 2,000 steps per model: results/published/tuning/mnist-svhn/cpu"

    [cpu.mopoe]
    beta = 1.249
"""

import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from models.errors import InputError
from models.registry import ModelEntry
from models.settings import resolve

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["FOLDER", "read_tuned", "tuned_presets", "tuned_settings"]

FOLDER = Path(__file__).parent / "tuned"

Tables = Mapping[str, Mapping[str, Mapping[str, object]]]
"""Preset -> model -> setting -> value."""


def tuned_settings(entry: ModelEntry, dataset: str, preset: str) -> dict[str, object]:
    """The settings of a model that were chosen for a data set and a preset; {} where it keeps its defaults.

    Raises:
        InputError: for a file that is damaged, or that has settings which the model does not admit.
    """
    path = FOLDER / f"{dataset}.toml"
    chosen = dict(read_tuned(path).get(preset, {}).get(entry.name, {}))
    resolve(entry.settings, chosen, f"{entry.name} in {path}")
    return chosen


def tuned_presets(entry: ModelEntry) -> dict[str, dict[str, dict[str, object]]]:
    """All that was chosen for a model: data set -> preset -> settings."""
    found: dict[str, dict[str, dict[str, object]]] = {}
    for path in sorted(FOLDER.glob("*.toml")):
        presets = {preset: tuned_settings(entry, path.stem, preset) for preset in read_tuned(path)}
        if presets := {preset: chosen for preset, chosen in presets.items() if chosen}:
            found[path.stem] = presets
    return found


@cache
def read_tuned(path: Path) -> Tables:
    """The tables of a file, without their sources; {} where there is no file.

    Raises:
        InputError: for a file that is not as the head of this module has it.
    """
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InputError(f"The settings in {path} cannot be read ({error}): restore the file.") from None
    for preset, table in found.items():
        if not isinstance(table, dict) or not isinstance(table.pop("source", None), str):
            raise InputError(
                f"The settings of preset {preset} in {path} do not say where they come from: "
                f'expected a table [{preset}] with source = "...".'
            )
        for model, chosen in table.items():
            if not isinstance(chosen, dict):
                raise InputError(
                    f"{preset}.{model} in {path} is {chosen!r}: expected a table of the model's settings."
                )
    return found
