"""A trained model from a folder: that of its run, or one that `mmbench export` has written.

Both have the configuration in config.json, in the same form. The weights are in the checkpoint of the run,
or in model.safetensors. Neither runs any code that the folder holds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError

from mmbench.plan.config import RunConfig, restore_config
from mmbench.storage.bounds import MOST, read_file
from mmbench.storage.files import DamagedError, exists
from mmbench.storage.records import read_config
from mmbench.training.checkpoints import kinds
from mmbench.training.restore import build_model, restore_model
from models.base import Modality, MultimodalModel
from models.errors import InputError
from models.model_file import load_model_file

__all__ = ["CONFIG", "WEIGHTS", "Trained", "load_model", "load_trained"]

CONFIG, WEIGHTS, CHECKPOINT = "config.json", "model.safetensors", "checkpoint.pt"
_EXPORT_AGAIN = "export the run again"


@dataclass(frozen=True)
class Trained:
    """A trained model and what is known of its training.

    Attributes:
        folder: where it was found.
        config: what its config.json holds.
        run: the same, as a configuration.
        model: on the CPU, ready to be used.
    """

    folder: Path
    config: dict[str, Any]
    run: RunConfig
    model: MultimodalModel


def load_model(path: str | Path, model_file: str | Path | None = None) -> MultimodalModel:
    """A trained model, on the CPU and in evaluation mode, a `torch.nn.Module`.

    Args:
        path: the folder of a finished run, as results/digits/quick/mopoe/seed-0, or one that `mmbench export`
            has written.
        model_file: the Python file that registers the model, where it is one of your own. It is executed.

    Raises:
        InputError: for a folder that holds neither, a damaged file, and a model that is not known here or has
            other weights.
    """
    return load_trained(Path(path), Path(model_file) if model_file is not None else None).model


def load_trained(folder: Path, model_file: Path | None = None) -> Trained:
    """What `load_model` reads, with the configuration; it raises the same."""
    if model_file is not None:
        load_model_file(model_file)
    if not exists(folder / CONFIG):
        raise InputError(
            f"{folder} holds no trained model: expected the folder of a finished run, such as "
            "results/digits/quick/mopoe/seed-0, or one that `mmbench export` has written."
        )
    config = read_config(folder / CONFIG)
    run = restore_config(config)
    if run.entry.file and config.get("code") != run.entry.file.code:
        raise InputError(
            f"The model in {folder} was trained with another text of the file that registers "
            f"{run.entry.name}: name the file as it was with --model-file."
        )
    modalities = [_modality(each, folder / CONFIG) for each in config["modalities"]]
    model = build_model(run, modalities, len(config.get("classes") or ()), folder)
    if exists(folder / WEIGHTS):
        _give_weights(model, folder / WEIGHTS)
    elif exists(folder / CHECKPOINT):
        restore_model(model, run, folder / CHECKPOINT, config["hash"], config["seed"])
    else:
        raise InputError(
            f"{folder} has no weights: the run is not finished or has lost its checkpoint.pt. "
            f"Train it with `{config['command']}`."
        )
    return Trained(folder, config, run, model.eval())


def _modality(stored: Mapping[str, Any], path: Path) -> Modality:
    """A modality as config.json describes it."""
    if stored.get("shape") is None:
        raise DamagedError(path, f"gives no shape of {stored['name']!r}", "train the model again")
    known = {key: value for key, value in stored.items() if value is not None}
    try:
        sequences = {key: tuple(value) for key, value in known.items() if isinstance(value, list)}
        return Modality(**{**known, **sequences})
    except (TypeError, ValueError) as error:
        raise DamagedError(path, f"describes no modality that can be used ({error})", _EXPORT_AGAIN) from None


def _give_weights(model: MultimodalModel, path: Path) -> None:
    """Give `model` the weights in a safetensors file: of the same names, shapes and types as its own."""
    try:
        weights = safetensors.torch.load(read_file(path, MOST["archive"]))
    except (OSError, ValueError, SafetensorError) as error:
        raise DamagedError(path, f"cannot be read ({error})", _EXPORT_AGAIN) from None
    if kinds(weights) != kinds(model.state_dict()):
        raise InputError(
            f"The weights in {path} are not those of {type(model).__name__} as it is here: its code has "
            "changed since. Use the version of mmbench that the README.md beside them names."
        )
    model.load_state_dict(weights)
