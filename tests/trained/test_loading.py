"""Trained models from the folders of their runs, and from exported ones: the same weights, or a sentence."""

import json
import shutil

import pytest
import safetensors.torch
import torch
from run_files import seed_folder

import mmbench
from mmbench.storage.archives import read_torch
from mmbench.storage.files import DamagedError
from mmbench.trained.export import export_model
from models.errors import InputError
from models.registry import MODELS

OWN = '''
from dataclasses import dataclass
import torch
from models.mopoe import MoPoE, MoPoESettings
from models.registry import register

@register("own-mopoe", settings=MoPoESettings, source="a test")
class Own(MoPoE):
    """MoPoE."""
'''


@pytest.fixture(scope="module")
def exported(finished, tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "mopoe"
    export_model(seed_folder(finished.path), folder)
    return folder


def same_weights(a, b):
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("name", sorted(entry.name for entry in MODELS if not entry.collection))
def test_every_model_survives_its_export_bit_by_bit(name, finished, tmp_path):
    run = seed_folder(finished.path, name)
    saved = read_torch(run / "checkpoint.pt")["model"]
    model = mmbench.load_model(run)
    assert not model.training
    assert model.state_dict().keys() == saved.keys()
    assert all(torch.equal(value, saved[key]) for key, value in model.state_dict().items())
    assert same_weights(mmbench.load_model(export_model(run, tmp_path / "export")), model)


def test_an_export_is_a_repository_with_a_card(exported, finished):
    assert {path.name for path in exported.iterdir()} == {
        "README.md", "config.json", "metrics.json", "model.safetensors"
    }  # fmt: skip
    card = (exported / "README.md").read_text(encoding="utf-8")
    assert card.startswith('---\nlibrary_name: "mmbench"\n')
    metrics = json.loads((seed_folder(finished.path) / "metrics.json").read_text())["metrics"]
    assert f"| Probe handwritten (%) | {100 * metrics['probe/handwritten']:.2f} |" in card
    assert "arXiv 2105.02470" in card
    assert "mmbench.load_model" in card


def test_a_card_gives_the_spread_over_seeds(finished, tmp_path):
    """A second seed beside the first one, with another value of one metric, and without one of another.

    The mean is rounded once: 25.0044 and 25.0144 per cent are 25.00 and 25.01, and 25.0094 on average.
    """
    model = tmp_path / "digits" / "smoke" / "mopoe"
    for seed in (0, 1):
        shutil.copytree(seed_folder(finished.path), model / f"seed-{seed}")
    for seed, value in ((0, 0.250044), (1, 0.250144)):
        for name in ("config.json", "metrics.json", "status.json"):
            stored = json.loads((model / f"seed-{seed}" / name).read_text())
            del stored["checksum"], stored["format"]
            stored["seed"] = seed
            if name == "metrics.json":
                stored["metrics"]["probe/street"] = value
                stored["metrics"]["probe/handwritten"] = None if seed else 0.5
            mmbench.storage.files.write_json(model / f"seed-{seed}" / name, stored)
    card = (export_model(model / "seed-0", tmp_path / "export") / "README.md").read_text(encoding="utf-8")
    assert "| metric | this run | mean ± standard deviation over seeds | seeds |" in card
    assert "| Probe street (%) | 25.00 | 25.01 ± 0.01 | 2 |" in card
    assert "| Probe handwritten (%) | 50.00 | 50.00 | 1 |" in card


def test_no_export_over_what_is_there(exported, finished):
    before = (exported / "README.md").read_bytes()
    with pytest.raises(InputError, match="holds something already"):
        export_model(seed_folder(finished.path), exported)
    assert (exported / "README.md").read_bytes() == before


def test_a_failed_export_leaves_nothing(finished, tmp_path, monkeypatch):
    def fail(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mmbench.trained.export.write_json", fail)
    with pytest.raises(OSError, match="No space"):
        export_model(seed_folder(finished.path), tmp_path / "export")
    assert list(tmp_path.iterdir()) == []


def test_a_model_of_a_file_needs_the_file(finished, invoke, tmp_path):
    path = tmp_path / "own.py"
    path.write_text(OWN)
    result = invoke(
        *("run", "--model-file", path, "--dataset", "digits", "--preset", "smoke", "--metrics", "probe"),
        *("--set", "steps=2", "--set", "judge_steps=2", "--results", tmp_path / "results"),
    )
    assert result.code == 0, result.text
    run = seed_folder(tmp_path / "results", "own-mopoe")
    folder = export_model(run, tmp_path / "export")
    assert (folder / "own.py").read_text() == OWN
    assert 'model_file="FOLDER/own.py"' in (folder / "README.md").read_text(encoding="utf-8")
    trained = mmbench.load_model(run)
    MODELS.discard("own-mopoe")
    with pytest.raises(InputError, match="own-mopoe came from a file of yours: name it with"):
        mmbench.load_model(folder)
    assert same_weights(mmbench.load_model(folder, model_file=folder / "own.py"), trained)
    (folder / "other.py").write_text(OWN + "\n# changed\n")
    MODELS.discard("own-mopoe")
    with pytest.raises(InputError, match="was trained with another text of the file"):
        mmbench.load_model(folder, model_file=folder / "other.py")


def damage(folder, how):
    path = folder / "model.safetensors"
    if how == "cut":
        path.write_bytes(path.read_bytes()[:-9])
    elif how == "nothing":
        path.write_bytes(b"")
    elif how == "other shape":
        weights = safetensors.torch.load(path.read_bytes())
        name = next(name for name, weight in weights.items() if weight.dim())
        safetensors.torch.save_file({**weights, name: weights[name][..., :1].contiguous()}, path)
    elif how == "no config":
        (folder / "config.json").unlink()
    elif how == "no weights":
        path.unlink()
    else:
        (folder / "config.json").write_text("{}")


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        ("cut", DamagedError, "model.safetensors cannot be read"),
        ("nothing", DamagedError, "model.safetensors cannot be read"),
        ("other shape", InputError, "are not those of MoPoE as it is here"),
        ("no config", InputError, "holds no trained model: expected the folder of a finished run"),
        ("no weights", InputError, "has no weights"),
        ("empty config", DamagedError, "config.json has changed since it was written"),
    ],
)
def test_damage_is_named(how, error, message, exported, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(exported, folder)
    damage(folder, how)
    with pytest.raises(error, match=message):
        mmbench.load_model(folder)
