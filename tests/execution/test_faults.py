"""Short forms of the fault scripts in tests/faults, which break things for real, and what is quicker to break
in this process.
"""

import errno
import os
import shutil
import signal
import sys
from pathlib import Path

import pytest
from options import SMALL
from run_files import results_of, seed_folder

from mmbench.storage.files import read_json, write_json
from models.mopoe import MoPoE
from models.registry import ModelEntry, Registry

sys.path.insert(0, str(Path(__file__).parents[1] / "faults"))

RUN = ("run", "--dataset", "digits", "--preset", "smoke", "--jobs", "1", *SMALL)


def test_random_damages(finished, tmp_path, monkeypatch):
    from damages import damage_often

    monkeypatch.setenv("MMBENCH_CACHE", os.environ["MMBENCH_CACHE"])
    for model in ("mopoe", "cada-vae"):
        shutil.copytree(seed_folder(finished.path, model), seed_folder(tmp_path / "results", model))
    found = damage_often(tmp_path / "results", tmp_path, 60, seed=1)
    assert found.startswith("60 damages: ")


@pytest.mark.slow
def test_kills(tmp_path):
    from kills import kill_often

    assert kill_often(tmp_path, 3, seed=3).startswith("3 kills ")


@pytest.mark.slow
def test_two_commands_at_once(tmp_path):
    from races import race

    race(tmp_path, commands=2, jobs=1)


@pytest.mark.slow
def test_a_small_disk(tmp_path):
    from common import finish, outcome, start
    from disks import OPTIONS, fill_up

    finish(start(tmp_path / "whole", *OPTIONS))
    fill_up(tmp_path, outcome(tmp_path / "whole" / "results"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_command_ends_as_usual_whatever_becomes_of_its_output(tmp_path):
    from outputs import MMBENCH, lose_outputs

    ways = (
        "a full disk",
        "a closed output",
        "a pipe without a reader",
        "all three closed",
        "an ASCII terminal",
    )
    lose_outputs(tmp_path, {"datasets": f"{MMBENCH} datasets"}, ways)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_runs_are_made_whatever_becomes_of_the_output(tmp_path):
    from outputs import make_runs

    make_runs(tmp_path, ("a full disk", "an ASCII terminal"))


@pytest.mark.slow
def test_a_second_signal_stops_at_once(tmp_path):
    from stops import stop_twice

    stop_twice(tmp_path, 2)  # raises where the job says something else, or goes on for a minute


@pytest.mark.skipif(
    not Path("/proc/self/fd").exists(), reason="there is no /proc to tell which file is flushed"
)
def test_a_full_disk_fails_the_run_and_the_same_command_goes_on(finished, invoke, tmp_path, monkeypatch):
    """The disk is full when the checkpoint is written, then when the metrics are: what was whole before is
    used.
    """
    folder = seed_folder(tmp_path)
    for name in ("checkpoint.pt", "metrics.json"):
        original = os.fsync

        def fsync(number, name=name, original=original):
            if Path(os.readlink(f"/proc/self/fd/{number}")).name == f"{name}.part":
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            original(number)

        monkeypatch.setattr("os.fsync", fsync)
        result = invoke(*RUN, "--models", "mopoe", "--results", tmp_path)
        monkeypatch.undo()
        assert result.code == 1
        assert (
            f"The file {folder / name} cannot be written (No space left on device): make room" in result.text
        )
        status = read_json(folder / "status.json")
        assert (status["state"], "WriteError" in status["traceback"]) == ("failed", True)
        assert not list(folder.rglob("*.part"))
    result = invoke(*RUN, "--models", "mopoe", "--results", tmp_path)
    assert result.code == 0, result.text
    assert results_of(folder) == results_of(seed_folder(finished.path))


FAILURES = {
    "no memory": MemoryError("a tensor of 80 GiB"),
    "the allocator": RuntimeError(
        "[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"
    ),
    "a call of sys.exit": SystemExit(3),
    "an exception": KeyError("plugin"),
}


@pytest.mark.parametrize("case", FAILURES)
def test_a_run_that_fails_says_why_and_the_table_what_it_rests_on(
    case, finished, invoke, tmp_path, monkeypatch
):
    shutil.copytree(seed_folder(finished.path), seed_folder(tmp_path))
    whole, error = MoPoE.loss, FAILURES[case]

    def fail(self, batch, progress):
        if progress > 0:
            raise error
        return whole(self, batch, progress)

    monkeypatch.setattr(MoPoE, "loss", fail)
    result = invoke(*RUN, "--models", "mopoe", "--seeds", "0,1", "--results", tmp_path)
    assert result.code == 1
    assert "FAILED mopoe seed 1: " + type(error).__name__ in result.text
    status = read_json(seed_folder(tmp_path, seed=1) / "status.json")
    assert status["state"] == "failed"
    assert status["error"] == f"{type(error).__name__}: {error}"
    assert "in fail" in status["traceback"]
    table = (tmp_path / "digits" / "smoke" / "table1.md").read_text()
    assert "Rests on 1 of 2 seeds: seed 1 failed (" + type(error).__name__ in table
    if case == "an exception":
        monkeypatch.undo()
        assert invoke(*RUN, "--models", "mopoe", "--seeds", "0,1", "--results", tmp_path).code == 0
        assert "Rests on" not in (tmp_path / "digits" / "smoke" / "table1.md").read_text()


# of one stage, of two; that draws follow the seed is checked for every model
@pytest.mark.parametrize("model", ["cnf-mvae", "avae"])
def test_the_run_of_a_config_file_has_the_same_bits(model, finished, invoke, tmp_path):
    config = seed_folder(finished.path, model) / "config.json"
    result = invoke("run", "--config", config, "--results", tmp_path, "--jobs", "1", "--label", "again")
    assert result.code == 0, result.text
    again = seed_folder(tmp_path, f"{model}+again")
    assert results_of(again) == results_of(config.parent)
    stored, environment = read_json(again / "config.json"), read_json(config)["environment"]
    assert stored["hash"] == read_json(config)["hash"]
    assert {"mmbench", "python", "torch", "numpy", "device", "git_commit", "threads"} <= environment.keys()
    assert all(
        len(split["sha256"]) == 64
        for parts in stored["data"]["modalities"].values()
        for split in parts.values()
    )


CONFIGS = {
    "unknown model": ({"model": "mopo"}, "cannot be made again: Unknown model 'mopo': did you mean 'mopoe'?"),
    "unknown data set": ({"dataset": "../digits"}, "cannot be made again: Unknown data set '../digits'"),
    "unknown preset": ({"preset": "../../x"}, "cannot be made again: Unknown preset '../../x'"),
    "label that leads elsewhere": ({"label": "../../x"}, "The label '../../x' is not usable"),
    "other data": (
        {"data": {"settings": {}, "pairs": {"train": 3}}, "hash": "f" * 16},
        "was made with other data or code: data.",
    ),
    "setting that is gone": (
        {"settings": {"old": 1}},
        "cannot be made again: Unknown setting 'old' of mopoe",
    ),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_config_files_that_cannot_be_run(case, finished, invoke, tmp_path):
    changes, message = CONFIGS[case]
    file = tmp_path / "config.json"
    write_json(file, read_json(seed_folder(finished.path) / "config.json") | changes)
    result = invoke("run", "--config", file, "--results", tmp_path / "results")
    assert (result.code, result.text.count("\n")) == (2, 1), result.text
    assert message in result.text
    assert not (tmp_path / "results").exists()


def test_a_config_file_says_it_all(invoke, tmp_path):
    result = invoke("run", "--config", tmp_path / "config.json", "--seeds", "1")
    assert (result.code, result.text) == (
        2,
        f"Error: --config {tmp_path / 'config.json'} says what --seeds says: leave one of them out.\n",
    )
    assert "No data set to run on: name one with --dataset" in invoke("run", "--models", "mopoe").text


@pytest.mark.parametrize("name", ["../mopoe", "a/b", ".hidden", "", "a\\b", "x" * 3 + "\n"])
def test_names_that_lead_elsewhere_are_not_registered(name):
    registry = Registry("model", package="models", group="mmbench.models")
    with pytest.raises(ValueError, match=r"The model name .* is not usable"):
        registry.add(ModelEntry(name, MoPoE, object, "", ""))


@pytest.mark.parametrize("numbers", [(signal.SIGINT,) * 2, (signal.SIGTERM,) * 2], ids=["Ctrl-C", "SIGTERM"])
def test_two_signals_in_one_step_leave_the_checkpoint_before(numbers, invoke, tmp_path, monkeypatch):
    whole, sent = MoPoE.loss, list(numbers[:1])

    def interrupt(self, batch, progress):
        while progress > 0 and sent:
            signal.raise_signal(sent.pop())
        return whole(self, batch, progress)

    monkeypatch.setattr(MoPoE, "loss", interrupt)
    monkeypatch.setattr("mmbench.execution.estimate.seconds_per_step", lambda *_: 0.1)
    results = []
    for _ in range(2):
        results.append(invoke(*RUN, "--models", "mopoe", "--results", tmp_path))
        results[-1].checkpoint = (seed_folder(tmp_path) / "checkpoint.pt").read_bytes()
        sent.extend(numbers)
    assert [result.code for result in results] == [128 + numbers[0]] * 2
    assert "Stopped. What is done is kept" in results[0].text
    assert "Stopped at once." in results[1].text
    assert results[0].checkpoint == results[1].checkpoint


def test_a_signal_outside_of_runs_is_a_sentence_too(invoke, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt  # what Ctrl-C becomes where no job handles it

    monkeypatch.setattr("mmbench.execution.run_job.load_data", interrupted)
    result = invoke(*RUN, "--models", "mopoe", "--results", "nowhere/at/all")
    assert result.code == 130
    assert result.text == "Stopped at once. What is on disk is kept: the same command goes on from there.\n"
