"""Runs in processes of their own: failures stay where they happen, stops reach everybody, nothing is lost or
hangs.
"""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from mmbench.console import Console
from mmbench.execution.local import execute
from mmbench.execution.signals import Stop, StoppedError


class Record(Console):
    """Keeps what is said and which tasks were shown."""

    def __init__(self):
        super().__init__()
        self.lines = []

    def say(self, line):
        self.lines.append(line)


def work(run, console, stop):
    """What a run called `run` does."""
    console.say(f"{run} begins")
    if run.startswith("raise"):
        raise RuntimeError("on purpose")
    if run.startswith("exit"):
        os._exit(9)
    if run.startswith("vanish"):
        os._exit(0)
    if run.startswith("kill"):
        os.kill(os.getpid(), signal.SIGKILL)
    if run.startswith("told"):
        os.kill(os.getpid(), signal.SIGTERM)  # by somebody other than the parent
        stop.check()
    if run.startswith("wait"):
        with console.task(run, 10) as task:
            Path(run.removeprefix("wait:")).touch()
            for done in range(1000):
                task.update(done)
                stop.check()
                time.sleep(0.05)
    return not run.startswith("fail")


def make(runs, jobs=2, stop=None):
    console, lost = Record(), {}
    failed = execute(runs, work, jobs, console, stop or Stop(), lambda run, how: lost.update({run: how}))
    return failed, lost, console.lines


@pytest.mark.parametrize("jobs", [1, 2])
def test_every_run_is_made_and_heard(jobs):
    failed, lost, lines = make(["a", "fail b", "c"], jobs)
    assert failed == ["fail b"]
    assert lost == {}
    assert sorted(lines) == ["a begins", "c begins", "fail b begins"]


def test_a_process_that_dies_is_lost_and_the_others_go_on():
    failed, lost, lines = make(["raise a", "exit b", "kill c", "told d", "vanish e", "f"])
    assert sorted(failed) == ["exit b", "kill c", "raise a", "told d", "vanish e"]
    assert lost == {
        "raise a": "its process ended with exit code 1",
        "exit b": "its process ended with exit code 9",
        "kill c": "its process was killed by SIGKILL",
        "told d": "its process was told to stop by a signal",
        "vanish e": "its process ended with exit code 0",
    }
    assert "f begins" in lines


def test_a_run_that_cannot_be_sent_is_lost_and_the_others_go_on():
    class Unpicklable(str):
        def __reduce__(self):
            raise TypeError("not to be sent")

    failed, lost, lines = make([Unpicklable("a"), "b"])
    assert failed == ["a"]
    assert "could not start (TypeError: not to be sent)" in lost["a"]
    assert lines == ["b begins"]


@pytest.mark.parametrize("at_once", [True, False], ids=["while workers import", "while they work"])
def test_a_stop_reaches_all_workers(at_once, tmp_path):
    stop, files = Stop(), [tmp_path / "a", tmp_path / "b"]

    def ask():
        while not at_once and not all(file.exists() for file in files):
            time.sleep(0.05)
        stop.signal = signal.SIGTERM

    asking = threading.Timer(0.2, ask)
    asking.start()
    with pytest.raises(StoppedError):
        make([f"wait:{file}" for file in files] + ["never started"], stop=stop)
    asking.join()


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="signals cannot be held back here")
def test_an_interrupt_while_a_worker_starts_is_heard():
    class Interrupting(str):
        def __reduce__(self):  # pickled for the worker, in the middle of its start
            signal.raise_signal(signal.SIGINT)
            return str, ("a",)

    with Stop() as stop, pytest.raises(StoppedError):
        make([Interrupting("a"), "b", "c"], stop=stop)
    assert stop.signal == signal.SIGINT
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_does_not_wait(number):
    with Stop() as stop:
        signal.raise_signal(number)
        with pytest.raises(KeyboardInterrupt) as found:
            signal.raise_signal(number)
    assert (stop.signal, found.value.args) == (number, (number,))
    with Stop(patient=True):
        signal.raise_signal(number)
        signal.raise_signal(number)
