"""What a run writes down about itself, read and checked.

For those who make runs and for those who report them, who need no torch.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metrics.missing import Missing
from mmbench.storage.files import (
    AGAIN,
    REMAKE,
    DamagedError,
    ForeignError,
    content_hash,
    exists,
    file_hash,
    read_json,
)
from mmbench.storage.shapes import CONFIG, METRICS, STATUS, misfit
from models.errors import InputError

__all__ = ["AUTO", "DECISIVE", "LOOK", "check_results", "config_hash", "find_folders", "read_config"]
__all__ += ["read_metrics", "read_status"]

LOOK = "validation/"  # before the names of metrics of validation images in a history
AUTO = "auto"  # under "precision" of a run's environment: its machine decided
DECISIVE = ("model", "settings", "dataset", "data", "training", "protocol", "judge", "precision", "code")
"""What of a config.json decides the result of a run and is in its hash; "code" only of a model in a file."""

_DEPTH = 4  # of a run below a results folder: dataset, preset, model, seed
_FILES = ("config.json", "status.json", "metrics.json", "history.csv", "checkpoint.pt", "samples")  # of a run


def find_folders(path: Path) -> list[Path]:
    """The folders of runs at or below `path`, which is a results folder or any folder in one.

    A folder that has lost its config.json but holds another file of a run is one of them: to read it is an
    error, so that no seed goes missing unnoticed.

    Raises:
        InputError: for a path that is missing, a file, or holds no run.
    """
    if not (exists(path) and path.is_dir() and os.access(path, os.R_OK | os.X_OK)):
        what = "does not exist" if not exists(path) else "cannot be read" if path.is_dir() else "is a file"
        raise InputError(f"The results folder {path} {what}: give a folder that 'mmbench run' has written.")
    below = (found for depth in range(_DEPTH) for found in path.glob("*/" * depth + "seed-*"))
    named = (each for each in (path, *below) if re.fullmatch(r"seed-\d+", each.resolve().name))
    folders = [folder for folder in named if any(os.path.lexists(folder / name) for name in _FILES)]
    if not folders:
        holds = "holds no run (<dataset>/<preset>/<model>/seed-<k>/config.json)"
        what = holds if any(path.iterdir()) else "is empty"
        raise InputError(f"The folder {path} {what}: give a folder that 'mmbench run' has written.")
    return folders


def read_config(path: Path, remedy: str = AGAIN) -> dict[str, Any]:
    """What a config.json holds; DamagedError, with `remedy`, where it is missing, damaged or none."""
    config = read_json(path, remedy)
    if problem := misfit(config, CONFIG):
        raise DamagedError(path, f"is not the configuration of a run ({problem})", remedy)
    return config


def config_hash(config: Mapping[str, Any]) -> str:
    """The hash that a run of this configuration has, whatever it says of itself."""
    return content_hash({key: config[key] for key in DECISIVE if key in config})


def read_status(folder: Path, config: Mapping[str, Any] | None) -> dict[str, Any]:
    """What status.json of the run `config` holds.

    {"state": "pending"} before there is one: a run writes its configuration first.

    Raises:
        DamagedError: for a file that is damaged or of another run.
    """
    path = folder / "status.json"
    if not exists(path):
        return {"state": "pending"}
    status = read_json(path, REMAKE)
    if problem := misfit(status, STATUS):
        raise DamagedError(path, f"is not the status of a run ({problem})", REMAKE)
    its, right = (status.get("hash"), status.get("seed")), config and (config["hash"], config["seed"])
    if right and its != right:
        raise DamagedError(path, f"belongs to another run (hash {its[0]}, seed {its[1]})", REMAKE)
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
    if problem := misfit(found, METRICS):
        raise DamagedError(path, f"is no list of metrics ({problem})", REMAKE)
    try:
        reasons = {name: Missing.from_json(why) for name, why in found["reasons"].items()}
    except ValueError as error:
        raise DamagedError(path, f"has a reason that cannot be read ({error})", REMAKE) from None
    same = {key: found.get(key) for key in ("hash", "seed", "metrics", "references")}
    more = {key: found.get(key) or {} for key in ("code", "files")}  # the first published runs have no code
    return {**same, "reasons": reasons, **more}


def check_results(folder: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """The metrics of the finished run `config` in `folder`, if all of its results are as they were written.

    Raises:
        DamagedError: for the first file that is missing, damaged or, a ForeignError, of another run.
    """
    path = folder / "metrics.json"
    results = read_metrics(folder)
    if results["hash"] != config["hash"]:
        raise ForeignError(
            path, f"belongs to another configuration (hash {results['hash']}, not {config['hash']})", REMAKE
        )
    if results["seed"] != config["seed"]:
        raise ForeignError(path, f"belongs to seed {results['seed']}, not {config['seed']}", REMAKE)
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
