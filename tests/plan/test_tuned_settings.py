"""Settings that were chosen for a data set: whose runs have them, and files that cannot be used."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from mmbench.data.base import DATASETS
from mmbench.plan import tuned_settings
from mmbench.plan.overrides import make_configs
from mmbench.plan.presets import PRESETS
from mmbench.storage.files import content_hash, read_json
from models.base import Modality
from models.errors import InputError
from models.names import find_models
from models.registry import MODELS

PUBLISHED = Path(__file__).parents[2] / "results" / "published"
TUNED = ("cada-vae", "cnf-mvae", "mmvae", "mopoe", "mvae")


def settings_of(name, dataset, preset, *pairs):
    (config,) = make_configs([MODELS.get(name)], dataset, preset, pairs)
    return config.settings


@pytest.mark.parametrize("name", TUNED)
def test_published_runs_have_the_hash_that_the_same_command_gives_now(name):
    stored = read_json(PUBLISHED / "mnist-svhn" / "cpu" / name / "seed-0" / "config.json")
    (config,) = make_configs([MODELS.get(name)], "mnist-svhn", "cpu", (), stored["precision"])
    provenance = {key: value for key, value in stored["data"].items() if key != "settings"}
    modalities = [Modality(**{**each, "shape": tuple(each["shape"])}) for each in stored["modalities"]]
    decisive = config.decisive(SimpleNamespace(provenance=provenance, modalities=modalities, class_count=10))
    assert decisive == {key: stored[key] for key in decisive}
    assert content_hash(decisive) == stored["hash"]


@pytest.mark.parametrize("dataset", ["digits", "digits-text", "mnist-svhn-text"])
def test_other_data_sets_have_the_defaults(dataset):
    for entry in find_models("all"):
        for preset in PRESETS:
            assert settings_of(entry.name, dataset, preset) == entry.settings()


def test_other_presets_have_the_defaults_but_for_the_published_k():
    for name in TUNED:
        chosen = {"samples": 30} if name == "mmvae" else {}
        assert settings_of(name, "mnist-svhn", "quick") == MODELS.get(name).settings()
        assert settings_of(name, "mnist-svhn", "paper") == MODELS.get(name).settings(**chosen)


def test_the_command_line_goes_before():
    found = settings_of("mopoe", "mnist-svhn", "cpu", "beta=3")
    assert (found.beta, found.likelihood_scale) == (3.0, 0.1062)


def test_every_file_names_presets_models_and_data_sets_that_are_there():
    files = list(tuned_settings.FOLDER.glob("*.toml"))
    assert files
    for path in files:
        DATASETS.get(path.stem)
        for preset, models in tuned_settings.read_tuned(path).items():
            assert preset in PRESETS
            for name in models:
                assert tuned_settings.tuned_settings(MODELS.get(name), path.stem, preset)


BAD = {
    "no TOML": ("[cpu\n", r"cannot be read \(.*\): restore the file"),
    "no table": ("cpu = 3\n", "The settings of preset cpu in .* do not say where they come from"),
    "no source": ("[cpu.mopoe]\nbeta = 1.0\n", r'expected a table \[cpu\] with source = "\.\.\."'),
    "no model": ('[cpu]\nsource = "a search"\nmopoe = 3\n', "cpu.mopoe in .* is 3: expected a table of"),
    "no setting": (
        '[cpu]\nsource = "a search"\nmopoe.betta = 3\n',
        "Unknown setting 'betta' of mopoe in .*toml: did",
    ),
    "no value": (
        '[cpu]\nsource = "a search"\nmopoe.beta = -3\n',
        "Setting beta=-3 of mopoe in .*toml is not usable",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_file_that_cannot_be_used(case, tmp_path, monkeypatch):
    text, message = BAD[case]
    (tmp_path / "digits.toml").write_text(text)
    monkeypatch.setattr(tuned_settings, "FOLDER", tmp_path)
    with pytest.raises(InputError, match=message):
        settings_of("mopoe", "digits", "cpu")
