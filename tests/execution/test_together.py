"""Runs that take turns in one process: the bits of runs made alone, failures that stay where they happen."""

import random
import signal
import sys
import threading
import time

import numpy as np
import pytest
import torch
from options import SMALL

from mmbench.console import Console
from mmbench.data import load_data
from mmbench.data.batches import _shared
from mmbench.execution.executor import DeviceLostError
from mmbench.execution.local import Local, in_processes
from mmbench.execution.rate import COUNTS, best_jobs, fastest, seconds_per_step
from mmbench.execution.signals import Stop, StoppedError
from mmbench.execution.together import Together, take_turns
from mmbench.plan.job import JobOptions, check_job
from mmbench.storage.files import read_json
from models.mopoe import MoPoE

CPU = torch.device("cpu")
RUN = ("run", "--dataset", "digits", "--preset", "smoke", *SMALL)


def seed_folder(results, model):
    return results / "digits" / "smoke" / model / "seed-0"


def make(runs, work, jobs=3, stop=None):
    lost = {}
    failed = take_turns(
        runs, work, jobs, CPU, Console(), stop or Stop(), lambda run, how: lost.update({run: how})
    )
    return failed, lost


@pytest.fixture
def together(monkeypatch):
    """Jobs of this process make their runs in turns, which is otherwise done on GPUs alone."""

    def pick(execution, *_):
        return Together(execution.jobs, execution.device)

    monkeypatch.setattr("mmbench.execution.run_job.pick_executor", pick)


def test_runs_go_on_step_by_step():
    made = []

    def work(run, console, stop):
        for step in range(3):
            made.append((run, step))
            stop.check()
        return run != "b"

    assert make(["a", "b", "c", "d"], work) == (["b"], {})
    assert made == [
        *[("a", 0), ("b", 0), ("c", 0), ("a", 1), ("b", 1), ("c", 1), ("a", 2), ("b", 2), ("c", 2)],
        *[("d", 0), ("d", 1), ("d", 2)],
    ]


def test_one_at_a_time_has_the_process_to_itself():
    """Random numbers of torch, Python and numpy are those that a run draws alone."""

    def work(run, console, stop):
        torch.manual_seed(run)
        random.seed(run)
        np.random.seed(run)
        for _ in range(4):
            drawn[run].append((torch.rand(()).item(), random.random(), np.random.rand()))
            stop.asked()
        return True

    drawn = {run: [] for run in range(5)}
    torch.manual_seed(99)
    before = torch.get_rng_state()
    make(range(5), work)
    assert torch.equal(torch.get_rng_state(), before)
    together, drawn = drawn, {run: [] for run in range(5)}
    make(range(5), work, jobs=1)
    assert together == drawn


@pytest.mark.parametrize("error", [RuntimeError("on purpose"), SystemExit(3), KeyboardInterrupt()])
def test_a_run_that_raises_is_lost_and_the_others_go_on(error):
    def work(run, console, stop):
        stop.check()
        if run == "b":
            raise error
        made.append(run)
        return True

    made = []
    failed, lost = make(["a", "b", "c", "d"], work)
    assert failed == ["b"]
    assert lost["b"].startswith(f"its thread ended ({type(error).__name__}")
    assert sorted(made) == ["a", "c", "d"]


def test_an_error_of_the_plan_is_raised_once_all_have_ended():
    def runs():
        yield from "ab"
        raise OSError("no more")

    def work(run, console, stop):
        stop.check()
        made.append(run)
        return True

    made = []
    with pytest.raises(OSError, match="no more"):
        make(runs(), work)
    assert made == ["a", "b"]


def test_a_stop_reaches_every_run_and_none_begins_after_it():
    def work(run, console, turn):
        begun.append(run)
        for step in range(100):
            if run == "b" and step == 2:
                stop.signal = signal.SIGTERM
            turn.check()
        return True

    begun, stop = [], Stop()
    with pytest.raises(StoppedError):
        make(["a", "b", "c", "d"], work, stop=stop)
    assert begun == ["a", "b", "c"]


def test_a_second_signal_ends_all_at_once():
    """No run gets to what it would do after the first one."""

    def work(run, console, turn):
        turn.asked()
        sent = 0
        while True:
            if run == "a" and sent < 2 and turn.asked() == bool(sent):  # the main thread has handled the last
                signal.raise_signal(signal.SIGTERM)
                sent += 1
            turn.asked()
            time.sleep(0.01)

    others = threading.active_count()
    with Stop() as stop, pytest.raises(KeyboardInterrupt):
        make(["a", "b"], work, jobs=2, stop=stop)
    end = time.monotonic() + 20
    while threading.active_count() > others and time.monotonic() < end:
        time.sleep(0.01)
    assert threading.active_count() == others


def test_a_job_has_the_bits_of_its_runs_made_alone(together, finished, invoke, tmp_path):
    """Stages and evaluation included."""
    models = ("mmvae", "avae", "cnf-mvae")
    result = invoke(*RUN, "--models", ",".join(models), "--results", tmp_path, "--jobs", "3")
    assert result.code == 0, result.text
    for model in models:
        for name in ("metrics.json", "history.csv", "samples/joint-street.webp"):
            one, other = (seed_folder(results, model) / name for results in (tmp_path, finished.path))
            assert one.read_bytes() == other.read_bytes(), (model, name)


def test_a_job_that_is_stopped_goes_on(together, finished, invoke, tmp_path, monkeypatch):
    command = (*RUN, "--models", "mopoe,mvae", "--results", tmp_path, "--jobs", "2")
    whole, sent = MoPoE.loss, [signal.SIGTERM]

    def interrupt(self, batch, progress):
        if progress > 0 and sent:
            signal.raise_signal(sent.pop())
        return whole(self, batch, progress)

    with monkeypatch.context() as patch:
        patch.setattr(MoPoE, "loss", interrupt)
        patch.setattr("mmbench.execution.estimate.seconds_per_step", lambda *_: 0.1)
        result = invoke(*command)
    assert result.code == 128 + signal.SIGTERM, result.text
    for model in ("mopoe", "mvae"):
        assert (seed_folder(tmp_path, model) / "checkpoint.pt").exists()
        assert not (seed_folder(tmp_path, model) / "metrics.json").exists()
    result = invoke(*command)
    assert result.code == 0, result.text
    for model in ("mopoe", "mvae"):
        one, other = (seed_folder(results, model) / "metrics.json" for results in (tmp_path, finished.path))
        assert one.read_bytes() == other.read_bytes(), model


@pytest.mark.parametrize("jobs", [1, 2])
def test_no_run_begins_on_a_device_that_is_lost(jobs, invoke, tmp_path, monkeypatch):
    """The failure of the first run is its own; those that are left are made by the next command."""

    def lose(device):
        raise RuntimeError("CUDA error: device-side assert triggered")

    monkeypatch.setattr("models.mopoe.MoPoE.loss", lambda *_: 1 / 0)
    monkeypatch.setattr("mmbench.execution.train.wait_for", lose)
    monkeypatch.setattr("mmbench.execution.run_job.pick_executor", lambda *_: pick(jobs))
    result = invoke(*RUN, "--models", "mopoe,mvae,mmvae", "--results", tmp_path)
    assert result.code == 2, result.text
    assert "computes no more in this process (RuntimeError: CUDA error: device-side" in result.text
    assert read_json(seed_folder(tmp_path, "mopoe") / "status.json")["state"] == "failed"
    assert not (seed_folder(tmp_path, "mmvae") / "status.json").exists()


def lose_device(run, console, stop):
    raise DeviceLostError("gone")


def test_a_device_that_is_lost_to_one_process_ends_no_other():
    """Nor is what its run has written of its failure written over."""
    lost = []
    failed = in_processes(["a", "b"], lose_device, 1, Console(), Stop(), lambda *how: lost.append(how))
    assert (failed, lost) == (["a", "b"], [])


def pick(jobs):
    return Together(jobs, CPU) if jobs > 1 else Local(1, CPU, 1)


def test_the_rate_of_several_at_once():
    job = check_job(JobOptions(models="mvae", dataset="digits", preset="smoke", device="cpu"))
    seconds = seconds_per_step(job.configs[0], load_data("digits"), CPU, Stop(), at_once=2)
    assert seconds > 0


def test_what_cannot_be_trained_is_made_one_at_a_time(monkeypatch):
    job = check_job(JobOptions(models="mvae", dataset="digits", preset="smoke", device="cpu"))
    data = load_data("digits")
    for loss in (lambda *_: 1 / 0, lambda *_: sys.exit(3)):
        monkeypatch.setattr("models.mvae.MVAE.loss", loss)
        assert best_jobs(job.configs[0], data, CPU, "eager", 4) == 1
        with pytest.raises(RuntimeError, match="its thread ended"):
            seconds_per_step(job.configs[0], data, CPU, Stop(), at_once=2)


def test_where_little_is_left_to_make_nothing_is_measured(monkeypatch):
    job = check_job(JobOptions(models="mvae", dataset="digits", preset="smoke", device="cpu"))
    monkeypatch.setattr("mmbench.execution.rate.seconds_per_step", lambda *_: pytest.fail("it was measured"))
    for runs in (0, 1):
        assert best_jobs(job.configs[0], load_data("digits"), CPU, "eager", runs) == 1


@pytest.mark.parametrize(
    ("runs", "rates", "room", "best"),
    [
        (9, {1: 420, 2: 775, 4: 1235, 8: 1832}, 8, 8),  # as measured on an H200
        (9, {1: 420, 2: 775, 4: 1235, 8: 1832}, 5, 4),  # more have no room
        (3, {1: 420, 2: 775, 3: 1000}, 8, 3),  # there are no more
        (9, {1: 100, 2: 190, 4: 200, 8: 900}, 8, 2),  # the first that gains little ends it
        (9, {1: 0, 2: 10}, 8, 1),  # nothing was measured
    ],
)
def test_as_many_as_gain_something_and_have_room(runs, rates, room, best):
    assert fastest(runs, rates.__getitem__, lambda count, measured: count <= room) == best
    assert COUNTS == (1, 2, 4, 8)


def test_runs_share_one_copy_of_the_data():
    items, there = torch.zeros(3), torch.device("meta")
    assert _shared(items, there) is _shared(items, there)
    assert _shared(items, there) is not _shared(torch.zeros(3), there)
    assert _shared(items, CPU) is items
