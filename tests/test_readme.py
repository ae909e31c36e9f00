"""The README and the pages of docs/ do what they say: their Python runs, their commands and options exist."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mmbench.cli import main
from mmbench.data import load_data

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "benchmarks" / "README.md"]


def text_of(name):
    return (ROOT / name).read_text(encoding="utf-8")


def python_of(name):
    """The Python blocks of a page."""
    return re.findall(r"```python\n(.*?)```", text_of(name), re.DOTALL)


def commands_of(text):
    """Pairs (command, its options) of every `mmbench COMMAND ...` in a text; a backslash continues a line."""
    joined = re.sub(r"\\\n\s*", "", text)
    for command, arguments in re.findall(r"mmbench (\w+)((?: +[^\s`#]+)*)", joined):
        if command in main.commands:
            yield command, set(re.findall(r"(?<!\S)--[a-z-]+", arguments))


def options_of(command):
    """The long options of a command and of those that it groups, without --help."""
    found = main.commands[command]
    every = [found, *getattr(found, "commands", {}).values()]
    return {
        option
        for each in every
        for parameter in each.params
        for option in parameter.opts
        if option[:2] == "--"
    }


def test_the_readme_is_a_front_page():
    assert len(text_of("README.md").encode()) <= 8 * 1024


@pytest.mark.slow
@pytest.mark.parametrize("name", ["README.md", "docs/python.md"])
def test_the_example_in_python_runs(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for block in (block for block in python_of(name) if "@register" not in block):
        exec(block.replace("results/published", str(ROOT / "results" / "published")), names)
    assert 0 <= names["found"].metrics["joint_coherence"] <= 1
    assert "cross_coherence/handwritten->street/mean" in capsys.readouterr().out
    assert (tmp_path / "samples.png").stat().st_size > 10_000
    assert len(names["history"]) > 0
    if "street" in names:
        assert names["street"].shape == (4, 3, 32, 32)
        assert names["latent"].shape == (4, 20)


@pytest.mark.slow
def test_from_nothing_to_the_first_table_takes_minutes(tmp_path):
    """The commands of the start page, but for the installation and the longer run."""
    blocks = re.findall(r"```sh\n(.*?)```", text_of("docs/start.md"), re.DOTALL)
    commands = [block for block in blocks if "pip" not in block and "quick" not in block]
    smoke = [block for block in commands if "mmbench run" not in block or "--preset smoke" in block]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    (tmp_path / "mmbench").write_text(f'#!/bin/sh\nexec {sys.executable} -m mmbench "$@"\n')
    (tmp_path / "mmbench").chmod(0o755)
    began = time.monotonic()
    shown = subprocess.run(
        ["sh", "-ec", "".join(smoke)], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert shown.returncode == 0, shown.stderr
    assert "| CNF-MVAE | 1 |" in shown.stdout
    assert (tmp_path / "draws.png").stat().st_size > 1_000
    assert time.monotonic() - began < 300


@pytest.mark.parametrize("name", ["README.md", "docs/own-models.md"])
def test_the_example_of_a_model_keeps_the_contract(name, invoke, tmp_path):
    path = tmp_path / "my_model.py"
    path.write_text(next(block for block in python_of(name) if "@register" in block))
    result = invoke("check", "--model-file", path)
    assert result.code == 0, result.text
    assert result.text.endswith("my-model keeps the contract.\n")


def test_the_example_of_a_data_set_loads():
    block = next(block for block in python_of("docs/own-data.md") if "@register_dataset" in block)
    exec(block, {})
    data = load_data("turned-digits")
    upright, turned = (data.train.items[name] for name in ("upright", "turned"))
    pairs = data.train.pairs
    assert len(pairs) == 10 * (len(upright) + len(turned))
    assert (data.train.labels["upright"][pairs[:, 0]] == data.train.labels["turned"][pairs[:, 1]]).all()


def test_a_newcomer_gets_from_a_file_to_a_table(tmp_path, monkeypatch, invoke):
    """The page's file, its networks, and its commands, the shortest of them."""
    monkeypatch.chdir(tmp_path)
    make, networks, _ = python_of("docs/own-data.md")
    exec(make, {})
    Path("nets.py").write_text(networks)
    checked = invoke("data", "check", "mine.npz", "--no-time")
    small = ("--set", "steps=3", "--set", "judge_steps=3", "--set", "draws=60", "--set", "joint_draws=40")
    words = ("--models", "mvae", "--preset", "smoke", *small, "--jobs", "1", "--model-file", "nets.py")
    ran = invoke("run", "--data-file", "mine.npz", *words)
    run = "results/mine/smoke/mvae/seed-0"
    asked = (
        "--from",
        "photo",
        "mine.npz",
        "--to",
        "blood",
        "--out",
        "blood.npz",
        "--model-file",
        "nets.py",
    )
    translated = invoke("translate", run, *asked)
    assert [found.code for found in (checked, ran, translated)] == [0, 0, 0], ran.text + translated.text
    assert "classes: 4 (0, 1, 2, 3)" in checked.text
    assert "| MVAE | 1 |" in Path("results/mine/smoke/README.md").read_text(encoding="utf-8")
    assert np.load("blood.npz")["blood"].shape == (400, 3)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_command_and_option_exists(page):
    unknown = {
        (command, option)
        for command, options in commands_of(page.read_text(encoding="utf-8"))
        for option in options - options_of(command) - {"--help"}
    }
    assert unknown == set()


def test_commands_are_found_in_the_pages():
    found = [command for page in PAGES for command, _ in commands_of(page.read_text(encoding="utf-8"))]
    assert len(found) > 30
    assert set(found) == set(main.commands)


@pytest.mark.parametrize("command", sorted(main.commands))
def test_the_page_of_the_command_line_has_every_option(command):
    section = re.search(
        rf"^## mmbench {command}\n(.*?)(?=^## |\Z)", text_of("docs/command-line.md"), re.M | re.S
    )
    assert section, f"docs/command-line.md has no section on mmbench {command}"
    tables = [line.split(" | ")[0] for line in section[1].splitlines() if line.startswith("| `--")]
    assert set(re.findall(r"--[a-z-]+", " ".join(tables))) == options_of(command)
