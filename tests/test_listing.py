"""What `mmbench models`, `mmbench datasets` and `mmbench check` print."""

import json

from models.registry import MODELS


def test_models_and_datasets_are_listed_as_text_and_json(invoke):
    text, rows = invoke("models").text, json.loads(invoke("models", "--json").text)
    assert {"cnf-mvae", "cada-vae", "mmvae", "mopoe"} <= {row["name"] for row in rows}
    assert len(text.splitlines()) == len(rows)
    found = {row["name"]: row for row in rows}
    assert list(found) == [entry.name for entry in sorted(MODELS, key=lambda e: (e.collection, e.name))]
    assert all(row["source"] and row["settings"] for row in rows)
    for name in ("multivae-cvae", "multivae-mhvae"):
        assert found[name]["unavailable"] == MODELS.get(name).unsupported
        assert f"{name:18} cannot be run: {MODELS.get(name).unsupported}" in text.splitlines()
    assert found["multivae-telbo"]["limit"]["modalities"] == 2
    assert found["mmvae"]["tuned"]["mnist-svhn"]["paper"] == {"samples": 30}
    (line,) = [line for line in text.splitlines() if line.startswith("mmvae ")]
    assert line.endswith("; cpu on mnist-svhn: likelihood_scale=0.8479; paper on mnist-svhn: samples=30]")
    assert {"digits", "mnist-svhn"} <= {row["name"] for row in json.loads(invoke("datasets", "--json").text)}
    assert len(invoke("datasets").text.splitlines()) >= 2


def test_check_says_that_a_model_keeps_the_contract(invoke):
    result = invoke("check", "mopoe")
    assert result.code == 0
    assert "mopoe keeps the contract." in result.text
    assert "FAIL" not in result.text
