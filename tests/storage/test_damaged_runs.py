"""Files of a run that are damaged, of something else, or out of place: each is named, and nothing is lost."""

import os
import shutil

import numpy as np
import pytest
import torch
from options import SMALL
from refusals import RUN, answer, damage, on_disk

from metrics.evaluation.evaluate import Diagnostics, Evaluation, Samples
from metrics.missing import Lack, Missing
from mmbench.execution import finished as finished_runs
from mmbench.execution.evaluating import write_evaluation
from mmbench.execution.orchestrator import Outcome
from mmbench.storage.files import read_json, write_json
from mmbench.storage.run_folder import RunFolder

pytestmark = pytest.mark.usefixtures("digits_once")

DAMAGE = {
    "config that is cut off": ("config.json", b'{"model": "mo', "cannot be read as JSON"),
    "config of other bytes": ("config.json", b"\xff\xfe", "cannot be read as JSON"),
    "config that is a list": ("config.json", b"[]", "should hold a JSON object, not list"),
    "config without keys": (
        "config.json",
        {"model": None},
        "is not the configuration of a run ('model' is None, expected a text of 1 to 300 letters in one "
        "line)",
    ),
    "config that is a folder": ("config.json", None, "cannot be read as JSON"),
    "config with a wrong key": (
        "config.json",
        {"training": 3},
        "is not the configuration of a run ('training' is 3, expected an object)",
    ),
    "config with wrong data": (
        "config.json",
        {"data": {"settings": []}},
        "'data.settings' is [], expected an object",
    ),
    "status that is cut off": ("status.json", b"{", "cannot be read as JSON"),
    "status that is nothing": ("status.json", b"null", "should hold a JSON object, not NoneType"),
    "status without keys": (
        "status.json",
        {"state": None},
        "'state' is None, expected one of pending, running, done, failed",
    ),
    "config with a seed that is none": (
        "config.json",
        {"seed": 10**30},
        f"'seed' is {10**30}, expected a whole number from 0 to 2^63 - 1",
    ),
    "config with a negative seed": (
        "config.json",
        {"seed": -1},
        "'seed' is -1, expected a whole number from 0 to 2^63 - 1",
    ),
    "config with a true seed": (
        "config.json",
        {"seed": True},
        "'seed' is True, expected a whole number from 0 to 2^63 - 1",
    ),
    "config of an unknown precision": (
        "config.json",
        {"precision": "fp8"},
        "'precision' is 'fp8', expected one of fp32, bf16",
    ),
    "status without a seed": (
        "status.json",
        {"hash": "x", "seed": None},
        "belongs to another run (hash x, seed None)",
    ),
    "status of an unknown state": (
        "status.json",
        {"state": "dead"},
        "'state' is 'dead', expected one of pending, running, done, failed",
    ),
    "metrics without keys": (
        "metrics.json",
        {"reasons": None},
        "is no list of metrics ('reasons' is None, expected an object)",
    ),
    "reasons that are sentences": (
        "metrics.json",
        {"reasons": {"probe/street": "no idea"}},
        "is no list of metrics ('reasons.probe/street' is 'no idea', expected an object)",
    ),
    "metrics that are huge": (
        "metrics.json",
        {"metrics": {"probe/street": 10**400}},
        "'metrics.probe/street' is a huge number, expected a number",
    ),
    "metrics that are words": (
        "metrics.json",
        {"metrics": {"probe/street": "good"}},
        "'metrics.probe/street' is 'good', expected a number",
    ),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damaged_files_of_a_run_are_named(case, run, invoke, monkeypatch):
    """A report refuses them and writes nothing, and so does a later evaluation but for its own metrics.json.

    A run that would go on refuses a configuration, and mends the rest.
    """
    file, content, message = DAMAGE[case]
    whole = {
        path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.name != "status.json"
    }
    damage(run / file, content)
    before = on_disk(run)
    job = (*RUN, *SMALL, "--jobs", "1", "--results", run.parents[3])
    config = file == "config.json"
    evaluate = [] if file == "metrics.json" else [("evaluate", run)]
    for command in (*evaluate, ("report", "--results", run.parents[3]), *([job] if config else [])):
        text = answer(invoke, *command)
        assert f"The file {run / file} " in text, command
        assert message in text, command
        assert text.endswith(
            "ove its folder away and run it again.\n" if config else "makes it again from the checkpoint.\n"
        ), command
    assert on_disk(run) == before
    if not config:
        # which takes seconds: what mends the run comes before
        monkeypatch.setattr("mmbench.report.write_report", lambda results, say: [])
        result = invoke(*job)
        assert result.code == 0, result.text
        assert f"the file {run / file} " in result.text
        assert message in result.text
        assert whole == {
            path: path.read_bytes()
            for path in run.rglob("*")
            if path.is_file() and path.name != "status.json"
        }


def saved(value):
    return lambda path: torch.save(value, path)


def change(**entries):
    return lambda path: torch.save(torch.load(path, weights_only=True) | entries, path)


CHECKPOINTS = {
    "empty": (
        lambda path: path.write_bytes(b""),
        "is damaged (File is not a zip file): delete it to train again.",
    ),
    "truncated": (lambda path: os.truncate(path, path.stat().st_size // 2), "is damaged ("),
    "other bytes": (lambda path: path.write_bytes(np.random.default_rng(0).bytes(1000)), "is damaged ("),
    "text": (lambda path: path.write_text("my notes"), "is damaged ("),
    "a folder": (
        lambda path: (path.unlink(), path.mkdir()),
        "cannot be read (Is a directory): mend that, or move it away to train again.",
    ),
    "foreign": (saved({"state_dict": {}}), "is damaged (it holds no state of a training): delete it"),
    "no mapping": (saved([torch.zeros(3)]), "is damaged (it holds no state of a training): delete it"),
    "of another configuration": (
        change(hash="f" * 16),
        "belongs to another configuration (ffffffffffffffff, not ",
    ),
    "of another model": (
        change(model={}),
        "has other weights than the model, whose code has changed: delete it",
    ),
}


@pytest.mark.parametrize("case", CHECKPOINTS)
def test_evaluation_of_a_damaged_checkpoint(case, run, invoke):
    """Also where a good run comes first: all are checked before the first one is written."""
    spoil, message = CHECKPOINTS[case]
    good = shutil.copytree(run, run.with_name("seed-1"))
    for file in ("config.json", "status.json", "metrics.json"):
        write_json(good / file, read_json(good / file) | {"seed": 1})
    change(seed=1)(good / "checkpoint.pt")
    spoil(run / "checkpoint.pt")
    before = on_disk(run.parent)
    text = answer(invoke, "evaluate", good, run, "--metrics", "probe")
    assert text.startswith(f"Error: The checkpoint {run / 'checkpoint.pt'} {message}")
    assert text.count("\n") == 1
    assert on_disk(run.parent) == before


@pytest.mark.parametrize("case", ["empty", "of another configuration", "of another model"])
def test_a_run_with_a_checkpoint_that_it_cannot_use(case, run, invoke):
    """Damaged: it is trained again. Whole, but of something else: it is not ours to write over."""
    before = (run / "metrics.json").read_bytes()
    CHECKPOINTS[case][0](run / "checkpoint.pt")
    (run / "status.json").unlink()
    result = invoke(*RUN, *SMALL, "--jobs", "1", "--results", run.parents[3])
    assert "Traceback" not in result.text
    status = read_json(run / "status.json")
    if case == "empty":
        assert (
            f"The checkpoint {run / 'checkpoint.pt'} is damaged (File is not a zip file): training begins "
            "again." in result.text
        )
        assert (result.code, status["state"], (run / "metrics.json").read_bytes()) == (0, "done", before)
    else:
        assert f"The checkpoint {run / 'checkpoint.pt'} {CHECKPOINTS[case][1]}" in result.text
        assert (result.code, status["state"], "delete it to train again" in status["error"]) == (
            1,
            "failed",
            True,
        )


STORED = {
    "model that is gone": (
        {"model": "mopo"},
        "mopo",
        "a model or settings that are no longer there: Unknown model 'mopo': did you mean 'mopoe'?",
    ),
    "setting that is gone": (
        {"settings": {"old": 1}},
        "mopoe",
        "a model or settings that are no longer there: Unknown setting 'old' of mopoe",
    ),
    "value that is not admitted": (
        {"protocol": {"draws": 0}},
        "mopoe",
        "no longer there: Setting draws=0 of the evaluation protocol is not usable",
    ),
    "other settings": (
        {"training": {"steps": 5}},
        "mopoe",
        "was made with other data, code or settings: training.batch_size (None there, 256 asked for)",
    ),
    "another hash": ({"hash": "f" * 16}, "mopoe", "status.json belongs to another run (hash "),
    "data that are gone": ({"dataset": "letters"}, "mopoe", "Unknown data set 'letters'"),
}


@pytest.mark.parametrize("case", STORED)
def test_evaluation_of_a_run_that_can_no_longer_be_made(case, run, invoke):
    changes, model, message = STORED[case]
    damage(run / "config.json", changes)
    moved = run.parents[3] / changes.get("dataset", "digits") / "smoke" / model / "seed-0"
    if moved != run:
        moved.parent.mkdir(parents=True)
        run.rename(moved)
    before = on_disk(moved)
    text = answer(invoke, "evaluate", moved, "--metrics", "probe")
    assert message in text
    assert text.count("\n") == 1
    assert on_disk(moved) == before


@pytest.mark.parametrize(
    "place", ["seed-0", "digits/smoke/mmvae/seed-0", "digits/smoke/mopoe/run-0", "digits/cpu/mopoe/seed-0"]
)
def test_evaluation_of_a_run_out_of_its_place(place, run, invoke, tmp_path):
    moved = tmp_path / "elsewhere" / place
    moved.parent.mkdir(parents=True)
    run.rename(moved)
    before = on_disk(moved)
    text = answer(invoke, "evaluate", moved)
    assert (
        f"The run in {moved} is out of its place, where reports look for it: move it to a folder "
        "results/digits/smoke/mopoe/seed-0." in text
    )
    assert on_disk(moved) == before


def test_evaluation_keeps_what_it_does_not_compute(run, invoke, monkeypatch):
    """Judges that judged nothing now leave the accuracy that belongs to the coherences.

    Metrics of another configuration are refused.
    """
    monkeypatch.setattr("mmbench.report.write_report", lambda *_: [])
    path = run / "metrics.json"
    mark = {"judge/street": 0.125, "judge/handwritten": 0.25}
    damage(
        path, {"references": mark, "metrics": {"joint_coherence": 0.5, "probe/street": 0.0}, "reasons": {}}
    )
    assert invoke("evaluate", run, "--metrics", "probe").code == 0
    found = read_json(path)
    assert found["references"] == mark
    assert found["metrics"]["joint_coherence"] == 0.5
    assert found["metrics"]["probe/street"] > 0
    damage(path, {"hash": "f" * 16})
    assert "metrics.json belongs to another configuration (hash ffffffffffffffff, not " in answer(
        invoke, "evaluate", run, "--metrics", "probe"
    )


def evaluation(metrics, missing):
    return Evaluation(metrics, missing, {}, Samples({}, {}, {}), Diagnostics({}, None, {}))


@pytest.mark.parametrize("kind", [Lack.UNAVAILABLE, Lack.FAILED, Lack.NOT_DEFINED])
def test_a_value_that_cannot_be_computed_here_stays(kind, run):
    """Without Inception weights what another machine found is not lost; a failure replaces it."""
    name, never, said = "fid/street/joint", "fid/handwritten/joint", []
    damage(run / "metrics.json", {"metrics": {name: 12.5}, "code": {name: "a" * 16}, "reasons": {}})
    folder, why = RunFolder(run), Missing(kind, "There are no weights.")
    found = evaluation({name: None, never: None}, {name: why, never: why})
    write_evaluation(folder, folder.config["hash"], 0, found, said.append)
    stored, stays = folder.metrics, kind is Lack.UNAVAILABLE
    assert stored["metrics"] == {name: 12.5 if stays else None, never: None}
    assert stored["reasons"] == {never: why} | ({} if stays else {name: why})
    assert (stored["code"][name] == "a" * 16) == stays
    sentence = f"{name} could not be computed here and keeps its value: There are no weights."
    assert said == ([sentence] if stays else [])


MENDED = {
    "sheet": ("samples/joint-street.webp", b"RIFF"),
    "index": ("samples/samples.json", {"joint": {}}),
    "diagnostics": ("samples/diagnostics.json", {"confusion": 3}),
    "metrics": ("metrics.json", b"{"),
}


@pytest.mark.parametrize("gone", [False, True], ids=["changed", "gone"])
@pytest.mark.parametrize("case", MENDED)
def test_an_evaluation_mends_what_it_writes(case, gone, run, invoke, monkeypatch):
    """As one that was killed leaves it: samples of the new evaluation beside the metrics of the old one."""
    monkeypatch.setattr("mmbench.report.write_report", lambda *_: [])
    found = evaluation({"probe/street": 0.5}, {})
    monkeypatch.setattr("mmbench.execution.finished.evaluate_run", lambda *_: found)
    file, content = MENDED[case]
    (run / file).unlink() if gone else damage(run / file, content)
    result = invoke("evaluate", run, "--metrics", "probe")
    assert result.code == 0, result.text
    assert f"mopoe seed 0: the file {run / file} " in result.text
    assert RunFolder(run).is_done()
    assert RunFolder(run).metrics["metrics"]["probe/street"] == 0.5


@pytest.mark.parametrize("file", ["samples/joint-street.webp", "samples"])
def test_an_evaluation_replaces_no_folder_by_a_file_nor_the_other_way_round(file, run, invoke):
    shutil.rmtree(run / file) if (run / file).is_dir() else (run / file).unlink()
    (run / file).write_text("mine") if file == "samples" else (run / file).mkdir()
    before = on_disk(run)
    assert str(run / file) in answer(invoke, "evaluate", run, "--metrics", "probe")
    assert on_disk(run) == before


def test_an_evaluation_does_not_mend_a_history(run, invoke):
    (run / "history.csv").unlink()
    (run / "metrics.json").unlink()
    assert "The file" in answer(invoke, "evaluate", run, "--metrics", "probe")


def test_failures_of_every_group_count(run, invoke, monkeypatch):
    """A run of another preset that goes well after one that failed does not hide it."""
    monkeypatch.setattr("mmbench.report.write_report", lambda *_: [])
    outcomes = iter([Outcome(("the first",)), Outcome()])
    monkeypatch.setattr("mmbench.execution.finished.orchestrate", lambda *_: next(outcomes))
    restore = finished_runs.restore_runs
    monkeypatch.setattr(finished_runs, "restore_runs", lambda *given: 2 * restore(*given))
    assert invoke("evaluate", run, "--metrics", "probe").code == 1


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (3, "'label' is 3, expected a text"),
        (["a"], "'label' is ['a'], expected a text"),
        ("../x", "The label '../x' is not usable"),
        ("", "The label '' is not usable"),
    ],
)
def test_a_configuration_with_a_label_that_is_none(label, message, run, invoke, tmp_path):
    damage(run / "config.json", {"label": label})
    assert message in answer(invoke, "run", "--config", run / "config.json", "--results", tmp_path / "new")


@pytest.mark.parametrize("name", ["status.json", "metrics.json", "history.csv"])
def test_a_folder_in_the_place_of_a_file_is_refused_before_training(name, run, invoke):
    damage(run / name, None)
    text = answer(invoke, *RUN, *SMALL, "--jobs", "1", "--results", run.parents[3])
    assert text.endswith(f"{run / name} is a folder where a run has a file: move it away.\n")


def test_evaluation_of_a_run_without_checkpoint(run, invoke):
    (run / "checkpoint.pt").unlink()
    text = answer(invoke, "evaluate", run)
    assert "has lost its checkpoint.pt: train it with `mmbench run" in text
