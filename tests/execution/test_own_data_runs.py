"""Runs on data files of every odd kind, from the command line: models, tables, page; and made again."""

import json
from dataclasses import replace

import numpy as np
import pytest
from options import SHORT_CHAINS, SMALL
from own_files import make_file
from torch import nn

from mmbench.data import DATASETS
from models.base import Modality
from models.errors import InputError
from models.model_file import load_model_file
from models.names import find_models
from models.parts.networks import make_decoder, make_encoder
from models.parts.own_networks import register_networks
from models.registry import MODELS

WORDS = ("--preset", "smoke", "--device", "cpu", "--precision", "fp32", "--jobs", "1", *SMALL)
EVERY = "all,coordinated:all"
NETS = """
from torch import nn
from models.parts.own_networks import register_networks

def encode(modality, outputs):
    return nn.Linear(modality.shape[0], outputs, bias=False)

def decode(modality, latent):
    return nn.Sequential(nn.Linear(latent, modality.shape[0]), nn.Sigmoid())

register_networks("b", encode, decode)
"""


def read(folder, file):
    return json.loads((folder / file).read_text(encoding="utf-8"))


def empty_cells(folder):
    """The sentences of the metrics without a value, by the name of the metric."""
    found = read(folder, "metrics.json")
    assert {name for name, value in found["metrics"].items() if value is None} == set(found["reasons"])
    return {name: why["why"] for name, why in found["reasons"].items()}


@pytest.mark.parametrize("name", ["four-modalities", "unlabelled"])
def test_a_file_of_every_kind_becomes_a_table(name, invoke, tmp_path):
    path = make_file(tmp_path, name)
    found = invoke("run", "--data-file", path, "--models", "mopoe", *WORDS, "--results", tmp_path / "results")
    assert found.code == 0, found.text
    folder = tmp_path / "results" / name / "smoke"
    run = folder / "mopoe" / "seed-0"
    assert (folder / "report.html").stat().st_size > 10_000
    config = read(run, "config.json")
    assert f"--data-file {name}.npz" in config["command"]
    assert str(tmp_path) not in json.dumps(config)
    empty = empty_cells(run)
    if name == "unlabelled":
        assert config["classes"] == []
        assert all("have no labels" in why for why in empty.values())
        assert any(metric.startswith("cross_coherence/") for metric in empty)
        values = read(run, "metrics.json")["metrics"]
        assert 0 < values["label_map/wide->square"] <= 1
        # a random order finds the right one of n at rank j with probability 1/n: on average H_n / n
        n = 40
        assert values["label_map_chance"] == pytest.approx(sum(1 / j for j in range(1, n + 1)) / n)
    else:
        assert all("agree on no draw" in why for why in empty.values())


@pytest.mark.slow  # a minute
def test_every_model_takes_a_file_of_many_kinds(invoke, tmp_path):
    """All that generate and all that retrieve, of images, a vector, counts and rows that lack some."""
    models = [entry.name for word in EVERY.split(",") for entry in find_models(word)]
    path = make_file(tmp_path, "four-modalities")
    words = ("run", "--data-file", path, "--models", EVERY, *WORDS, *SHORT_CHAINS)
    found = invoke(*words, "--results", tmp_path / "results")
    assert found.code == 0, found.text
    states = {
        folder.parent.name: read(folder, "status.json")["state"]
        for folder in (tmp_path / "results" / "four-modalities" / "smoke").glob("*/seed-0")
    }
    assert states == dict.fromkeys(models, "done")


def test_a_run_is_made_again_and_used_with_its_file_alone(invoke, tmp_path):
    """With networks of its own too, which come along into the config.json and need their file."""
    (tmp_path / "a").mkdir()
    path, results, nets = make_file(tmp_path, "two-classes"), tmp_path / "a", tmp_path / "nets.py"
    nets.write_text(NETS)
    shift = {f"b_{part}": np.load(path)[f"b_{part}"] * 10 + 1000 for part in ("train", "test")}
    path = make_file(tmp_path, "two-classes", **shift)
    words = ("--data-file", path, "--model-file", nets, "--device", "cpu")
    found = invoke("run", *words, "--models", "mvae", *WORDS, "--results", results)
    assert found.code == 0, found.text
    run = results / "two-classes" / "smoke" / "mvae" / "seed-0"
    config = read(run, "config.json")
    assert set(config["data"]["networks"]) == {"b"}
    assert [m["networks"] for m in config["modalities"]] == ["", "b"]

    np.savez(tmp_path / "new.npz", b=shift["b_train"][:3], a=np.load(path)["a_train"][:3])
    out = tmp_path / "out.npz"
    asked = ("--from", "b", tmp_path / "new.npz", "--to", "b", "--to", "a", "--out", out)
    found = invoke("translate", run, *asked, "--model-file", nets)
    assert found.code == 0, found.text
    made = np.load(out)
    assert made["b"].shape == (3, 4)
    assert (np.abs(made["b"] - shift["b_train"].mean(0)) < 9 * shift["b_train"].std(0)).all()
    assert made["a"].shape == (3, 1, 8, 8)
    assert invoke("embed", run, tmp_path / "new.npz", "--out", out, "--model-file", nets).code == 0

    DATASETS.discard("two-classes")  # as in another process
    again = ("run", "--config", run / "config.json", "--jobs", "1", "--results", tmp_path / "b")
    refused = invoke(*again)
    assert refused.code == 2
    assert "came from a file of yours, two-classes.npz: name it with --data-file" in refused.text
    evaluated = invoke("evaluate", run, *words, "--metrics", "reconstruction")
    assert evaluated.code == 0, evaluated.text
    assert read(run, "metrics.json")["metrics"]["mse/b"] > 0
    make_file(tmp_path, "two-classes", b_test=np.ones((12, 4)) * np.arange(12)[:, None])
    changed = invoke("evaluate", run, *words, "--metrics", "reconstruction")
    assert changed.code == 2
    assert "Name its data with --data-dir or --data-file" in changed.text


def test_a_file_of_networks_is_a_model_file(invoke, tmp_path):
    (tmp_path / "nets.py").write_text(NETS)
    for _ in range(2):  # the same text again registers nothing anew
        assert load_model_file(tmp_path / "nets.py") == []
    modality = Modality("b", (4,), "gaussian", networks="b")
    assert make_encoder(modality, 3).bias is None
    assert [type(layer) for layer in make_decoder(modality, 3)] == [nn.Linear, nn.Sigmoid]
    for entry in MODELS:
        if entry.collection in ("", "coordinated") and not entry.uses_labels:
            model = entry.build((modality, Modality("c", (1, 8, 8))), entry.settings(), 0)
            assert list(model.modalities) == ["b", "c"]
    with pytest.raises(InputError, match="Unknown pair of networks 'absent'"):
        make_encoder(replace(modality, networks="absent"), 3)
    with pytest.raises(InputError, match="expected two functions"):
        register_networks("c", make_encoder, None)


def test_data_check_says_what_a_file_holds(invoke, tmp_path):
    found = invoke("data", "check", make_file(tmp_path, "four-modalities"), "--no-time")
    assert found.code == 0, found.text
    for said in (
        "vector: vectors of 6 values; likelihood gaussian",
        "counts: 9 counts up to",
        "classes: 7 (0, 1, 2, 3, 4, 5, 6)",
        "complete train rows:",
        "whole rows: 0 of",
        "coherence: can be filled",
        "fid: empty for vector, counts",
    ):
        assert said in found.text
    found = invoke("data", "check", make_file(tmp_path, "unlabelled"), "--no-time")
    assert "coherence: empty, as it is measured by classes and the data have no labels" in found.text
    assert "retrieval: of the item of the query's row" in found.text


def test_data_check_estimates_the_time(invoke, tmp_path):
    words = ("--models", "mvae,acmr", "--preset", "smoke", "--device", "cpu")
    found = invoke("data", "check", make_file(tmp_path, "unlabelled"), *words)
    assert found.code == 0, found.text
    assert "mvae: about" in found.text
    assert "acmr: it is trained with labels, and unlabelled has none" in found.text


def test_data_check_names_a_model_that_fails_and_options_that_are_none(invoke, tmp_path):
    file = make_file(tmp_path, "unlabelled")
    (tmp_path / "broken.py").write_text(BROKEN)
    words = (
        "--model-file",
        tmp_path / "broken.py",
        "--models",
        "broken",
        "--preset",
        "smoke",
        "--device",
        "cpu",
    )
    found = invoke("data", "check", file, *words)
    assert found.code == 0, found.text
    assert "broken: its first steps failed (KeyError: 'nothing')" in found.text
    unknown = invoke("data", "check", file, "--models", "nope", "--no-time")
    assert unknown.code == 2
    assert "Unknown model 'nope'" in unknown.text


BROKEN = """
from models.mvae import MVAE, MVAESettings
from models.registry import register


@register("broken", settings=MVAESettings, source="nowhere", title="Broken")
class Broken(MVAE):
    def loss(self, batch, progress):
        raise KeyError("nothing")
"""


def test_data_check_lists_all_problems(invoke, tmp_path):
    path = tmp_path / "bad.npz"
    np.savez(path, a=np.full((9, 2), np.nan), b=np.ones((9, 3)), labels=np.ones(9))
    found = invoke("data", "check", path)
    assert found.code == 1
    assert [line[:8] for line in found.text.splitlines()[:-1]] == ["FAIL `a`", "FAIL `b`", "FAIL `la"]
    ran = invoke("run", "--data-file", path, "--models", "mvae", "--results", tmp_path / "results")
    assert ran.code == 2
    assert "lists 2 more" in ran.text
    assert not list((tmp_path / "results").rglob("config.json"))


@pytest.mark.parametrize("good", [True, False])
def test_suggested_commands_name_a_path_with_spaces(good, invoke, tmp_path):
    folder = tmp_path / "my data"
    folder.mkdir()
    if good:
        file = make_file(folder, "small")
        text = invoke("data", "check", file, "--no-time").text
        assert text.endswith(f" can be used: mmbench run --data-file '{file}' --models all\n")
    else:
        file = folder / "bad.npz"
        np.savez(file, a=np.full((9, 2), np.nan), b=np.full((9, 3), np.nan))
        text = invoke("run", "--data-file", file, "--models", "mvae", "--results", tmp_path / "r").text
        assert f"mmbench data check '{file}'" in text


def test_two_data_sets_at_once_are_refused(invoke, tmp_path):
    found = invoke(
        "run", "--data-file", make_file(tmp_path, "small"), "--dataset", "digits", "--models", "mvae"
    )
    assert found.code == 2
    assert "leave one of them out" in found.text
