"""The README does what it says: its Python runs, its commands exist."""

import re
from pathlib import Path

import pytest

from models.registry import MODELS

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
QUICKSTART, OWN_MODEL = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.slow
def test_the_quickstart_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(QUICKSTART, names)
    assert names["images"].shape == (128, 3, 32, 32)
    assert 0 <= names["found"].metrics["joint_coherence"] <= 1
    assert "cross_coherence/handwritten->street/mean" in capsys.readouterr().out


def test_the_model_of_the_readme_keeps_the_contract(invoke, tmp_path):
    path = tmp_path / "my_model.py"
    path.write_text(OWN_MODEL)
    try:
        result = invoke("check", "--model-file", path)
    finally:
        MODELS._entries.pop("my-model", None)
    assert result.code == 0, result.text
    assert result.text.endswith("my-model keeps the contract.\n")


def test_every_command_and_option_of_the_readme_exists():
    from mmbench.cli import main

    commands = re.findall(r"mmbench (\w+)((?: +[^\s`#]+)*)", README)
    checked = 0
    for command, arguments in commands:
        if command in main.commands:
            known = {option for parameter in main.commands[command].params for option in parameter.opts}
            used = set(re.findall(r"--[a-z-]+", arguments))
            assert used <= known, (command, used - known)
            checked += 1
    assert checked >= 6
    table = set(re.findall(r"^\| `(--[a-z-]+)", README, re.MULTILINE))
    assert table <= {option for parameter in main.commands["run"].params for option in parameter.opts}


def test_every_relative_link_of_the_readme_leads_somewhere():
    prose = re.sub(r"```.*?```", "", README, flags=re.DOTALL)
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", prose) if "://" not in link]
    assert links
    assert [link for link in links if not (Path(__file__).parents[1] / link).exists()] == []
