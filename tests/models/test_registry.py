"""Registries: names, suggestions, plugins and modules that fail."""

import warnings
from importlib.metadata import EntryPoint

import pytest

import models.registry
from models.errors import InputError
from models.registry import MODELS, ModelEntry, Registry

PLUGIN = """
from dataclasses import dataclass, field
from models.registry import register
from models.settings import setting

@dataclass(frozen=True)
class Settings:
    size: {annotation} = {default}

@register({name!r}, settings={settings}, source="nobody")
class Model: ...
"""


def plugin(name="theirs", settings="Settings", annotation="int", default="setting(1, 'a size')"):
    return PLUGIN.format(name=name, settings=settings, annotation=annotation, default=default)


def make_registry():
    return Registry("model", package="models", group="tests.nothing")


def entry(name):
    return ModelEntry(name, object, object, "nobody", name)


@pytest.fixture
def with_plugin(monkeypatch, tmp_path):
    """A registry that holds the model `mine`, and will load a plugin of the given code."""

    def make(code):
        module = f"plugin_{tmp_path.name}"
        (tmp_path / f"{module}.py").write_text(code)
        monkeypatch.syspath_prepend(tmp_path)
        registry = make_registry()
        registry.add(entry("mine"))
        monkeypatch.setattr(models.registry, "MODELS", registry)
        monkeypatch.setattr(
            models.registry, "entry_points", lambda group: [EntryPoint("their-plugin", module, group)]
        )
        return registry

    return make


def test_the_papers_models_are_registered():
    assert {"avae", "cada-vae", "cnf-mvae", "mdae", "mmvae", "mopoe", "mvae"} <= {
        entry.name for entry in MODELS
    }


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(InputError, match=r"Unknown model 'mopo': did you mean 'mopoe'\?"):
        MODELS.get("mopo")


def test_a_taken_name_is_refused():
    registry = make_registry()
    registry.add(entry("mine"))
    with pytest.raises(InputError, match="'mine' is taken already"):
        registry.add(entry("mine"))


def test_a_plugin_adds_its_model(with_plugin):
    registry = with_plugin(plugin())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [e.name for e in registry] == ["mine", "theirs"]


BROKEN = {
    "package that is not there": (
        "import no_such_package_anywhere",
        "ModuleNotFoundError: No module named 'no_such_package_anywhere'",
    ),
    "syntax error": ("def", "SyntaxError"),
    "end of the program": ("import sys; sys.exit('bye')", "SystemExit: bye"),
    "taken name": (
        plugin(name="mine"),
        "InputError: The model name 'mine' is taken already: register yours under another name.",
    ),
    "settings of no class": (
        plugin(settings="Settings()"),
        "InputError: The settings of theirs are Settings(size=1): expected a class",
    ),
    "settings of no dataclass": (
        plugin(settings="int"),
        "InputError: The settings of theirs are <class 'int'>: expected a class",
    ),
    "setting that may be None": (
        plugin(annotation="int | None"),
        "InputError: Setting 'size' of theirs is of type int | None: expected int",
    ),
    "setting that is a tuple": (
        plugin(annotation="tuple[int, int]"),
        "InputError: Setting 'size' of theirs is of type tuple[int, int]: expected",
    ),
    "setting without a default": (
        plugin(default="field()"),
        "InputError: Setting 'size' of theirs has no default",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_plugin_is_a_warning_that_names_it(case, with_plugin):
    code, message = BROKEN[case]
    registry = with_plugin(code)
    with pytest.warns(
        UserWarning, match=r"^The model plugin 'their-plugin' \(plugin_\w+\) was left out: "
    ) as warned:
        assert [e.name for e in registry] == ["mine"]
    assert [message in str(each.message) for each in warned] == [True]


def test_an_interruption_is_no_broken_plugin(with_plugin):
    registry = with_plugin("raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        list(registry)


def test_a_broken_module_of_the_package_is_a_warning_that_names_it(monkeypatch, tmp_path):
    package = tmp_path / f"package_{tmp_path.name}"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "a_model.py").write_text("class Model(")
    (package / "b_model.py").write_text(plugin())
    monkeypatch.syspath_prepend(tmp_path)
    registry = Registry("model", package=package.name, group="tests.nothing")
    monkeypatch.setattr(models.registry, "MODELS", registry)
    with pytest.warns(
        UserWarning, match=rf"^The model module {package.name}.a_model was left out: SyntaxError: "
    ) as warned:
        assert [e.name for e in registry] == ["theirs"]
    assert len(warned) == 1


def test_names_come_sorted():
    registry = make_registry()
    for name in ("b", "c", "a"):
        registry.add(entry(name))
    assert [e.name for e in registry] == ["a", "b", "c"]
