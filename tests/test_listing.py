"""What `mmbench models`, `mmbench datasets` and `mmbench check` print."""

import json
import os
import subprocess
import sys
from contextlib import suppress

import pytest

from models.registry import MODELS


def test_models_and_datasets_are_listed_as_text_and_json(invoke):
    text, rows = invoke("models").text, json.loads(invoke("models", "--json").text)
    assert {"cnf-mvae", "cada-vae", "mmvae", "mopoe"} <= {row["name"] for row in rows}
    head, *lines, hint = text.splitlines()
    assert head.split() == ["model", "title", "source", "remarks"]
    assert [line.split()[0] for line in lines] == [row["name"] for row in rows]
    assert hint == "`mmbench models NAME` shows the settings of one."
    found = {row["name"]: row for row in rows}
    assert list(found) == [entry.name for entry in sorted(MODELS, key=lambda e: (e.collection, e.name))]
    assert all(row["source"] and row["settings"] for row in rows)
    for name in ("multivae-cvae", "multivae-mhvae"):
        reason = MODELS.get(name).unsupported
        assert found[name]["unavailable"] == reason
        assert any(line.startswith(name) and line.endswith(f"cannot be run: {reason}") for line in lines)
    assert found["multivae-telbo"]["limit"]["modalities"] == 2
    assert {"digits", "mnist-svhn"} <= {row["name"] for row in json.loads(invoke("datasets", "--json").text)}
    assert len(invoke("datasets").text.splitlines()) >= 2


def test_one_model_is_shown_with_its_settings(invoke):
    text = invoke("models", "mmvae").text
    assert text.startswith("mmvae: MMVAE (Shi et al. 2019")
    assert "likelihood_scale  0.75" in text
    assert "Preset cpu on mnist-svhn: likelihood_scale=0.8479\n" in text
    assert text.endswith("Preset paper on mnist-svhn: samples=30\n")
    assert [row["name"] for row in json.loads(invoke("models", "multivae:MMVAE+", "--json").text)] == [
        "multivae-mmvaeplus"
    ]
    assert invoke("models", "mmvea").code == 2


@pytest.mark.parametrize("command", ["models", "datasets"])
def test_lists_fit_a_terminal(command):
    """In a real one of 80 columns; what stands under the table is a sentence, which the terminal wraps."""
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": "80", "PYTHONIOENCODING": "utf-8"}
    words = [sys.executable, "-m", "mmbench", command]
    with subprocess.Popen(words, stdout=theirs, env=environment) as process:
        os.close(theirs)
        text = b""
        with suppress(OSError):  # the other end is closed
            while piece := os.read(ours, 4096):
                text += piece
    os.close(ours)
    assert process.returncode == 0
    lines = text.decode().splitlines()[:-1]
    assert len(lines) > 10
    assert max(map(len, lines)) <= 80


def test_check_says_that_a_model_keeps_the_contract(invoke):
    result = invoke("check", "mopoe")
    assert result.code == 0
    assert "mopoe keeps the contract." in result.text
    assert "FAIL" not in result.text


def test_check_looks_at_data_sets_too(invoke, monkeypatch):
    result = invoke("check", "--dataset", "digits")
    assert result.code == 0, result.text
    assert result.text.endswith("digits keeps the contract.\n")
    result = invoke("check", "--dataset", "digists")
    assert result.code == 2
    assert "did you mean 'digits'?" in result.text
