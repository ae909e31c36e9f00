"""Metrics that are computed on request: which they are, what they need, and where reports show them."""

import json
from dataclasses import replace
from pathlib import Path

from evaluation_setup import PROTOCOL, TinyVAE, make_setup
from jsonschema import Draft202012Validator
from reference_data import make_data
from report_setup import copy_runs

import mmbench
from metrics.catalogue import DEFAULT, GROUPS, Need, group_of
from metrics.evaluation.evaluate import evaluate
from mmbench.execution.cached_references import make_references
from mmbench.execution.evaluating import anchor_tuples
from mmbench.plan.presets import PRESETS
from mmbench.report import write_report
from mmbench.storage.files import read_json, write_json

FURTHER = [name for name, group in GROUPS.items() if group.asked]


def test_no_preset_asks_for_further_metrics():
    assert all(set(preset.metrics) <= set(DEFAULT) for preset in PRESETS.values())
    setup = make_setup()
    assert (
        evaluate(TinyVAE(), **setup).metrics.keys()
        == evaluate(TinyVAE(), **setup, metrics=DEFAULT).metrics.keys()
    )


def test_further_metrics_do_not_depend_on_which_others_are_asked_for():
    setup = make_setup()
    alone = {}
    for group in FURTHER:
        alone |= evaluate(TinyVAE(), **setup, metrics=[group]).metrics
    together = evaluate(TinyVAE(), **setup, metrics=GROUPS).metrics
    assert {name: value for name, value in together.items() if group_of(name) in FURTHER} == alone
    assert {name: value for name, value in together.items() if group_of(name) in DEFAULT} == evaluate(
        TinyVAE(), **setup
    ).metrics


def test_references_hold_what_a_group_reads(tmp_path, monkeypatch):
    monkeypatch.setenv("MMBENCH_CACHE", str(tmp_path))
    data, protocol = (
        make_data(),
        replace(PROTOCOL, draws=40, joint_draws=40, judge_steps=2, judge_batch_size=8),
    )
    parts = {
        "test": data.test.labelled,
        "train": data.train.labelled,
        "tuples": anchor_tuples(data.test, 0),
        "protocol": protocol,
    }
    for group in FURTHER:
        references = make_references(data, protocol, [group])
        read = GROUPS[group].needs & {Need.JUDGE_FEATURES, Need.IMAGENET_FEATURES}
        assert [space.name for space in references.feature_spaces] == [need.value for need in read]
        found = evaluate(TinyVAE(data.modalities), **parts, references=references, metrics=[group])
        # TinyVAE has no density
        defined = group not in ("log_likelihood", "likelihood_bound")
        assert all(value is not None for value in found.metrics.values()) == defined


def test_they_are_in_every_place_that_takes_metrics_by_name_and_in_no_table(tmp_path):
    folder = copy_runs(tmp_path, models=2, diagnostics=False)
    values = {
        "diversity/handwritten->street": 3.25,
        "mse/street": 0.0123,
        "log_likelihood": -321.5,
        "ssim/handwritten": None,
    }
    file = folder / "model-0" / "seed-0" / "metrics.json"
    content = read_json(file)
    content["metrics"] |= values
    content["reasons"]["ssim/handwritten"] = {"kind": "not defined", "why": "they are too small."}
    write_json(file, content)
    write_report(tmp_path)
    table = mmbench.load_results(tmp_path)
    found = table[table["metric"].isin(values) & (table["model"] == "model-0")].set_index("metric")
    assert found["value"].dropna().to_dict() == {
        name: value for name, value in values.items() if value is not None
    }
    assert found["reason"]["ssim/handwritten"] == "Not defined: they are too small."
    results = json.loads((folder / "results.json").read_text())
    named = {name: results["metrics"][name] for name in values}
    assert {name: (kind["table"], kind["name"]) for name, kind in named.items()} == {
        "mse/street": ("further", "MSE street"),
        "ssim/handwritten": ("further", "SSIM handwritten"),
        "log_likelihood": ("further", "Log-likelihood"),
        "diversity/handwritten->street": ("further", "Diversity handwritten→street"),
    }
    assert (named["mse/street"]["unit"], named["mse/street"]["better"], named["log_likelihood"]["unit"]) == (
        "fraction",
        "lower",
        "nats",
    )
    cells = [model["metrics"]["mse/street"] for model in results["models"]]
    assert cells[0]["values"] == {"0": 0.0123}
    assert "mmbench evaluate adds it later, with --metrics reconstruction" in cells[1]["note"]
    page = (folder / "report.html").read_text()
    assert all(
        text in page
        for text in (
            "Further metrics",
            "MSE street",
            "1.23",
            "\N{MINUS SIGN}321.50",
            "3.25",
            "Not defined: they are too small.",
        )
    )
    for name in ("README.md", "table1.md", "table2.md", "table3.csv"):
        assert "MSE" not in (folder / name).read_text()
    schema = json.loads(
        (Path(mmbench.__file__).parent / "report" / "numbers" / "results.schema.json").read_text()
    )
    assert [error.message for error in Draft202012Validator(schema).iter_errors(results)] == []
