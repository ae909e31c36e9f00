"""How long a job takes to leave after Ctrl-C or SIGTERM, with several processes too, and after two signals.

python tests/faults/stops.py
"""

import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import torch
from common import start

from mmbench.storage.files import read_json

MODELS = ("mopoe", "cada-vae")


def train(folder: Path, jobs: int):
    """A job with more steps than anyone waits for, once its first models train."""
    status = [
        folder / "results" / "digits" / "smoke" / model / "seed-0" / "status.json" for model in MODELS[:jobs]
    ]
    for path in status:
        path.unlink(missing_ok=True)  # of an earlier job
    process = start(folder, "--models", ",".join(MODELS), "--set", "steps=1000000", "--jobs", str(jobs))
    while not all(path.exists() and read_json(path)["state"] == "running" for path in status):
        assert process.poll() is None
        time.sleep(0.1)
    time.sleep(2)
    return process


def leave(process, began: float, code: int, words: str) -> float:
    """Seconds from `began` to the end of `process`.

    AssertionError unless it ends with `code` and says `words`, without a traceback.
    """
    try:
        text, _ = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    took = time.monotonic() - began
    assert process.returncode == code, text
    assert words in text, text
    assert "Traceback" not in text, text
    return took


def stop(folder: Path, number: int, jobs: int, group: bool) -> float:
    """Seconds from the signal to the end.

    AssertionError for another exit code than 128 + `number`, and for a checkpoint that is lost.
    """
    process = train(folder, jobs)
    began = time.monotonic()
    if group:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    took = leave(process, began, 128 + number, "Stopped. What is done is kept")
    checkpoints = list(folder.rglob("checkpoint.pt"))
    assert len(checkpoints) == jobs
    for path in checkpoints:
        assert torch.load(path, weights_only=True)["step"] > 0
    return took


def stop_twice(folder: Path, jobs: int) -> float:
    """Seconds from two signals to the end, in a job that goes on from checkpoints.

    AssertionError unless those are as they were.
    """
    stop(folder, signal.SIGINT, jobs, group=True)
    before = {path: path.read_bytes() for path in folder.rglob("checkpoint.pt")}
    process = train(folder, jobs)
    # so that it finds both when it wakes up: two of one kind would be one
    process.send_signal(signal.SIGSTOP)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    process.send_signal(signal.SIGCONT)
    took = leave(process, began, 128 + signal.SIGTERM, "Stopped at once.")
    assert before == {path: path.read_bytes() for path in folder.rglob("checkpoint.pt")}
    return took


if __name__ == "__main__":
    for number, jobs, group in (
        (signal.SIGINT, 1, False),
        (signal.SIGTERM, 2, False),
        (signal.SIGINT, 2, True),
    ):
        with tempfile.TemporaryDirectory() as scratch:
            took = stop(Path(scratch), number, jobs, group)
        print(f"{number.name}, {jobs} jobs{', to the group' if group else ''}: {took:.1f} s", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        print(f"two signals, 2 jobs: {stop_twice(Path(scratch), 2):.1f} s", flush=True)
