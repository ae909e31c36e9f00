"""The rooms of the project: who may import whom, what stays unloaded until it is needed, and that no stranger takes a room's name."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TOOLS = {"models.base", "models.errors", "models.settings"}  # what metrics may know of models

RULES = {  # folder -> whether a module may be imported there
    "models": lambda name: room(name) not in {"mmbench", "metrics"},
    "metrics": lambda name: room(name) != "mmbench" and (room(name) != "models" or name in TOOLS),
    "mmbench/report": lambda name: (
        room(name) not in {"torch", "torchvision", "models", "metrics"}
        or name in {"models.errors", "metrics.groups"}
    ),
}


def room(name):
    return name.partition(".")[0]


def imports(path):
    """The modules that a file imports, anywhere in it; from a package, its members too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            # `from models import mopoe` imports models.mopoe
            yield from (
                [f"{node.module}.{alias.name}" for alias in node.names]
                if node.module in {"models", "metrics", "mmbench"}
                else [node.module]
            )


@pytest.mark.parametrize("folder", RULES)
def test_rooms_import_only_what_they_may(folder):
    files = sorted((ROOT / folder).rglob("*.py"))
    assert len(files) > 5
    found = [(path.name, name) for path in files for name in imports(path)]
    assert len(found) > 20
    assert [(path, name) for path, name in found if not RULES[folder](name)] == []


def test_the_rules_see_what_is_forbidden(tmp_path):
    path = tmp_path / "file.py"
    path.write_text(
        "import mmbench.storage.files\ndef f():\n from models import mopoe\n from models.cnf_mvae import CNFMVAE\n import torch.nn as n\n"
    )
    assert [[rule(name) for name in imports(path)] for rule in RULES.values()] == [
        [False, True, True, True],
        [False, False, False, True],
        [True, False, False, False],
    ]


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["--version"]], ids=" ".join)
def test_help_loads_nothing_heavy(arguments):
    code = f"""
import sys
from mmbench.cli import main
try:
    main({arguments})
except SystemExit as end:
    assert end.code == 0, end.code
print("loaded:", sorted({{"torch", "numpy", "pandas", "matplotlib", "scipy", "sklearn", "PIL"}} & set(sys.modules)))
"""
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert result.stdout.splitlines()[-1] == "loaded: []"


@pytest.mark.parametrize("name", ["models", "metrics"])
def test_a_stranger_of_the_same_name_is_refused(name, tmp_path):
    """With a sentence that names both; the stranger is not even imported."""
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("raise RuntimeError('the stranger was imported')")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    command = [sys.executable, "-c", "import mmbench; print('loaded')"]
    result = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 1, result.stdout
    assert result.stderr.splitlines()[-1] == (
        f"ImportError: mmbench needs its own package {name!r} ({ROOT / name}), but {tmp_path / name / '__init__.py'} answers to that name: "
        "rename it, or start Python where it is not on the path."
    )
