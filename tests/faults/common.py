"""What the fault scripts share: a small job on the embedded data, its command line, and what it leaves."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import torch

SMALL = [f"--set={pair}" for pair in ("draws=60", "joint_draws=40", "probe_images=60", "judge_steps=3")]
JOB = ["run", "--dataset", "digits", "--preset", "smoke", *SMALL]


def environment(folder: Path) -> dict[str, str]:
    """Of a process with a cache of its own in `folder` and one thread."""
    own = {
        "MMBENCH_CACHE": str(folder / "cache"),
        "TORCH_HOME": str(folder / "torch"),
        "OMP_NUM_THREADS": "1",
        "PYTHONUNBUFFERED": "1",
    }
    return {**os.environ, **own}


def start(folder: Path, *options: str, **more) -> subprocess.Popen:
    """`mmbench run` of the small job with its results in `folder`, in a process group of its own."""
    command = [sys.executable, "-m", "mmbench", *JOB, "--results", str(folder / "results"), *options]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, env=environment(folder), start_new_session=True, **(streams | more))


def finish(process: subprocess.Popen, timeout: float = 600) -> str:
    """All that it prints; whatever it ends with, it prints no traceback."""
    text, _ = process.communicate(timeout=timeout)
    assert "Traceback" not in text, text
    return text


def outcome(results: Path) -> dict[str, str]:
    """What must be the same whatever happened on the way: hashes of metrics, histories, samples and final
    weights, by path.
    """
    found = {}
    for folder in sorted(path.parent for path in results.rglob("config.json")):
        for path in (
            folder / "metrics.json",
            folder / "history.csv",
            *sorted((folder / "samples").iterdir()),
        ):
            found[str(path.relative_to(results))] = hashlib.sha256(path.read_bytes()).hexdigest()
        weights = torch.load(folder / "checkpoint.pt", weights_only=True)["model"]
        digest = hashlib.sha256()
        for name, value in weights.items():
            digest.update(name.encode() + value.numpy().tobytes())
        found[str((folder / "weights").relative_to(results))] = digest.hexdigest()
    return found
