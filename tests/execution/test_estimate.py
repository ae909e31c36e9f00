"""How long a job takes, before it is run."""

import re
from types import SimpleNamespace

import pytest
import torch
from run_files import seed_folder

from mmbench.execution.estimate import _costs, _elsewhere, _makespan, _steps_left
from mmbench.execution.local import Local
from mmbench.plan.job import JobOptions, check_job
from mmbench.plan.overrides import make_configs
from mmbench.storage.run_folder import RunFolder
from models.registry import MODELS


def test_settings_that_a_search_chooses_do_not_change_what_a_step_costs():
    (config,) = make_configs([MODELS.get("mmvae")], "mnist-svhn", "quick", ())
    assert [_costs(config, preset) for preset in ("quick", "cpu", "paper")] == [{}, {}, {"samples": 30}]


def test_the_time_of_the_job_is_estimated(finished):
    assert re.search(
        r"Training at the rate of this machine: about \d.*--preset paper: about \d.*--preset cpu: about \d",
        finished.text,
    )


@pytest.mark.parametrize(
    ("seconds", "jobs", "expected"),
    [([60, 60], 8, 60), ([60, 60, 60, 60], 2, 120), ([100, 10, 10], 2, 100), ([], 4, 0), ([30], 1, 30)],
)
def test_runs_take_no_less_than_the_longest(seconds, jobs, expected):
    assert _makespan(seconds, jobs) == expected


def test_steps_that_a_run_has_made_are_not_left(copy):
    folder = RunFolder(seed_folder(copy))
    run = SimpleNamespace(folder=folder, config=SimpleNamespace(training=SimpleNamespace(steps=100)))
    folder.set_status("running", step=70)
    assert _steps_left(run) == 30
    folder.set_status("failed", error="on purpose")
    assert _steps_left(run) == 100
    folder.status_file.write_bytes(b"{")
    assert _steps_left(run) == 100


@pytest.mark.parametrize(("preset", "expected"), [("smoke", "72 min"), ("quick", "18 min")])
def test_another_preset_is_estimated_at_its_batch_size(preset, expected, monkeypatch):
    """36 ms for a step of 64 pairs are 144 ms for one of 256, and 36 ms of 256 stay 36 ms."""
    monkeypatch.setattr("mmbench.execution.estimate._costs", lambda config, preset: {})
    said = _elsewhere(check_job(JobOptions("mvae", "digits", preset)), "cpu", {"mvae": 0.036}, 1)
    monkeypatch.undo()
    assert said.startswith("--preset cpu: about "), said
    assert said.removeprefix("--preset cpu: about ") == expected


@pytest.mark.parametrize(("jobs", "runs", "threads"), [(4, 1, 8), (4, 2, 4), (2, 6, 4), (3, 0, 8)])
def test_fewer_runs_than_jobs_share_all_cores(jobs, runs, threads, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    assert Local(jobs, torch.device("cpu"), runs).threads == threads
