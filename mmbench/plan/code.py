"""The code that decides a result: recorded with every run, so that a result of other code can be told.

The hash of a run covers its settings; what the settings mean is in the code. Docstrings, blank lines and
lines of comments decide nothing, and do not count.
"""

import ast
import hashlib
import inspect
import subprocess
import sys
from collections.abc import Iterable
from functools import cache, partial
from pathlib import Path

import metrics
import mmbench
import models
from models.registry import ModelEntry

__all__ = ["describe_code", "model_code", "shared_code"]

# what every run goes through, below the folder that holds the three packages
_SHARED = (
    "models/base.py",
    "models/settings.py",
    "models/parts",
    "metrics",
    "mmbench/data",
    "mmbench/training",
    "mmbench/execution/cached_references.py",
    "mmbench/execution/evaluating.py",
    "mmbench/execution/isolation.py",
    "mmbench/execution/train.py",
)


def describe_code(entry: ModelEntry) -> dict[str, object]:
    """What config.json says of the code: of all models, of this model, and whether git knows all of it."""
    return {"code": shared_code(), "model_code": model_code(entry), "dirty": _dirty()}


@cache
def shared_code() -> str:
    """16 hex digits that identify the code that every run goes through."""
    home = Path(str(mmbench.__file__)).parents[1]
    paths = (home / name for name in _SHARED)
    return _hash(home, (file for path in paths for file in (path.rglob("*.py") if path.is_dir() else [path])))


def model_code(entry: ModelEntry) -> str:
    """16 hex digits that identify the modules of a model's class and of the classes above it.

    A model in a package of its own, as models/boltzmann is one, counts with all of the package.
    """
    if entry.file:  # its text, which may no longer be what its path holds
        return entry.file.code
    made_by = entry.model.func if isinstance(entry.model, partial) else entry.model
    classes = inspect.getmro(made_by) if isinstance(made_by, type) else (made_by,)
    outside = {"torch", "abc", "builtins", "typing", *sys.stdlib_module_names}
    files: set[Path] = set()
    for each in classes:
        module = sys.modules.get(each.__module__)
        source = getattr(module, "__file__", None)
        if source and each.__module__.partition(".")[0] not in outside:
            path = Path(source)
            package = each.__module__ if path.name == "__init__.py" else each.__module__.rpartition(".")[0]
            files |= {path} if package in ("", "models") else set(path.parent.rglob("*.py"))
    return _hash(Path(str(models.__file__)).parents[1], files)


def _hash(home: Path, files: Iterable[Path]) -> str:
    """Of the code in `files`, which are known by their paths below `home`, or by their names elsewhere."""
    digest = hashlib.sha256()
    for path in sorted(files):
        name = path.relative_to(home).as_posix() if path.is_relative_to(home) else path.name
        digest.update(f"{name}\n{_essence(path.read_text(encoding='utf-8'))}".encode())
    return digest.hexdigest()[:16]


def _essence(text: str) -> str:
    """Python code without its docstrings, blank lines, lines of comments and spaces around lines."""
    lines = text.splitlines()
    for node in ast.walk(ast.parse(text)):
        if (
            isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
            and ast.get_docstring(node) is not None
        ):
            first = node.body[0]
            for row in range(first.lineno - 1, first.end_lineno or first.lineno):
                lines[row] = ""
    return "\n".join(line for each in lines if (line := each.rstrip()) and not line.lstrip().startswith("#"))


@cache
def _dirty() -> bool | None:
    """Whether the checkout has changes that no commit has; None where mmbench is installed otherwise."""
    home = Path(str(metrics.__file__)).parents[1]
    if not (home / ".git").exists():
        return None
    command = ["git", "status", "--porcelain", "--", "models", "metrics", "mmbench"]
    try:
        found = subprocess.run(command, cwd=home, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return bool(found.stdout.strip())
