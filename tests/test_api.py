"""`import mmbench` in a notebook: the same runs as the command line makes, and clear errors."""

import subprocess
import sys
from dataclasses import replace

import pandas as pd
import pytest
import torch
from PIL import Image

import mmbench
from mmbench.training.trainer import Watch
from models.base import NotDefinedError
from models.errors import InputError


@pytest.fixture(scope="module")
def data():
    return mmbench.load_data("digits")


def test_a_model_is_made_trained_and_drawn(data, tmp_path):
    model = mmbench.make_model("mopoe", data, latent_size=5)
    assert model.settings.latent_size == 5
    seen = []
    history = mmbench.train(model, data, steps=40, batch_size=16, watch=Watch(stop=lambda: seen.append(1)))
    assert isinstance(history, pd.DataFrame)
    assert history["step"].iloc[-1] == 40
    assert len(seen) == 40
    again = mmbench.make_model("mopoe", data, latent_size=5)
    assert mmbench.train(again, data, steps=40, batch_size=16).equals(history)
    assert all(map(torch.equal, model.parameters(), again.parameters()))
    path = mmbench.sample_grid(model, data, tmp_path / "samples.png", n=16)
    with Image.open(path) as picture:
        assert min(picture.size) > 25  # tests draw few pixels


def test_training_goes_on_from_its_checkpoint(data, tmp_path):
    whole = mmbench.train(mmbench.make_model("mvae", data), data, steps=20, batch_size=8)
    asked = iter(range(100))
    model, path = mmbench.make_model("mvae", data), tmp_path / "model.pt"
    watch = Watch(stop=lambda: next(asked) == 9)
    mmbench.train(model, data, steps=20, batch_size=8, checkpoint=path, watch=watch)
    resumed = mmbench.train(
        mmbench.make_model("mvae", data, seed=5), data, steps=20, batch_size=8, checkpoint=path
    )
    assert resumed.equals(whole)


@pytest.mark.parametrize(
    "other",
    [{"steps": 30}, {"learning_rate": 0.5}, {"precision": "bf16"}, {"model": 4}, {"data": "other"}],
    ids=lambda other: next(iter(other)),
)
def test_a_checkpoint_of_another_training_is_refused(other, data, tmp_path):
    path = tmp_path / "model.pt"
    budget = {"steps": 2, "batch_size": 8, "checkpoint": path}
    mmbench.train(mmbench.make_model("mvae", data, beta=2.0), data, **budget)
    before = path.read_bytes()
    model = mmbench.make_model("mvae", data, beta=float(other.pop("model", 2.0)))
    changed = replace(data, provenance={"made by": "hand"}) if other.pop("data", "") else data
    with pytest.raises(InputError, match="belongs to another configuration"):
        mmbench.train(model, changed, **budget | other)
    assert path.read_bytes() == before


def test_evaluation_is_that_of_a_run(data):
    model = mmbench.make_model("mopoe", data)
    small = {"draws": 60, "joint_draws": 40, "probe_images": 60, "judge_steps": 3}
    found = mmbench.evaluate(model, data, metrics=["coherence", "probe"], **small)
    assert {"joint_coherence", "probe/street"} <= found.metrics.keys()
    assert 0 <= found.metrics["probe/street"] <= 1
    assert found.metrics == mmbench.evaluate(model, data, metrics=["coherence", "probe"], **small).metrics


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda data: mmbench.make_model("mopeo", data), "did you mean 'mopoe'"),
        (lambda data: mmbench.make_model("mopoe", data, betta=1), "did you mean 'beta'"),
        (
            lambda data: mmbench.train(mmbench.make_model("mopoe", data), data, stepps=1),
            "did you mean 'steps'",
        ),
        (
            lambda data: mmbench.evaluate(mmbench.make_model("mopoe", data), data, metrics=["fids"]),
            "Unknown metric 'fids'",
        ),
    ],
    ids=["model", "setting", "budget", "metric"],
)
def test_wrong_names_are_errors_with_a_suggestion(call, message, data):
    with pytest.raises(InputError, match=message):
        call(data)


def test_a_model_without_a_prior_has_no_sample_grid(data, tmp_path):
    with pytest.raises(NotDefinedError):
        mmbench.sample_grid(mmbench.make_model("mdae", data), data, tmp_path / "samples.png")
    assert not list(tmp_path.iterdir())


def test_to_import_it_loads_nothing_heavy():
    code = "import sys, mmbench; print(sorted({'torch', 'pandas', 'numpy', 'click'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
    with pytest.raises(AttributeError, match="no attribute 'lode_data'"):
        mmbench.lode_data  # noqa: B018
