"""Where a run was made: versions, processor, commit. Recorded with every run, no part of its hash."""

import hashlib
import platform
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path

import torch

import metrics
import mmbench
import models

__all__ = ["PACKAGES", "code_hash", "describe_environment"]

PACKAGES = ("torch", "torchvision", "numpy", "scipy", "scikit-learn")


def describe_environment(device: torch.device) -> dict[str, object]:
    """A JSON object with neither paths nor host names in it."""
    return {
        "mmbench": mmbench.__version__,
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
        "system": f"{platform.system()} {platform.machine()}",
        "device": torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"{device.type}: {_processor()}",
        "git_commit": _git_commit(),
    }


@cache
def code_hash() -> str:
    """16 hex digits that identify the Python files of this suite: two checkouts of one version may differ."""
    digest = hashlib.sha256()
    for package in (metrics, mmbench, models):
        home = Path(str(package.__file__)).parent
        for path in sorted(home.rglob("*.py")):
            digest.update(
                f"{package.__name__} {path.relative_to(home).as_posix()}\n".encode() + path.read_bytes()
            )
    return digest.hexdigest()[:16]


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def _git_commit() -> str | None:
    """The commit of the checkout that mmbench runs from, None where it is installed otherwise."""
    home = Path(mmbench.__file__).parents[1]
    if not (home / ".git").exists():
        return None
    try:
        found = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=home, capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None
