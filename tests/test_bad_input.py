"""The table of bad inputs: each is answered with one or two sentences and exit code 2, and leaves nothing behind.

Damaged data files have a table of their own in test_data_mnist_svhn.py.
"""

import json
import os
from importlib.metadata import EntryPoint

import numpy as np
import pytest
from conftest import SMALL

RUN = ("run", "--dataset", "digits", "--models", "mopoe", "--preset", "smoke")

BAD_OPTIONS = {
    "unknown command": (("rum",), "Unknown command 'rum': did you mean 'run'?"),
    "unknown model": (("run", "--dataset", "digits", "--models", "mopo"), "Unknown model 'mopo': did you mean 'mopoe'?"),
    "one of several models unknown": (("run", "--dataset", "digits", "--models", "mopoe,vae"), "Unknown model 'vae'"),
    "model named twice": (("run", "--dataset", "digits", "--models", "mopoe,mopoe"), "names a model twice"),
    "empty model name": (("run", "--dataset", "digits", "--models", ""), "Unknown model ''"),
    "unknown data set": (("run", "--dataset", "digit", "--models", "all"), "Unknown data set 'digit': did you mean 'digits'?"),
    "unknown preset": ((*RUN[:-1], "quik"), "Unknown preset 'quik': did you mean 'quick'?"),
    "unknown metric": ((*RUN, "--metrics", "fdi"), "Unknown metric 'fdi' in --metrics: did you mean 'fid'?"),
    "unknown setting": ((*RUN, "--set", "bata=1"), "Unknown setting 'bata' in --set: did you mean 'beta'?"),
    "unknown setting of a model": ((*RUN, "--set", "mopoe.bata=1"), "Unknown setting 'bata' of mopoe: did you mean 'beta'?"),
    "setting without a value": ((*RUN, "--set", "beta"), "--set beta is not usable: expected key=value"),
    "setting of the wrong type": ((*RUN, "--set", "steps=many"), "Setting steps=many of the training budget is not usable: expected a whole number"),
    "setting out of range": ((*RUN, "--set", "beta=-1"), "Setting beta=-1 of mopoe is not usable: expected a number, at least 0."),
    "setting that is no choice": ((*RUN, "--set", "likelihood=poisson"), "expected one of gaussian, laplace, bernoulli"),
    "settings that contradict each other": ((*RUN, "--set", "draws=100", "--set", "joint_draws=200"), "joint_draws=200 exceeds draws=100"),
    "seeds that are no numbers": ((*RUN, "--seeds", "0,x"), "--seeds 0,x is not usable: expected whole numbers"),
    "seeds that repeat": ((*RUN, "--seeds", "1,1"), "--seeds 1,1 repeats a seed"),
    "negative seed": ((*RUN, "--seeds", "-1"), "expected numbers from 0"),
    "label with a slash": ((*RUN, "--label", "../x"), "The label '../x' is not usable"),
    "unknown device": ((*RUN, "--device", "gpu"), "Unknown device 'gpu'"),
    "device that is not there": ((*RUN, "--device", "cuda:99"), "The device cuda:99 is not there on this machine"),
    "batch larger than the data": ((*RUN, "--set", "batch_size=10000000"), "choose a smaller batch"),
    "missing Inception file": ((*RUN, "--inception-weights", "nowhere.pth"), "The Inception weights nowhere.pth are not there"),
    "no data directory": (
        ("run", "--dataset", "mnist-svhn", "--models", "mopoe"),
        "name it with --data-dir or the environment variable MMBENCH_DATA",
    ),
    "missing data directory": (("run", "--dataset", "mnist-svhn", "--models", "mopoe", "--data-dir", "nowhere"), "nowhere does not exist"),
    "unknown model to check": (("check", "mopo"), "Unknown model 'mopo': did you mean 'mopoe'?"),
    "report of a missing folder": (("report", "--results", "nowhere"), "nowhere"),
    "evaluation of a missing run": (("evaluate", "nowhere"), "holds no run"),
}


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
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
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


def test_results_path_that_no_one_can_make(invoke):
    assert "cannot be written to" in answer(invoke, *RUN, "--results", "/proc/mmbench")


@pytest.mark.parametrize("content", [None, "notes.txt"], ids=["empty", "foreign"])
def test_report_on_a_folder_without_runs(content, invoke, tmp_path):
    if content:
        (tmp_path / content).write_text("mine")
    text = answer(invoke, "report", "--results", tmp_path)
    assert str(tmp_path) in text
    assert sorted(path.name for path in tmp_path.iterdir()) == ([content] if content else [])


def test_evaluation_of_a_run_without_checkpoint(finished, invoke, tmp_path):
    import shutil

    copy = shutil.copytree(finished.path / "digits" / "smoke" / "mopoe" / "seed-0", tmp_path / "d" / "p" / "mopoe" / "seed-0")
    (copy / "checkpoint.pt").unlink()
    text = answer(invoke, "evaluate", copy)
    assert "has lost its checkpoint.pt: train it with `mmbench run" in text


def test_an_inception_file_with_the_wrong_hash(invoke, finished, tmp_path):
    wrong = tmp_path / "weights.pth"
    wrong.write_bytes(b"not the weights")
    text = answer(invoke, *RUN, *SMALL, "--results", tmp_path / "results", "--inception-weights", wrong)
    assert "does not hold the Inception weights: its SHA-256 begins with" in text


def test_a_damaged_status_names_its_file(finished, invoke, tmp_path):
    import shutil

    copy = shutil.copytree(finished.path, tmp_path / "results")
    status = copy / "digits" / "smoke" / "mopoe" / "seed-0" / "status.json"
    status.write_text("{")
    text = answer(invoke, *RUN, *SMALL, "--results", copy)
    assert str(status) in text


def test_a_plugin_that_fails_is_named_and_left_out(invoke, monkeypatch):
    import models.registry

    broken = EntryPoint("broken", "no_such_package_anywhere:model", "mmbench.models")
    monkeypatch.setattr(models.registry, "entry_points", lambda group: [broken])
    monkeypatch.setattr(models.registry.MODELS, "_loaded", False)
    with pytest.warns(UserWarning, match="plugin 'broken'"):
        result = invoke("models")
    assert result.code == 0
    assert "mopoe" in result.text


def test_an_npz_of_a_data_directory_that_is_damaged(invoke, tmp_path):
    for name in ("mnist_train", "mnist_test", "svhn_train", "svhn_test"):
        np.savez(tmp_path / f"{name}.npz", images=np.zeros((3, 5, 5), np.uint8), labels=np.zeros(3, np.uint8))
    text = answer(invoke, "run", "--dataset", "mnist-svhn", "--models", "mopoe", "--data-dir", tmp_path, "--results", tmp_path / "results")
    assert "mnist_train.npz" in text
    assert not list((tmp_path / "results").rglob("*.json"))


def test_models_and_datasets_are_listed_as_text_and_json(invoke):
    text, rows = invoke("models").text, json.loads(invoke("models", "--json").text)
    assert {"cnf-mvae", "cada-vae", "mmvae", "mopoe"} <= {row["name"] for row in rows}
    assert len(text.splitlines()) == len(rows)
    assert all(row["source"] and row["settings"] for row in rows)
    assert {"digits", "mnist-svhn"} <= {row["name"] for row in json.loads(invoke("datasets", "--json").text)}
    assert len(invoke("datasets").text.splitlines()) >= 2


def test_check_says_that_a_model_keeps_the_contract(invoke):
    result = invoke("check", "mopoe")
    assert result.code == 0
    assert "mopoe keeps the contract." in result.text
    assert "FAIL" not in result.text
