"""What a run writes down about itself, read and checked: for those who make runs and for those who report them, who need no torch."""

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmbench.storage.files import REMAKE, DamagedError, exists, file_hash, read_json
from models.errors import InputError

__all__ = [
    "LOOK",
    "OBSERVED",
    "PRECISIONS",
    "SEEDS",
    "STATES",
    "check_results",
    "find_folders",
    "read_config",
    "read_metrics",
    "read_status",
]

OBSERVED = "share_observed"  # in the training section of a configuration
LOOK = "validation/"  # before the names of metrics of validation images in a history
PRECISIONS = ("fp32", "bf16")
SEEDS = range(2**63)
STATES = ("pending", "running", "done", "failed")
_TEXTS, _OBJECTS = (
    ("model", "dataset", "preset", "precision", "hash", "command"),
    ("settings", "data", "training", "protocol"),
)
_DEPTH = 4  # of a run below a results folder: dataset, preset, model, seed
_CONFIG = {**dict.fromkeys(_TEXTS, str), **dict.fromkeys(_OBJECTS, dict), "seed": int, "modalities": list}


def find_folders(path: Path) -> list[Path]:
    """The folders of runs at or below `path`, which is a results folder or any folder in one.

    Raises:
        InputError: for a path that is missing, a file, or holds no run.
    """
    if not (exists(path) and path.is_dir() and os.access(path, os.R_OK | os.X_OK)):
        what = "does not exist" if not exists(path) else "cannot be read" if path.is_dir() else "is a file"
        raise InputError(f"The results folder {path} {what}: give a folder that 'mmbench run' has written.")
    pattern = re.compile(r"seed-\d+")
    configs = (file for depth in range(_DEPTH + 1) for file in path.glob("*/" * depth + "config.json"))
    folders = [file.parent for file in configs if pattern.fullmatch(file.parent.resolve().name)]
    if not folders:
        what = (
            "holds no run (<dataset>/<preset>/<model>/seed-<k>/config.json)"
            if any(path.iterdir())
            else "is empty"
        )
        raise InputError(f"The folder {path} {what}: give a folder that 'mmbench run' has written.")
    return folders


def read_config(path: Path) -> dict[str, Any]:
    """What a config.json holds; InputError where it is missing, damaged or no configuration."""
    config = read_json(path)
    wrong = f"The file {path} is not the configuration of a run:"
    for key, kind in _CONFIG.items():
        if not isinstance(config.get(key), kind):
            raise InputError(
                f"{wrong} {key!r} should be of type {kind.__name__}. Delete its folder and run it again."
            )
    if type(config["seed"]) is bool or config["seed"] not in SEEDS:
        raise InputError(
            f"{wrong} its seed is {config['seed']}, expected 0 to 2^63 - 1. Delete its folder and run it again."
        )
    if config["precision"] not in PRECISIONS:
        raise InputError(
            f"{wrong} its precision is {config['precision']!r}, expected {' or '.join(PRECISIONS)}. Delete its folder and run it again."
        )
    if not isinstance(config["data"].get("settings", {}), dict):
        raise InputError(
            f"{wrong} the settings of its data should be of type dict. Delete its folder and run it again."
        )
    if not all(
        isinstance(modality, dict) and isinstance(modality.get("name"), str)
        for modality in config["modalities"]
    ):
        raise InputError(f"{wrong} its modalities have no names. Delete its folder and run it again.")
    return config


def read_status(folder: Path, config: Mapping[str, Any] | None) -> dict[str, Any]:
    """What status.json of the run `config` holds; {"state": "pending"} before there is one: a run writes its configuration first."""
    path = folder / "status.json"
    status = read_json(path, REMAKE) if exists(path) else {"state": "pending"}
    if status.get("state") not in STATES:
        raise DamagedError(
            path, f"has the state {status.get('state')!r}, expected one of {', '.join(STATES)}", REMAKE
        )
    if (
        config
        and "hash" in status
        and (status["hash"], status.get("seed")) != (config["hash"], config["seed"])
    ):  # format 1 has neither
        raise DamagedError(
            path, f"belongs to another run (hash {status['hash']}, seed {status.get('seed')})", REMAKE
        )
    _numbers(
        path,
        {key: status.get(key) for key in ("step", "train_seconds", "evaluate_seconds", "steps_per_second")},
    )
    return status


def read_metrics(folder: Path) -> dict[str, Any]:
    """What metrics.json holds: "hash" and "seed" of its run, "metrics" and "references" (name -> number or None), "reasons" (name -> sentence),
    "files" (path -> SHA-256 of what else belongs to the run's results)."""
    path = folder / "metrics.json"
    found = read_json(path, REMAKE)
    reasons = {name: str(reason) for name, reason in _object(path, found, "reasons").items()}
    return {
        "hash": found.get("hash"),
        "seed": found.get("seed"),
        "metrics": _numbers(path, _object(path, found, "metrics")),
        "reasons": reasons,
        "references": _numbers(path, _object(path, found, "references")),
        "files": _object(path, {"files": {}, **found}, "files"),  # format 1 has none
    }


def check_results(folder: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """The metrics of the finished run `config` in `folder`, once all of its results were found as they were written.

    Raises:
        DamagedError: for the first file that is missing, damaged or of another run.
    """
    path = folder / "metrics.json"
    results = read_metrics(folder)
    if results["hash"] != config["hash"]:
        raise DamagedError(
            path, f"belongs to another configuration (hash {results['hash']}, not {config['hash']})", REMAKE
        )
    if results["seed"] not in (config["seed"], None):  # format 1 has none
        raise DamagedError(path, f"belongs to seed {results['seed']}, not {config['seed']}", REMAKE)
    for name, hash in results["files"].items():
        if not re.fullmatch(r"(samples/)?\w[^/\\]*", name):
            raise DamagedError(path, f"names a file {name!r} that no run has", REMAKE)
        try:
            found = file_hash(folder / name)
        except (OSError, ValueError) as error:  # a ValueError for a name that no system takes
            raise DamagedError(
                folder / name, f"cannot be read ({getattr(error, 'strerror', None) or error})", REMAKE
            ) from None
        if found != hash:
            raise DamagedError(
                folder / name, "has changed since it was written, as its checksum says", REMAKE
            )
    return results


def _object(path: Path, found: dict[str, Any], key: str) -> dict[str, Any]:
    if not isinstance(found.get(key), dict):
        raise DamagedError(path, f"is no list of metrics ({key!r} should be a JSON object)", REMAKE)
    return found[key]


def _numbers(path: Path, values: dict[str, Any]) -> dict[str, float | None]:
    for name, value in values.items():
        number = (
            isinstance(value, (int, float))
            and not isinstance(value, bool)
            and abs(value) <= sys.float_info.max
        )
        if not (value is None or number):
            raise DamagedError(path, f"has {value!r} for {name!r}, expected a number or null", REMAKE)
    return values
