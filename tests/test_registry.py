"""Registries: names, suggestions, plugins that fail."""

from importlib.metadata import EntryPoint

import pytest

import models.registry
from models.errors import InputError
from models.registry import MODELS, ModelEntry, Registry


def make_registry():
    return Registry("model", package="models", group="tests.nothing")


def entry(name):
    return ModelEntry(name, object, object, "nobody", name)


def test_the_papers_models_are_registered():
    assert {"cnf-mvae", "cada-vae", "mmvae", "mopoe"} <= {entry.name for entry in MODELS}


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(InputError, match=r"Unknown model 'mopo': did you mean 'mopoe'\?"):
        MODELS.get("mopo")


def test_a_taken_name_is_refused():
    registry = make_registry()
    registry.add(entry("mine"))
    with pytest.raises(InputError, match="'mine' is taken already"):
        registry.add(entry("mine"))


def test_a_broken_plugin_is_a_warning_that_names_it(monkeypatch):
    points = [EntryPoint("broken", "no_such_package_anywhere:model", "tests.nothing"), EntryPoint("clash", "tests_clash:register", "tests.nothing")]
    monkeypatch.setattr(models.registry, "entry_points", lambda group: points)
    registry = make_registry()
    registry.add(entry("mine"))
    with pytest.warns(UserWarning, match="plugin 'broken'.*was left out: ModuleNotFoundError") as warned:
        assert [e.name for e in registry] == ["mine"]
    assert len(warned) == 2


def test_names_come_sorted():
    registry = make_registry()
    for name in ("b", "c", "a"):
        registry.add(entry(name))
    assert [e.name for e in registry] == ["a", "b", "c"]
