"""Options of the command line, a function for each: its words become a usable value, or a clear error."""

import math
import re
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from metrics.catalogue import check_groups
from metrics.references.inception import find_weights
from mmbench.data.base import DATASETS, DatasetEntry
from mmbench.data.own import register_data_file
from mmbench.plan.config import check_observed
from mmbench.plan.presets import Preset
from mmbench.storage.shapes import PRECISIONS, SEEDS, STEPS
from models.errors import InputError, suggest
from models.model_file import load_model_file
from models.names import find_models, is_collective
from models.registry import ModelEntry

__all__ = [
    "check_count",
    "check_known",
    "check_label",
    "check_tensorboard",
    "collective_names",
    "parse_observed",
    "parse_seeds",
    "pick_dataset",
    "pick_device",
    "pick_metrics",
    "pick_models",
    "pick_precision",
    "pick_step",
]


def check_label(label: str | None) -> str | None:
    """`label`, if a folder can be called so."""
    if label is not None and not (
        isinstance(label, str) and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", label)
    ):
        raise InputError(
            f"The label {label!r} is not usable: expected letters, digits, dots, dashes and underscores."
        )
    return label


def check_tensorboard(wanted: bool) -> bool:
    """`wanted`; InputError where TensorBoard is wanted and not installed."""
    if wanted and find_spec("tensorboard") is None:
        raise InputError(
            "--tensorboard needs the package tensorboard: install the extra with "
            "pip install 'mmbench[tensorboard]'."
        )
    return wanted


def check_count(option: str, count: int | None, least: int) -> int | None:
    """`count`, if it is not given or at least `least`."""
    if count is not None and count < least:
        raise InputError(f"{option} {count} is not usable: expected a whole number, at least {least}.")
    return count


def pick_dataset(name: str | None, file: Path | None) -> DatasetEntry:
    """The data set called `name`, or that of a file of the user's own."""
    if name is not None and file is not None:
        raise InputError(
            f"--dataset {name} and --data-file {file} are both data sets: leave one of them out."
        )
    if file is not None:
        return register_data_file(file)
    if name is None:
        raise InputError(
            "No data set to run on: name one with --dataset (`mmbench datasets` lists them), a file of yours "
            "with --data-file, or a run to make again with --config."
        )
    return DATASETS.get(name)


def check_known(dataset: str, config: Mapping[str, Any]) -> None:
    """InputError where the data set of a run's configuration is not known here."""
    if dataset not in DATASETS and (file := config["data"].get("file")):
        raise InputError(f"The data came from a file of yours, {file}: name it with --data-file.")
    DATASETS.get(dataset)


def pick_models(names: str | None, files: Sequence[Path]) -> list[ModelEntry]:
    """The models called `names` and all models of `files`, each once."""
    own = [entry for file in files for entry in load_model_file(file)]
    if names is None and not own:
        raise InputError(
            "No model to run: name some with --models (`mmbench models` lists them, or all), "
            "or a file of yours with --model-file."
        )
    words = [] if names is None else names.split(",")
    chosen = [entry for word in words for entry in find_models(word.strip())]
    if len({entry.name for entry in chosen}) < len(chosen):
        raise InputError(f"--models {names} names a model twice: name each once.")
    return list({entry.name: entry for entry in (*chosen, *own)}.values())


def collective_names(names: str | None) -> frozenset[str]:
    """Of the models called `names`, those that a word for several has brought in, such as `all`."""
    words = [word.strip() for word in (names or "").split(",")]
    return frozenset(entry.name for word in words if is_collective(word) for entry in find_models(word))


def parse_seeds(text: str) -> tuple[int, ...]:
    """(0, 1, 2) from "0,1,2"."""
    try:
        seeds = tuple(int(word) for word in text.split(","))
    except ValueError:
        raise InputError(
            f"--seeds {text} is not usable: expected whole numbers separated by commas, for example 0,1,2."
        ) from None
    if not all(seed in SEEDS for seed in seeds):
        raise InputError(f"--seeds {text} is not usable: expected numbers from 0 to 2^63 - 1.")
    if len(set(seeds)) < len(seeds):
        raise InputError(
            f"--seeds {text} repeats a seed: two equal runs are not two results; name each seed once."
        )
    return seeds


def parse_observed(pairs: Sequence[str]) -> dict[str, float]:
    """{"svhn": 0.5} from ["svhn=0.5"]."""
    observed: dict[str, float] = {}
    for pair in pairs:
        name, _, share = pair.partition("=")
        try:
            number = float(share)
        except ValueError:
            number = math.nan
        observed |= check_observed({name.strip(): number}, f"--observe {pair}")
    if len(observed) < len(pairs):
        raise InputError(f"--observe {' --observe '.join(pairs)} names a modality twice: name each once.")
    return observed


def pick_metrics(text: str | None, preset: Preset, inception_weights: Path | None) -> frozenset[str]:
    """The groups of metrics named in `text`; by default the preset's, and FID where its weights are given.

    Raises:
        InputError: for an unknown group, and for weights that are not Inception's or not asked for.
    """
    if text is None:
        names = [*preset.metrics, *(["fid"] if inception_weights else [])]
    else:
        names = [name.strip() for name in text.split(",")]
        check_groups(names, " in --metrics")
    if inception_weights:
        if "fid" not in names:
            raise InputError(
                f"--inception-weights {inception_weights} is for FID, which --metrics {text} leaves out: "
                "add fid there."
            )
        find_weights(inception_weights)  # an InputError now rather than after the judges are trained
    return frozenset(names)


def pick_device(name: str) -> torch.device:
    """The device called `name`; for auto the first of cuda, mps and cpu that is there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    kind, colon, index = name.partition(":")
    counts = {"cpu": 0, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if kind not in counts or (colon and not (kind == "cuda" and index.isdecimal())):
        raise InputError(
            f"Unknown device {name!r}: {suggest(name, ['auto', *counts])} One of several GPUs is named as "
            "cuda:0."
        )
    if kind != "cpu" and int(index or 0) >= counts[kind]:
        raise InputError(
            f"The device {name} is not there on this machine: choose --device cpu, "
            "or auto for the best there is."
        )
    return torch.device(name)


def pick_precision(name: str, device: torch.device) -> str:
    """The precision called `name`; for auto bf16 where the device computes in it, fp32 elsewhere."""
    if name not in ("auto", *PRECISIONS):
        raise InputError(f"Unknown precision {name!r}: {suggest(name, ['auto', *PRECISIONS])}")
    if name != "auto":
        return name
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise InputError(
                "--precision auto asks the GPU, and this machine has none to ask for those of the cluster: "
                "name fp32 or bf16."
            )
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    if device.type == "cpu" and hasattr(torch.cpu, "get_capabilities"):  # older releases of torch do not tell
        found = torch.cpu.get_capabilities()
        return "bf16" if found.get("avx512_bf16") or found.get("amx_bf16") else "fp32"
    return "fp32"


def pick_step(name: str, device: torch.device) -> str:
    """`name` of a way of making training steps, or auto, if the device can."""
    if name not in ("auto", *STEPS):
        raise InputError(f"Unknown way of training {name!r}: {suggest(name, ['auto', *STEPS])}")
    if name == "captured" and device.type != "cuda":
        raise InputError(
            f"--step captured records CUDA graphs, which --device {device} has not: choose --step auto."
        )
    return name
