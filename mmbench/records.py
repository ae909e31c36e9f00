"""What a run writes down about itself, read and checked: for those who make runs and for those who report them, who need no torch."""

import math
from pathlib import Path
from typing import Any

from mmbench.files import exists, read_json
from models.errors import InputError

__all__ = ["STATES", "read_config", "read_metrics", "read_status"]

STATES = ("pending", "running", "done", "failed")
_TEXTS, _OBJECTS = ("model", "dataset", "preset", "precision", "hash", "command"), ("settings", "data", "training", "protocol")
_CONFIG = {**dict.fromkeys(_TEXTS, str), **dict.fromkeys(_OBJECTS, dict), "seed": int, "modalities": list}


def read_config(folder: Path) -> dict[str, Any]:
    """What config.json holds; InputError where it is missing, damaged or no configuration."""
    path = folder / "config.json"
    config = read_json(path)
    wrong = f"The file {path} is not the configuration of a run:"
    for key, kind in _CONFIG.items():
        if not isinstance(config.get(key), kind):
            raise InputError(f"{wrong} {key!r} should be of type {kind.__name__}. Delete its folder and run it again.")
    if not isinstance(config["data"].get("settings", {}), dict):
        raise InputError(f"{wrong} the settings of its data should be of type dict. Delete its folder and run it again.")
    if not all(isinstance(modality, dict) and isinstance(modality.get("name"), str) for modality in config["modalities"]):
        raise InputError(f"{wrong} its modalities have no names. Delete its folder and run it again.")
    return config


def read_status(folder: Path) -> dict[str, Any]:
    """What status.json holds; {"state": "pending"} before there is one: a run writes its configuration first."""
    path = folder / "status.json"
    status = read_json(path) if exists(path) else {"state": "pending"}
    if status.get("state") not in STATES:
        raise InputError(
            f"The file {path} has the state {status.get('state')!r}: expected one of {', '.join(STATES)}. Delete its folder and run it again."
        )
    return status


def read_metrics(folder: Path) -> dict[str, Any]:
    """What metrics.json holds: "hash", "metrics" and "references" (name -> number or None), "reasons" (name -> sentence)."""
    path = folder / "metrics.json"
    found = read_json(path)
    reasons = {name: str(reason) for name, reason in _object(path, found, "reasons").items()}
    return {
        "hash": found.get("hash"),
        "metrics": _numbers(path, _object(path, found, "metrics")),
        "reasons": reasons,
        "references": _numbers(path, _object(path, found, "references")),
    }


def _object(path: Path, found: dict[str, Any], key: str) -> dict[str, Any]:
    if not isinstance(found.get(key), dict):
        raise InputError(f"The file {path} is no list of metrics: {key!r} should be a JSON object. Delete its folder and run it again.")
    return found[key]


def _numbers(path: Path, values: dict[str, Any]) -> dict[str, float | None]:
    for name, value in values.items():
        number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        if not (value is None or number):
            raise InputError(f"The file {path} has {value!r} for {name!r}: expected a number or null. Delete its folder and run it again.")
    return values
