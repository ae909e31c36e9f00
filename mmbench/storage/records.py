"""What a run writes down about itself, read and checked.

For those who make runs and for those who report them, who need no torch.
"""

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metrics.missing import Missing
from mmbench.storage.files import DELETE, REMAKE, DamagedError, exists, file_hash, read_json
from models.errors import InputError

__all__ = [
    "AUTO",
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
AUTO = "auto"  # under "precision" of a run's environment: its machine decided
SEEDS = range(2**63)
STATES = ("pending", "running", "done", "failed")
_TEXTS = ("model", "dataset", "preset", "precision", "hash", "command")
_OBJECTS = ("settings", "data", "training", "protocol")
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
        holds = "holds no run (<dataset>/<preset>/<model>/seed-<k>/config.json)"
        what = holds if any(path.iterdir()) else "is empty"
        raise InputError(f"The folder {path} {what}: give a folder that 'mmbench run' has written.")
    return folders


def read_config(path: Path) -> dict[str, Any]:
    """What a config.json holds; InputError where it is missing, damaged or no configuration."""
    config = read_json(path)
    if problem := _config_problem(config):
        remedy = DELETE.capitalize()
        raise InputError(f"The file {path} is not the configuration of a run: {problem}. {remedy}.")
    return config


def _config_problem(config: Mapping[str, Any]) -> str:
    """What keeps a JSON object from being the configuration of a run; empty where nothing does."""
    for key, kind in _CONFIG.items():
        if not isinstance(config.get(key), kind):
            return f"{key!r} should be of type {kind.__name__}"
    if type(config["seed"]) is bool or config["seed"] not in SEEDS:
        return f"its seed is {config['seed']}, expected 0 to 2^63 - 1"
    if config["precision"] not in PRECISIONS:
        return f"its precision is {config['precision']!r}, expected {' or '.join(PRECISIONS)}"
    if not isinstance(config["data"].get("settings", {}), dict):
        return "the settings of its data should be of type dict"
    named = (isinstance(each, dict) and isinstance(each.get("name"), str) for each in config["modalities"])
    return "" if all(named) else "its modalities have no names"


def read_status(folder: Path, config: Mapping[str, Any] | None) -> dict[str, Any]:
    """What status.json of the run `config` holds.

    {"state": "pending"} before there is one: a run writes its configuration first.

    Raises:
        DamagedError: for a file that is damaged or of another run.
    """
    path = folder / "status.json"
    status = read_json(path, REMAKE) if exists(path) else {"state": "pending"}
    if status.get("state") not in STATES:
        expected = f"expected one of {', '.join(STATES)}"
        raise DamagedError(path, f"has the state {status.get('state')!r}, {expected}", REMAKE)
    its, right = (status.get("hash"), status.get("seed")), config and (config["hash"], config["seed"])
    if right and "hash" in status and its != right:  # format 1 has neither
        raise DamagedError(path, f"belongs to another run (hash {its[0]}, seed {its[1]})", REMAKE)
    timed = ("step", "train_seconds", "evaluate_seconds", "steps_per_second")
    _numbers(path, {key: status.get(key) for key in timed})
    return status


def read_metrics(folder: Path) -> dict[str, Any]:
    """What metrics.json holds.

    Returns:
        "hash" and "seed" of its run; "metrics" and "references" (name -> number or None); "reasons" (name ->
        `Missing`); "code" (name -> hash of the code that computed it); "files" (path -> SHA-256 of what else
        belongs to the run's results).
    """
    path = folder / "metrics.json"
    found = read_json(path, REMAKE)
    try:
        reasons = {name: Missing.from_json(why) for name, why in _object(path, found, "reasons").items()}
    except ValueError as error:  # a DamagedError is one
        if isinstance(error, DamagedError):
            raise
        raise DamagedError(path, f"has a reason that cannot be read ({error})", REMAKE) from None
    return {
        "hash": found.get("hash"),
        "seed": found.get("seed"),
        "metrics": _numbers(path, _object(path, found, "metrics")),
        "reasons": reasons,
        "references": _numbers(path, _object(path, found, "references")),
        "code": _object(path, {"code": {}, **found}, "code"),  # the first published runs have none
        "files": _object(path, found, "files"),
    }


def check_results(folder: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """The metrics of the finished run `config` in `folder`, if all of its results are as they were written.

    Raises:
        DamagedError: for the first file that is missing, damaged or of another run.
    """
    path = folder / "metrics.json"
    results = read_metrics(folder)
    if results["hash"] != config["hash"]:
        raise DamagedError(
            path, f"belongs to another configuration (hash {results['hash']}, not {config['hash']})", REMAKE
        )
    if results["seed"] != config["seed"]:
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
    """What `found`, read from `path`, has under `key`, which must be a JSON object."""
    if not isinstance(found.get(key), dict):
        raise DamagedError(path, f"is no list of metrics ({key!r} should be a JSON object)", REMAKE)
    return found[key]


def _numbers(path: Path, values: dict[str, Any]) -> dict[str, float | None]:
    """`values`, read from `path`, once each of them is a finite number or None."""
    for name, value in values.items():
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if value is not None and not (is_number and abs(value) <= sys.float_info.max):
            raise DamagedError(path, f"has {value!r} for {name!r}, expected a number or null", REMAKE)
    return values
