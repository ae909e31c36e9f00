"""What a report of a problem needs to say of a machine, without private paths: `mmbench doctor`."""

import os
import warnings
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from mmbench.data import DATASETS
from mmbench.plan.choices import pick_device, pick_precision
from mmbench.plan.environment import describe_environment
from mmbench.storage.files import cache_dir, check_cache
from models.errors import InputError
from models.registry import MODELS

__all__ = ["diagnose"]

EXTRAS = ("multivae", "optuna", "ray", "tensorboard")
DATA = {".npz", ".mat", ".gz"}  # endings of files that data sets are read from


def diagnose() -> Iterator[tuple[str, str]]:
    """What was looked at, and what was found, a line each."""
    device = pick_device("auto")
    for what, found in describe_environment(device).items():
        yield what, str(found)
    for extra in EXTRAS:
        yield extra, _installed(extra)
    yield "cores", str(os.cpu_count())
    yield "threads", f"{torch.get_num_threads()} (OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', '')})"
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        yield f"cuda:{index}", f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"
    yield "--device auto", f"{device}, in {pick_precision('auto', device)}"
    yield "cache", _cache()
    yield "data", _data(os.environ.get("MMBENCH_DATA"))
    with warnings.catch_warnings(record=True) as left_out:
        warnings.simplefilter("always")
        models, datasets = list(MODELS), list(DATASETS)
    usable = sum(entry.unavailable() is None for entry in models)
    yield "models", f"{len(models)}, {usable} of them can be run"
    yield "data sets", ", ".join(entry.name for entry in datasets)
    for warning in left_out:
        yield "plugin", without_home(str(warning.message))


def without_home(text: str) -> str:
    """`text` with the user's home folder as ~."""
    try:
        home = str(Path.home())
    except RuntimeError:  # a user whom the system does not know
        return text
    return text if home == os.sep else text.replace(home, "~")


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _cache() -> str:
    """Where the cache is, how large, and whether it can be written to."""
    try:
        folder = cache_dir()
        files = [path for path in folder.rglob("*") if path.is_file()] if folder.is_dir() else []
        size = sum(path.stat().st_size for path in files)
        check_cache()
    except (InputError, OSError) as error:
        return without_home(str(error))
    return f"{without_home(str(folder))}, {len(files)} files, {size / 2**20:.0f} MiB, can be written to"


def _data(chosen: str | None) -> str:
    """The folder that MMBENCH_DATA names, and what it has of the kinds that data sets are read from."""
    if not chosen:
        return "MMBENCH_DATA is not set"
    folder = Path(os.path.expanduser(chosen))
    shown = without_home(str(folder))
    try:
        names = sorted(path.name for path in folder.iterdir() if path.suffix in DATA or path.name == "MNIST")
    except OSError as error:
        return f"{shown} cannot be read ({error.strerror})"
    return f"{shown}: {', '.join(names) or 'no .npz, .mat or .gz'}"
