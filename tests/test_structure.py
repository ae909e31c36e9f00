"""The rooms of the project: who may import whom, what stays unloaded until it is needed, and that no stranger
takes a room's name.
"""

import ast
import os
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("models", "metrics", "mmbench")
TOOLS = {"models.about", "models.base", "models.errors", "models.settings"}  # what metrics may know of models
HEAVY = {"torch", "torchvision"}  # what no report waits for

BELOW_EXECUTION = {"models", "metrics", "mmbench.console", "mmbench.storage", "mmbench.data", "mmbench.plan"}
BELOW_EXECUTION |= {"mmbench.streams"}
MAY_IMPORT = {  # room -> the rooms that its files may import, besides their own
    "models": set(),
    "metrics": {"models"},
    "mmbench.escape": set(),
    "mmbench.streams": set(),
    "mmbench.console": {"metrics", "mmbench.escape"},
    "mmbench.storage": {"models", "metrics"},
    "mmbench.data": {"models", "metrics", "mmbench.storage"},
    "mmbench.adapters": {"models"},
    "mmbench.plan": {"models", "metrics", "mmbench.storage", "mmbench.data"},
    "mmbench.training": {"models", "mmbench.storage", "mmbench.data", "mmbench.plan"},
    "mmbench.execution": {*BELOW_EXECUTION, "mmbench.training"},
    "mmbench.tuning": {*BELOW_EXECUTION, "mmbench.escape", "mmbench.training", "mmbench.execution"},
    "mmbench.report": {"models", "metrics", "mmbench.console", "mmbench.escape", "mmbench.storage"},
    "mmbench.trained": {
        *(
            "models",
            "metrics",
            "mmbench.escape",
            "mmbench.storage",
            "mmbench.data",
            "mmbench.plan",
            "mmbench.training",
        ),
        "mmbench.report",
    },
    "mmbench.submissions": {
        *("models", "metrics", "mmbench.escape", "mmbench.storage", "mmbench.data", "mmbench.report"),
    },
    "mmbench.api": {
        *BELOW_EXECUTION,
        "mmbench.trained",
        "mmbench.training",
        "mmbench.execution",
        "mmbench.report",
    },
    "mmbench.cli": {
        *BELOW_EXECUTION,
        "mmbench.execution",
        "mmbench.tuning",
        "mmbench.report",
        "mmbench.submissions",
        "mmbench.trained",
    },
}


def room(module):
    """The room of a module of ours, None for other packages; mmbench itself and its __main__ are no rooms."""
    first, *rest = module.split(".")
    if first not in PACKAGES:
        return None
    return first if first != "mmbench" else ".".join([first, *rest[:1]])


def module_of(path):
    """ "mmbench.plan.job" of mmbench/plan/job.py, "mmbench.plan" of mmbench/plan/__init__.py."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_of(path): path for name in PACKAGES for path in sorted((ROOT / name).rglob("*.py"))}


def imports(path, everywhere=True):
    """The modules that a file imports, anywhere in it, or only when it is imported itself."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree) if everywhere else tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            for alias in node.names:  # `from models import mopoe` imports models.mopoe
                member = f"{node.module}.{alias.name}"
                yield member if member in FILES else node.module


def forbidden(module, imported):
    """Whether a file of `module` must not import `imported`."""
    here, there = room(module), room(imported)
    if here == "mmbench.report" and imported.partition(".")[0] in HEAVY:
        return True
    if there is None or here == there:
        return False
    if here == "metrics" and there == "models":
        return imported not in TOOLS
    return there != "mmbench" and there not in MAY_IMPORT[here]


ROOMED = {name: path for name, path in FILES.items() if room(name) not in {"mmbench", "mmbench.__main__"}}


@pytest.mark.parametrize("of", MAY_IMPORT)
def test_rooms_import_only_what_they_may(of):
    files = {name: path for name, path in ROOMED.items() if room(name) == of}
    found = [(name, each) for name, path in files.items() for each in imports(path)]
    assert files
    assert found
    assert [pair for pair in found if forbidden(*pair)] == []


def test_every_file_is_in_a_room():
    assert {room(name) for name in ROOMED} == set(MAY_IMPORT)


def test_the_rules_see_what_is_forbidden(tmp_path):
    path = tmp_path / "file.py"
    path.write_text(
        "import mmbench.storage.files\ndef f():\n from models import mopoe\n"
        " from models.cnf_mvae import CNFMVAE\n import torch.nn as n\n"
    )
    found = list(imports(path))
    assert [[forbidden(of, name) for name in found] for of in ("models", "metrics", "mmbench.report")] == [
        [True, False, False, False],
        [True, True, True, False],
        [False, False, False, True],
    ]


def test_no_imports_go_round_in_a_circle():
    graph = {name: set(imports(path, everywhere=False)) & FILES.keys() for name, path in FILES.items()}
    assert list(TopologicalSorter(graph).static_order())  # raises CycleError, which names the circle


def functions():
    """(where, function) for every function of the project."""
    for name, path in FILES.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                yield f"{name}:{node.lineno} {node.name}", node


def test_no_function_takes_more_than_eight_parameters():
    found = {}
    for where, node in functions():
        names = [a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
        found[where] = len([name for name in names if name not in {"self", "cls"}])
    assert len(found) > 500
    assert {where: count for where, count in found.items() if count > 8} == {}


def test_private_functions_of_more_than_six_lines_have_a_docstring():
    lacking = [
        where
        for where, node in functions()
        if node.name.startswith("_")
        and not node.name.startswith("__")
        and node.end_lineno - node.lineno > 6
        and not ast.get_docstring(node)
    ]
    assert lacking == []


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["--version"]], ids=" ".join)
def test_help_loads_nothing_heavy(arguments):
    code = f"""
import sys
from mmbench.cli import main
try:
    main({arguments})
except SystemExit as end:
    assert end.code == 0, end.code
heavy = {{"torch", "numpy", "pandas", "matplotlib", "scipy", "sklearn", "PIL"}}
print("loaded:", sorted(heavy & set(sys.modules)))
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
        f"ImportError: mmbench needs its own package {name!r} ({ROOT / name}), but "
        f"{tmp_path / name / '__init__.py'} answers to that name: "
        "rename it, or start Python where it is not on the path."
    )
