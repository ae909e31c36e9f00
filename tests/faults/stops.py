"""How long a job takes to leave after Ctrl-C or SIGTERM, with several processes too, and after a second Ctrl-C.

python tests/faults/stops.py
"""

import os
import signal
import tempfile
import time
from pathlib import Path

import torch
from common import start

from mmbench.files import read_json

MODELS = ("mopoe", "cada-vae")


def train(folder: Path, jobs: int):
    """A job with more steps than anyone waits for, once its first models train."""
    process = start(folder, "--models", ",".join(MODELS), "--set", "steps=1000000", "--jobs", str(jobs))
    status = [folder / "results" / "digits" / "smoke" / model / "seed-0" / "status.json" for model in MODELS[:jobs]]
    while not all(path.exists() and read_json(path)["state"] == "running" for path in status):
        assert process.poll() is None
        time.sleep(0.1)
    time.sleep(2)
    return process


def stop(folder: Path, number: int, jobs: int, group: bool, twice: bool = False) -> float:
    """Seconds from the signal to the end; AssertionError for another exit code than 128 + `number`, and for a checkpoint that is lost."""
    process = train(folder, jobs)
    send = (lambda: os.killpg(process.pid, number)) if group else (lambda: process.send_signal(number))
    began = time.monotonic()
    send()
    if twice:
        time.sleep(0.05)
        send()
    text, _ = process.communicate(timeout=60)
    took = time.monotonic() - began
    assert process.returncode == 128 + number, text
    assert "the same command goes on from " in text, text
    assert "Traceback" not in text, text
    if not twice:
        for path in folder.rglob("checkpoint.pt"):
            assert torch.load(path, weights_only=True)["step"] > 0
        assert len(list(folder.rglob("checkpoint.pt"))) == jobs
    return took


if __name__ == "__main__":
    for number, jobs, group, twice in (
        (signal.SIGINT, 1, False, False),
        (signal.SIGTERM, 2, False, False),
        (signal.SIGINT, 2, True, False),
        (signal.SIGINT, 2, True, True),
    ):
        with tempfile.TemporaryDirectory() as scratch:
            took = stop(Path(scratch), number, jobs, group, twice)
        print(f"{signal.Signals(number).name}{' twice' if twice else ''}, {jobs} jobs{', to the group' if group else ''}: {took:.1f} s", flush=True)
