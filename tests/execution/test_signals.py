"""Signals to a job: what is on disk then, and the same command goes on."""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress

import pytest
import torch
from options import SMALL
from run_files import seed_folder

from mmbench.execution.orchestrator import Outcome
from mmbench.execution.signals import Stop
from mmbench.storage.files import read_json

RUN = ("run", "--dataset", "digits", "--preset", "smoke", "--jobs", "1", *SMALL)


@contextmanager
def started(tmp_path, *options):
    """`mmbench run` with more steps than anyone waits for, in a process group of its own, once it trains.

    Whatever becomes of the block, nothing of the group is left.
    """
    command = [
        sys.executable,
        "-m",
        "mmbench",
        *RUN,
        "--results",
        str(tmp_path),
        "--set",
        "steps=1000000",
        *options,
    ]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    status = seed_folder(tmp_path) / "status.json"
    deadline = time.monotonic() + 300  # judges too, on a machine that does other things
    try:
        while not (status.exists() and read_json(status)["state"] == "running"):
            assert time.monotonic() < deadline, "it does not begin to train"
            time.sleep(0.1)
        time.sleep(1)
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


NO_HANGUP = pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="there is no SIGHUP here")


@pytest.mark.parametrize(
    ("number", "jobs", "group"),
    [
        (signal.SIGINT, 1, False),
        (signal.SIGTERM, 1, False),
        (signal.SIGTERM, 2, True),
        pytest.param(signal.SIGTERM, 2, False, marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, 1, False, marks=NO_HANGUP),
        pytest.param(signal.SIGHUP, 2, True, marks=[NO_HANGUP, pytest.mark.slow]),
    ],
)
def test_a_signal_writes_a_checkpoint_and_the_same_command_goes_on(number, jobs, group, finished, tmp_path):
    with started(tmp_path, "--models", "mopoe,cnf-mvae", "--jobs", str(jobs)) as process:
        if group:  # as a terminal, a scheduler or a service manager does it
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        text, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + number, text
    assert "the same command goes on from here" in text
    assert "Traceback" not in text
    saved = torch.load(seed_folder(tmp_path) / "checkpoint.pt", weights_only=True)
    assert saved["step"] > 0
    assert read_json(seed_folder(tmp_path) / "status.json")["state"] == "running"


@NO_HANGUP
def test_what_is_begun_under_nohup_goes_on_when_the_terminal_closes():
    usual = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup leaves it
    try:
        with Stop() as stop:
            signal.raise_signal(signal.SIGHUP)
            assert stop.signal is None
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, usual)
    with Stop() as stop:
        signal.raise_signal(signal.SIGHUP)
    assert (stop.signal, Outcome(stopped_by=stop.signal).exit_code) == (signal.SIGHUP, 129)


@pytest.mark.slow
def test_workers_leave_with_a_parent_that_is_killed(finished, tmp_path):
    with started(tmp_path, "--models", "mopoe,cnf-mvae", "--jobs", "2") as process:
        os.kill(process.pid, signal.SIGKILL)
        process.communicate(timeout=60)  # returns once the last worker has closed its output
    assert torch.load(seed_folder(tmp_path) / "checkpoint.pt", weights_only=True)["step"] > 0
