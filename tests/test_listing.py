"""What `mmbench models`, `mmbench datasets` and `mmbench check` print."""

import json

from mmbench.adapters.multivae import UNSUPPORTED


def test_models_and_datasets_are_listed_as_text_and_json(invoke):
    text, rows = invoke("models").text, json.loads(invoke("models", "--json").text)
    assert {"cnf-mvae", "cada-vae", "mmvae", "mopoe"} <= {row["name"] for row in rows}
    assert len(text.splitlines()) == len(rows)
    assert {row["name"]: row["unsupported"] for row in rows if row["unsupported"]} == UNSUPPORTED
    runnable = {row["name"]: row for row in rows if not row["unsupported"]}
    assert all(row["source"] and row["settings"] for row in runnable.values())
    assert runnable["multivae-telbo"]["limit"]["modalities"] == 2
    assert runnable["mmvae"]["presets"]["paper"] == {"samples": 30}
    assert [
        line.startswith("mmvae ") for line in text.splitlines() if "; paper: samples=30; cpu: " in line
    ] == [True]
    assert {"digits", "mnist-svhn"} <= {row["name"] for row in json.loads(invoke("datasets", "--json").text)}
    assert len(invoke("datasets").text.splitlines()) >= 2


def test_check_says_that_a_model_keeps_the_contract(invoke):
    result = invoke("check", "mopoe")
    assert result.code == 0
    assert "mopoe keeps the contract." in result.text
    assert "FAIL" not in result.text
