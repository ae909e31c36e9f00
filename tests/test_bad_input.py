"""The table of bad inputs: each is answered with one or two sentences and exit code 2, and leaves nothing
behind.

Damaged runs have a file of their own, storage/test_damaged_runs.py, and damaged data
data/test_data_mnist_svhn.py.
"""

import os
from importlib.metadata import EntryPoint

import numpy as np
import pytest
from options import SMALL
from refusals import RUN, answer, on_disk

from mmbench.storage.files import check_cache, check_writable
from models.errors import InputError

pytestmark = pytest.mark.usefixtures("digits_once")

LONG = "x" * 300

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
