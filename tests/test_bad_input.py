"""The table of bad inputs: each is answered with one or two sentences and exit code 2, and leaves nothing
behind.

Damaged data files have a table of their own in test_data_mnist_svhn.py.
"""

import os
import shutil
from functools import cache
from importlib.metadata import EntryPoint

import numpy as np
import pytest
import torch
from options import SMALL

from mmbench.data import load_data
from mmbench.storage.files import check_cache, check_writable, read_json, write_json
from models.errors import InputError

RUN = ("run", "--dataset", "digits", "--models", "mopoe", "--preset", "smoke")
LONG = "x" * 300

load_data_once = cache(load_data)

BAD_OPTIONS = {
    "unknown command": (("rum",), "Unknown command 'rum': did you mean 'run'?"),
    "unknown model": (
        ("run", "--dataset", "digits", "--models", "mopo"),
        "Unknown model 'mopo': did you mean 'mopoe'?",
    ),
    "one of several models unknown": (
        ("run", "--dataset", "digits", "--models", "mopoe,vae"),
        "Unknown model 'vae'",
    ),
    "model named twice": (("run", "--dataset", "digits", "--models", "mopoe,mopoe"), "names a model twice"),
    "empty model name": (("run", "--dataset", "digits", "--models", ""), "Unknown model ''"),
    "unknown data set": (
        ("run", "--dataset", "digit", "--models", "all"),
        "Unknown data set 'digit': did you mean 'digits'?",
    ),
    "unknown preset": ((*RUN[:-1], "quik"), "Unknown preset 'quik': did you mean 'quick'?"),
    "unknown metric": (
        (*RUN, "--metrics", "fiid"),
        "Unknown metric 'fiid' in --metrics: did you mean 'fid'?",
    ),
    "unknown setting": ((*RUN, "--set", "bata=1"), "Unknown setting 'bata' in --set: did you mean 'beta'?"),
    "unknown setting of a model": (
        (*RUN, "--set", "mopoe.bata=1"),
        "Unknown setting 'bata' of mopoe: did you mean 'beta'?",
    ),
    "settings of an unknown name": (
        (*RUN, "--set", "mopoe=publshed"),
        "Unknown settings 'publshed' of mopoe: did you mean 'published'?",
    ),
    "setting without a value": ((*RUN, "--set", "beta"), "--set beta is not usable: expected key=value"),
    "setting of the wrong type": (
        (*RUN, "--set", "steps=many"),
        "Setting steps=many of the training budget is not usable: expected a whole number",
    ),
    "setting out of range": (
        (*RUN, "--set", "beta=-1"),
        "Setting beta=-1 of mopoe is not usable: expected a number, at least 0.",
    ),
    "setting that is no choice": (
        (*RUN, "--set", "likelihood=poisson"),
        "expected one of gaussian, laplace, bernoulli",
    ),
    "settings that contradict each other": (
        (*RUN, "--set", "draws=100", "--set", "joint_draws=200"),
        "joint_draws=200 exceeds draws=100",
    ),
    "seeds that are no numbers": (
        (*RUN, "--seeds", "0,x"),
        "--seeds 0,x is not usable: expected whole numbers",
    ),
    "seeds that repeat": ((*RUN, "--seeds", "1,1"), "--seeds 1,1 repeats a seed"),
    "negative seed": ((*RUN, "--seeds", "-1"), "expected numbers from 0"),
    "share that is none": (
        (*RUN, "--observe", "street=half"),
        "--observe street=half is not usable: expected modalities and the shares",
    ),
    "share of everything": ((*RUN, "--observe", "street=1"), "--observe street=1 is not usable"),
    "share without a modality": ((*RUN, "--observe", "0.5"), "--observe 0.5 is not usable"),
    "modality observed twice": (
        (*RUN, "--observe", "street=0.5", "--observe", "street=0.2"),
        "names a modality twice",
    ),
    "unknown modality": (
        (*RUN, "--observe", "stret=0.5"),
        "Unknown modality 'stret' in --observe: did you mean 'street'?",
    ),
    "model that needs complete pairs": (
        (
            "run",
            "--dataset",
            "digits",
            "--models",
            "mopoe,mdae",
            "--preset",
            "smoke",
            "--observe",
            "street=0.5",
        ),
        "The model mdae is trained on complete pairs alone: leave it out, or --observe (others take it: "
        "cada-vae, cnf-mvae, cnf-mvae-mixture, dmvae, mmvae, mopoe, mvae).",
    ),
    "share that leaves too little": (
        (*RUN, "--observe", "street=1e-9"),
        "choose a smaller batch size, or other shares",
    ),
    "share that hides too little": (
        (*RUN, "--observe", "street=0.999999"),
        "that have just handwritten: choose a smaller batch size, or other",
    ),
    "label with a slash": ((*RUN, "--label", "../x"), "The label '../x' is not usable"),
    "unknown device": ((*RUN, "--device", "gpu"), "Unknown device 'gpu'"),
    "device that is not there": (
        (*RUN, "--device", "cuda:99"),
        "The device cuda:99 is not there on this machine",
    ),
    "batch larger than the data": ((*RUN, "--set", "batch_size=10000000"), "choose a smaller batch"),
    "Inception file without FID": (
        (*RUN, "--metrics", "probe", "--inception-weights", "nowhere.pth"),
        "is for FID, which --metrics probe leaves out",
    ),
    "missing Inception file": (
        (*RUN, "--metrics", "fid", "--inception-weights", "nowhere.pth"),
        "The Inception weights nowhere.pth are not there",
    ),
    "no data directory": (
        ("run", "--dataset", "mnist-svhn", "--models", "mopoe"),
        "name it with --data-dir or the environment variable MMBENCH_DATA",
    ),
    "missing data directory": (
        ("run", "--dataset", "mnist-svhn", "--models", "mopoe", "--data-dir", "nowhere"),
        "nowhere does not exist",
    ),
    "unknown model to check": (("check", "mopo"), "Unknown model 'mopo': did you mean 'mopoe'?"),
    "report of a missing folder": (("report", "--results", "nowhere"), "nowhere"),
    "evaluation of a missing run": (("evaluate", "nowhere"), "holds no run"),
    "setting of a model that was not chosen": (
        (*RUN, "--set", "mmvae.beta=1"),
        "--set mmvae.beta=1 is for mmvae, which --models does not name",
    ),
    "seed of the pairs too large": (
        (*RUN, "--set", f"pairing_seed={2**63}"),
        "expected a whole number from 0 to 9223372036854775807",
    ),
    "pairs beyond measure": (
        (*RUN, "--set", "pairs_per_image=1e9"),
        "expected a whole number from 1 to 10000",
    ),
    "results path too long": (
        (*RUN, "--results", LONG),
        "cannot be written to (File name too long): choose another with --results.",
    ),
    "results path too long at its end": (
        (*RUN, "--results", f"new/{LONG}"),
        "cannot be written to (File name too long)",
    ),
    "label too long": (
        (*RUN, "--label", LONG),
        "cannot be written to (File name too long): choose another with --results, or a shorter --label.",
    ),
    "label too long for the files of a report": (
        (*RUN, "--label", "x" * 235),
        ".png could not be written (File name too long): choose another with --results, or a shorter "
        "--label.",
    ),
    "report path too long": (
        ("report", "--results", LONG),
        "cannot be used (File name too long): give another one",
    ),
    "evaluation path too long": (("evaluate", LONG), "cannot be used (File name too long): give another one"),
    "data path too long": (
        ("run", "--dataset", "mnist-svhn", "--models", "mopoe", "--data-dir", LONG),
        "cannot be used (File name too long)",
    ),
    "data of an unknown user": (
        ("run", "--dataset", "mnist-svhn", "--models", "mopoe", "--data-dir", "~nobody-at-all/x"),
        "does not exist",
    ),
}


@pytest.fixture(autouse=True)
def data_once(monkeypatch):
    """The embedded data are made once for all of these tests."""
    for file in ("run_job", "finished"):
        monkeypatch.setattr(f"mmbench.execution.{file}.load_data", load_data_once)


def answer(invoke, *arguments):
    """The answer to bad input, checked for its form."""
    result = invoke(*arguments)
    assert result.code == 2, result.text
    assert "Traceback" not in result.text
    return result.text


@pytest.mark.parametrize("case", BAD_OPTIONS)
def test_bad_options(case, invoke, tmp_path, monkeypatch):
    monkeypatch.delenv("MMBENCH_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    arguments, message = BAD_OPTIONS[case]
    text = answer(invoke, *arguments)
    assert text.startswith("Error: ")
    assert message in text
    assert text.count("\n") == 1
    left = list(tmp_path.rglob("*"))
    assert not left, f"left behind: {left}"


def test_results_path_is_a_file(invoke, tmp_path):
    (tmp_path / "file").write_text("mine")
    text = answer(invoke, *RUN, "--results", tmp_path / "file")
    assert "is a file: expected a folder; choose another with --results" in text
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_results_path_is_not_writable(invoke, tmp_path):
    tmp_path.chmod(0o500)
    assert "cannot be written to" in answer(invoke, *RUN, "--results", tmp_path / "results")


@pytest.mark.parametrize(
    "name", ["digits", "digits/smoke", "digits/smoke/mopoe", "digits/smoke/mopoe/seed-0"]
)
def test_a_folder_in_the_results_is_a_file(name, invoke, tmp_path):
    path = tmp_path / "results" / name
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    before = on_disk(tmp_path)
    text = answer(invoke, *RUN, "--results", tmp_path / "results")
    assert f"{path} is a file: expected a folder; choose another with --results" in text
    assert on_disk(tmp_path) == before


@pytest.mark.parametrize("parts", [(), ("new",), ("new", "digits", "quick")], ids=len)
def test_a_check_for_writing_leaves_nothing(parts, tmp_path):
    check_writable(tmp_path.joinpath(*parts), "folder", "choose another")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "dangling").symlink_to("nowhere/at/all")
    with pytest.raises(
        InputError, match=r"The folder .*dangling cannot be written to \(File exists\): choose another\."
    ):
        check_writable(tmp_path / "dangling", "folder", "choose another")
    assert [path.name for path in tmp_path.iterdir()] == ["dangling"]


def test_the_cache_is_a_file(invoke, run, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    cache.write_text("mine")
    monkeypatch.setenv("MMBENCH_CACHE", str(cache))
    sentence = (
        f"The cache folder {cache} is a file: expected a folder; name another with the environment "
        "variable MMBENCH_CACHE."
    )
    with pytest.raises(InputError) as error:
        check_cache()
    assert str(error.value) == sentence
    for command in (("evaluate", run), (*RUN, "--results", tmp_path / "new")):
        assert answer(invoke, *command) == f"Error: {sentence}\n"
    assert not (tmp_path / "new").exists()


def test_results_path_that_no_one_can_make(invoke):
    assert "cannot be written to" in answer(invoke, *RUN, "--results", "/proc/mmbench")


@pytest.mark.parametrize("content", [None, "notes.txt"], ids=["empty", "foreign"])
def test_report_on_a_folder_without_runs(content, invoke, tmp_path):
    if content:
        (tmp_path / content).write_text("mine")
    text = answer(invoke, "report", "--results", tmp_path)
    assert str(tmp_path) in text
    assert sorted(path.name for path in tmp_path.iterdir()) == ([content] if content else [])


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


def test_an_inception_file_with_the_wrong_hash(invoke, finished, tmp_path):
    wrong = tmp_path / "weights.pth"
    wrong.write_bytes(b"not the weights")
    text = answer(
        invoke,
        *RUN,
        *SMALL,
        "--metrics",
        "fid",
        "--inception-weights",
        wrong,
        "--results",
        tmp_path / "results",
    )
    assert "does not hold the Inception weights: its SHA-256 begins with" in text


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


@pytest.fixture
def run(finished, tmp_path):
    """A copy of the finished run of one model that a test may damage."""
    shutil.copytree(
        finished.path / "digits" / "smoke" / "mopoe", tmp_path / "results" / "digits" / "smoke" / "mopoe"
    )
    return tmp_path / "results" / "digits" / "smoke" / "mopoe" / "seed-0"


def damage(path, content):
    """Replace a file by these bytes, by a folder (None), or change some keys of it."""
    if isinstance(content, dict):
        write_json(path, read_json(path) | content)
    elif content is None:
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(content)


def on_disk(folder):
    return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in folder.rglob("*")}


@pytest.mark.parametrize("case", DAMAGE)
def test_damaged_files_of_a_run_are_named(case, run, invoke, monkeypatch):
    """A later evaluation and a report refuse them and write nothing.

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
    for command in (("evaluate", run), ("report", "--results", run.parents[3]), *([job] if config else [])):
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


def test_a_plugin_that_fails_is_named_and_left_out(invoke, monkeypatch):
    import models.registry

    broken = EntryPoint("broken", "no_such_package_anywhere:model", "mmbench.models")
    monkeypatch.setattr(models.registry, "entry_points", lambda group: [broken])
    monkeypatch.setattr(models.registry.MODELS, "_points_read", False)
    with pytest.warns(UserWarning, match="plugin 'broken'"):
        result = invoke("models")
    assert result.code == 0
    assert "mopoe" in result.text


def test_an_npz_of_a_data_directory_that_is_damaged(invoke, tmp_path):
    for name in ("mnist_train", "mnist_test", "svhn_train", "svhn_test"):
        np.savez(tmp_path / f"{name}.npz", images=np.zeros((3, 5, 5), np.uint8), labels=np.zeros(3, np.uint8))
    text = answer(
        invoke,
        "run",
        "--dataset",
        "mnist-svhn",
        "--models",
        "mopoe",
        "--data-dir",
        tmp_path,
        "--results",
        tmp_path / "results",
    )
    assert "mnist_train.npz" in text
    assert not list((tmp_path / "results").rglob("*.json"))
