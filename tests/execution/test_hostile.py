"""The short form of tests/faults/hostile.py: models that misbehave, and what must come of their runs."""

import re
import shutil
import signal
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from options import SMALL
from run_files import results_of, seed_folder
from training_setup import make_batches

from mmbench.console import Console
from mmbench.execution import local
from mmbench.execution.executor import DONE
from mmbench.execution.local import execute
from mmbench.execution.orchestrator import _unfinished
from mmbench.execution.signals import Stop
from mmbench.storage.files import read_json
from models.mopoe import MoPoE
from models.registry import MODELS

sys.path.insert(0, str(Path(__file__).parents[1] / "faults"))

from hostile_models import AT_IMPORT, HOSTILE

RUN = ("run", "--dataset", "digits", "--preset", "smoke", *SMALL)
SHORT = (
    "cancelled",
    "interrupt",
    "stopped",
    "unspeakable",
    "one-for-all",
    "in-place",
    "other-dtype",
)


@pytest.fixture
def hostile(tmp_path):
    """The options that bring hostile models along."""

    def write(*names):
        chosen = [each for each in HOSTILE if each.name in names]
        return [f"--model-file={each.write(tmp_path)}" for each in chosen], chosen

    return write


def test_there_are_many_of_them():
    names = [each.name for each in HOSTILE]
    assert len(names) == len(set(names)) >= 30
    assert set(SHORT) <= set(names)


def test_hostile_models_fail_alone_and_leave_nothing_to_the_next_run(hostile, finished, invoke, tmp_path):
    """The good run is made in the same process, after all of them, and has the bits that it has alone."""
    files, chosen = hostile(*SHORT)
    results = tmp_path / "results"
    names = ",".join([*SHORT, "cnf-mvae"])
    result = invoke(*RUN, "--jobs", "1", *files, "--models", names, "--results", results)
    assert result.code == 1
    assert "Traceback" not in result.text
    for each in chosen:
        status = read_json(seed_folder(results, each.name) / "status.json")
        assert (status["state"], each.error in status.get("error", "")) == (each.state, True), status
        own = [line for line in result.text.splitlines() if line.startswith(f"{each.name} seed 0")]
        assert all(any(words in line for line in own) for words in each.said), own
    assert results_of(seed_folder(results, "cnf-mvae")) == results_of(seed_folder(finished.path, "cnf-mvae"))


def test_a_batch_that_a_model_changes_is_its_own():
    """Batches are made of the items anew at each step: nothing that a model does to one reaches another."""
    batches = make_batches()
    whole = {name: items.clone() for name, items in batches._items.items()}
    expected = [batches.batch(step) for step in range(3)]
    for step in range(3):
        for name, x in batches.batch(step).items():
            assert torch.equal(x, expected[step][name])
            x.fill_(9.0)
    for name, x in batches.batch(0).items():
        assert torch.equal(x, expected[0][name])
    assert all(torch.equal(batches._items[name], items) for name, items in whole.items())


def test_what_a_model_does_to_its_inputs_reaches_no_metric(finished, invoke, tmp_path, monkeypatch):
    """It may overwrite what it is given, and return one buffer for all that it is asked."""
    shutil.copytree(seed_folder(finished.path), seed_folder(tmp_path))
    before = read_json(seed_folder(tmp_path) / "metrics.json")
    whole, buffer = MoPoE.infer, {}

    def infer(self, inputs, *rest):
        found = whole(self, inputs, *rest)
        kept = buffer.setdefault(len(found), torch.empty_like(found)).copy_(found)
        for x in inputs.values():
            x.zero_()
        return kept

    monkeypatch.setattr(MoPoE, "infer", infer)
    result = invoke("evaluate", seed_folder(tmp_path), "--metrics", "coherence,probe,sampler,reconstruction")
    assert result.code == 0, result.text
    after = read_json(seed_folder(tmp_path) / "metrics.json")["metrics"]
    assert {name: after[name] for name in before["metrics"]} == before["metrics"]


@pytest.mark.slow
def test_models_that_end_their_process_end_no_other_run(hostile, finished, invoke, tmp_path):
    """Nor the command, in whose own process the rates of models used to be measured."""
    files, chosen = hostile("vanishes", "vanishes-late", "aborts")
    results = tmp_path / "results"
    names = ",".join([*(each.name for each in chosen), "cnf-mvae"])
    result = invoke(*RUN, "--jobs", "2", *files, "--models", names, "--results", results)
    assert result.code == 1
    assert re.search(r"about .* without vanishes, aborts, which failed its first steps", result.text)
    for each in chosen:
        status = read_json(seed_folder(results, each.name) / "status.json")
        assert (status["state"], each.error in status["error"]) == ("failed", True), status
    assert read_json(seed_folder(results, "cnf-mvae") / "status.json")["state"] == "done"


@pytest.mark.parametrize("case", AT_IMPORT)
def test_files_that_fail_when_they_are_read(case, invoke, tmp_path):
    code, message = AT_IMPORT[case]
    path = tmp_path / "file.py"
    path.write_text(code)
    before = [entry.name for entry in MODELS]
    result = invoke("check", "--model-file", path)
    assert (result.code, result.text.count("\n")) == (2, 1)
    assert result.text.startswith(f"Error: The model file {path} ")
    assert message in result.text
    assert [entry.name for entry in MODELS] == before


def test_evaluate_goes_on_after_a_model_that_fails(finished, invoke, tmp_path, monkeypatch):
    """Whatever it raises; its metrics stay as they were, and the exit code tells."""
    for model in ("mopoe", "cnf-mvae"):
        shutil.copytree(seed_folder(finished.path, model), seed_folder(tmp_path, model))
    before = results_of(seed_folder(tmp_path))

    def panic(*_):
        raise GeneratorExit("in embed")

    monkeypatch.setattr(MoPoE, "infer", panic)
    folders = [seed_folder(tmp_path, model) for model in ("mopoe", "cnf-mvae")]
    result = invoke("evaluate", *folders, "--metrics", "probe")
    assert result.code == 1
    assert re.search(
        r"mopoe seed 0: could not be evaluated: GeneratorExit: in embed \(.*, in panic\)\.", result.text
    )
    assert re.search(r"^cnf-mvae seed 0: probe ", result.text, re.MULTILINE)
    assert results_of(seed_folder(tmp_path)) == before


def test_evaluate_names_the_run_whose_model_cannot_be_built(finished, invoke, tmp_path, monkeypatch):
    shutil.copytree(seed_folder(finished.path), seed_folder(tmp_path))

    def fail(*_):
        raise SystemExit(0)

    monkeypatch.setattr(MoPoE, "__init__", fail)
    result = invoke("evaluate", seed_folder(tmp_path))
    assert result.code == 2
    folder = seed_folder(tmp_path)
    assert f"Error: The model of the run in {folder} cannot be built: SystemExit: 0 (" in result.text


def test_check_goes_on_after_a_model_that_exits(invoke, monkeypatch):
    def leave(*_):
        torch.set_default_dtype(torch.float64)
        sys.exit(0)

    monkeypatch.setattr(MoPoE, "loss", leave)
    result = invoke("check", "mopoe")
    assert result.code == 1
    assert "FAIL loss, 2 modalities: " in result.text
    assert "raised SystemExit: 0" in result.text
    assert "note the model's code has changed torch's default dtype" in result.text
    assert torch.get_default_dtype() == torch.float32


def test_a_run_that_is_said_to_be_done_and_is_not_has_failed(finished, tmp_path):
    """What a worker says is its model's word too: the run's own status.json decides."""
    shutil.copytree(seed_folder(finished.path), seed_folder(tmp_path))

    def run(state):
        status = {"state": state} if state else None

        class Folder:
            path = tmp_path / str(state)

            @property
            def status(self):
                return status or read_json(tmp_path / "nothing.json")

        return SimpleNamespace(folder=Folder(), name=str(state))

    runs, lost = [run(state) for state in ("done", "running", "failed", "pending", None)], {}
    found = list(_unfinished(runs, [runs[2]], lambda run, how: lost.update({run.name: how})))
    assert [each.name for each in found] == list(lost) == ["running", "pending", "None"]
    assert set(lost.values()) == {"it ended as if it were done, and its status.json does not say so"}


def linger(run, console, stop):
    """Work that leaves a thread behind, for which a process waits at its end."""
    threading.Thread(target=threading.Event().wait).start()
    return True


def test_a_process_that_does_not_end_after_its_run_is_ended(monkeypatch):
    monkeypatch.setattr(local, "LINGER_SECONDS", 0.2)
    lost = {}
    failed = execute(["a", "b"], linger, 2, Console(), Stop(), lambda run, how: lost.update({run: how}))
    assert (failed, lost, DONE) == ([], {}, "done")


def test_what_signals_lead_to_is_a_failure_where_no_signal_came():
    with Stop() as stop:
        assert not stop.caused(KeyboardInterrupt())
        signal.raise_signal(signal.SIGTERM)
        assert stop.caused(KeyboardInterrupt())
        assert not stop.caused(ValueError())
