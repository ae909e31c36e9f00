"""Registries: names, suggestions, plugins and modules that fail."""

import os
import subprocess
import sys
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
    "cancelled task": ("import asyncio\nraise asyncio.CancelledError", "CancelledError"),
    "closed generator": ("raise GeneratorExit", "GeneratorExit"),
    "panic of a binding": ("class Panic(BaseException): ...\nraise Panic('oh')", "Panic: oh"),
    "no words": (
        "class Mute(Exception):\n    def __str__(self): raise KeyError\nraise Mute",
        "Mute: its message cannot be shown",
    ),
    "many words": ("raise ValueError('x' * 10**7)", "x... (10,000,000 characters)"),
    "warnings that it makes errors": (
        "import warnings\nwarnings.simplefilter('error')\nraise KeyError(1)",
        "KeyError: 1",
    ),
    "half of its models": (plugin() + "\nraise KeyError('half')", "KeyError: 'half'"),
    "title that is no text": (
        plugin().replace('source="nobody"', "source=3"),
        "InputError: The source of the model 'theirs' is 3: expected a text.",
    ),
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


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("class Model(", "SyntaxError: '(' was never closed (a_model.py, line 1)"),
        ("import nothing_of_this_name", "ModuleNotFoundError: No module named 'nothing_of_this_name' ("),
        ("raise SystemExit(0)", "SystemExit: 0 ("),
    ],
)
def test_a_broken_module_of_the_suite_is_an_error_that_names_it(code, message, monkeypatch, tmp_path):
    """Each time: `all` must not come to mean fewer models than it says."""
    package = tmp_path / f"package_{tmp_path.name}"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "a_model.py").write_text(code)
    (package / "b_model.py").write_text(plugin())
    monkeypatch.syspath_prepend(tmp_path)
    registry = Registry("model", package=package.name, group="tests.nothing")
    monkeypatch.setattr(models.registry, "MODELS", registry)
    for _ in range(2):
        with pytest.raises(InputError) as error:
            list(registry)
        expected = f"The model module {package.name}.a_model of the suite cannot be imported: {message}"
        assert str(error.value).startswith(expected)
        assert str(error.value).endswith(". Mend it, or install mmbench again.")


PLUGINS = {
    "good": PLUGIN.format(
        name="good-one", annotation="int", default="setting(1, 'a size')", settings="Settings"
    ),
    "cancelled": "import asyncio\nraise asyncio.CancelledError",
    "panic": "class Panic(BaseException): ...\nraise Panic('index out of bounds')",
    "leaves": "import sys\nsys.exit(0)",
    # is the first to import a module of the suite, registers a model and a data set, and fails
    "half": """
import models.mopoe, mmbench.data.digits
from models.registry import register
from mmbench.data.base import register_dataset

@register("half", settings=models.mopoe.MoPoESettings, source="nobody")
class Half(models.mopoe.MoPoE): ...

@register_dataset("half", source="nobody", default_preset="smoke", description="half")
def load(folder, settings): ...

raise KeyError("half")
""",
}


@pytest.mark.parametrize("first", ["models", "datasets"])
def test_installed_plugins_that_fail_leave_nothing_and_take_nobody_down(first, tmp_path):
    for group in ("models", "datasets"):
        info = tmp_path / f"hostile_{group}-1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: hostile-{group}\nVersion: 1\n")
        points = [f"{name} = {group}_{name}" for name in PLUGINS]
        (info / "entry_points.txt").write_text(f"[mmbench.{group}]\n" + "\n".join(points))
        for name, code in PLUGINS.items():
            (tmp_path / f"{group}_{name}.py").write_text(code.replace("good-one", f"good-{group}"))
    code = """
import warnings
from models.registry import MODELS
{order}
print(*(entry.name for entry in DATASETS))
print(*(entry.name for entry in MODELS))
"""
    read = "from mmbench.data.base import DATASETS"
    order = {"models": f"list(MODELS)\n{read}", "datasets": f"{read}\nlist(DATASETS)"}[first]
    path = os.pathsep.join([str(tmp_path), *sys.path])
    found = subprocess.run(
        [sys.executable, "-c", "import mmbench\n" + code.format(order=order)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    datasets, names = (line.split() for line in found.stdout.splitlines())
    assert {"good-models", "good-datasets", "mopoe", "mvae"} <= set(names)
    assert {"digits", "mnist-svhn"} <= set(datasets)
    assert not any("half" in name for name in datasets + names)
    for name in PLUGINS.keys() - {"good"}:
        assert f"The model plugin '{name}' (models_{name}) was left out: " in found.stderr
        assert f"The data set plugin '{name}' (datasets_{name}) was left out: " in found.stderr


def test_names_come_sorted():
    registry = make_registry()
    for name in ("b", "c", "a"):
        registry.add(entry(name))
    assert [e.name for e in registry] == ["a", "b", "c"]
