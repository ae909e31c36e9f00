"""results.json against the CSV tables and its schema; comparisons of folders against numbers by hand."""

import csv
import io
import json
import math
import statistics
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from table_runs import JOINT, M_TO_S, make_run, three_modalities
from written_runs import edit, write_run

import mmbench.report
from metrics.missing import Lack, Missing
from mmbench.report.numbers.compare import compare, differences, match
from mmbench.report.numbers.export import to_json
from mmbench.report.numbers.further import build_all_tables
from mmbench.report.numbers.render import to_csv
from mmbench.report.numbers.results import find_runs
from mmbench.report.numbers.tables import build_tables
from models.errors import InputError

SCHEMA = json.loads(
    (Path(mmbench.report.__file__).parent / "numbers" / "results.schema.json").read_text(encoding="utf-8")
)


def two_seeds(*joint, model="mopoe", **more):
    references = {"judge/mnist": 0.98, "fd_clf_floor/mnist": 1.25}
    return [
        make_run(
            model, seed, metrics={JOINT: value, "fd_clf/mnist": 10 * value}, references=references, **more
        )
        for seed, value in enumerate(joint)
    ]


def exported(runs):
    return json.loads(to_json(runs, build_all_tables(runs)))


def some_runs():
    failed = make_run("cada-vae", 0, state="failed", error="The loss became nan.")
    undefined = make_run(
        "mmvae", 0, metrics={JOINT: None}, reasons={JOINT: Missing(Lack.NOT_DEFINED, "no prior.")}
    )
    return [
        failed,
        undefined,
        *two_seeds(0.1, 0.2, 0.4),
        make_run("mopoe", 0, label="wide", metrics={JOINT: 0.3}),
    ]


@pytest.mark.parametrize("runs", [some_runs(), three_modalities()], ids=["two modalities", "three"])
def test_numbers_are_those_of_the_tables(runs):
    found = exported(runs)
    models = {(model["model"], model["label"]): model for model in found["models"]}
    lines = [
        line
        for table in build_tables(runs)
        for line in csv.DictReader(io.StringIO(to_csv(table)))
        if line["title"] != "floor"
    ]
    assert len(lines) == len(found["models"]) * len(found["metrics"])
    for line in lines:
        cell = models[line["model"], line["label"]]["metrics"][line["metric"]]
        for key in ("mean", "std", "paper", "difference", "standard_error"):
            assert line[key] == ("" if cell[key] is None else f"{cell[key]:.10g}")
        values = (
            dict(zip(line["seeds"].split(";"), line["values"].split(";"), strict=True))
            if line["seeds"]
            else {}
        )
        assert {seed: f"{value:.10g}" for seed, value in cell["values"].items()} == values
        assert (str(cell["n"]), cell["note"]) == (line["n"], line["note"])
        assert found["metrics"][line["metric"]]["unit"] == line["unit"]
    assert {(run["model"], run["seed"]): run["metrics"] for run in found["runs"] if not run["label"]} == {
        (run.model, run.seed): run.metrics for run in runs if not run.label
    }


def test_it_says_what_stands_beside_the_metrics():
    found = exported(some_runs())
    assert (found["judges"], found["references"]) == ({"mnist": [0.98]}, {"fd_clf_floor/mnist": [1.25]})
    assert [model["model"] for model in found["models"]] == ["cada-vae", "mmvae", "mopoe", "mopoe"]
    failed = found["runs"][0]
    assert (failed["state"], failed["error"], failed["metrics"], failed["path"]) == (
        "failed",
        "The loss became nan.",
        {},
        "cada-vae/seed-0",
    )
    assert found["models"][1]["metrics"][JOINT]["note"] == "Not defined: no prior."
    paper = found["models"][2]["metrics"][JOINT]
    assert paper["paper"] == pytest.approx(0.3142)
    assert paper["difference"] == pytest.approx(0.7 / 3 - 0.3142)


def test_the_schema_describes_what_is_written(tmp_path):
    Draft202012Validator.check_schema(SCHEMA)
    write_run(tmp_path, "mopoe")
    write_run(tmp_path, "mmvae", state="failed")
    file = tmp_path / "mnist-svhn" / "quick" / "results.json"
    assert file in mmbench.report.write_report(tmp_path)
    contents = [
        json.loads(file.read_text(encoding="utf-8")),
        exported(some_runs()),
        exported(three_modalities()),
    ]
    for run in (run for content in contents[1:] for run in content["runs"]):
        run |= {"settings": {}, "command": ""}  # which runs of test_tables lack, and no real one
    for content in contents:
        assert [error.message for error in Draft202012Validator(SCHEMA).iter_errors(content)] == []


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: content.update(schema=1),
        lambda content: content.update(more=1),
        lambda content: content["runs"][0].pop("hash"),
        lambda content: content["models"][0]["metrics"][JOINT].update(mean="0.5"),
    ],
    ids=["another version", "an unknown key", "a missing key", "another type"],
)
def test_the_schema_refuses_what_is_not_documented(spoil, tmp_path):
    write_run(tmp_path, "mopoe")
    content = exported(find_runs(tmp_path))
    assert Draft202012Validator(SCHEMA).is_valid(content)
    spoil(content)
    assert not Draft202012Validator(SCHEMA).is_valid(content)


def test_differences_and_their_standard_errors_by_hand():
    ours, theirs = (0.10, 0.20, 0.30), (0.25, 0.30)
    (row,) = [
        row for row in differences(two_seeds(*ours), two_seeds(*theirs))["1"] if row.column.metric == JOINT
    ]
    assert row.value == pytest.approx(statistics.fmean(ours) - statistics.fmean(theirs))
    assert row.error == pytest.approx(
        math.sqrt(statistics.variance(ours) / 3 + statistics.variance(theirs) / 2)
    )
    files = compare(two_seeds(*ours), two_seeds(*theirs))
    row_text = "| MOPOE | Joint | 20.00 ± 10.00 | 27.50 ± 3.54 | \N{MINUS SIGN}7.50 ± 6.29 |  |"
    assert row_text in files["comparison.md"].decode()
    lines = {line["metric"]: line for line in csv.DictReader(io.StringIO(files["comparison.csv"].decode()))}
    assert float(lines[JOINT]["difference"]) == pytest.approx(-0.075)
    assert float(lines["fd_clf/mnist"]["standard_error"]) == pytest.approx(10 * row.error)
    assert (lines[JOINT]["a_n"], lines[JOINT]["b_n"], lines[JOINT]["unit"]) == ("3", "2", "fraction")


def test_one_seed_has_no_standard_error():
    (row, *_) = differences(two_seeds(0.1, 0.2), two_seeds(0.3))["1"]
    assert row.value is not None
    assert row.error is None


def test_equal_results_differ_by_nothing():
    rows = [row for table in differences(three_modalities(), three_modalities()).values() for row in table]
    assert len(rows) > 30
    assert {row.value for row in rows} == {0.0}
    text = compare(three_modalities(), three_modalities())["comparison.md"].decode()
    assert "Warning" not in text
    assert "only in" not in text


def test_what_one_side_has_alone_says_so():
    a = [
        *two_seeds(0.1),
        make_run("mmvae", metrics={JOINT: 0.2, M_TO_S: 0.5}),
        make_run("mopoe", label="wide", metrics={JOINT: 0.7}),
    ]
    b = [*two_seeds(0.3), make_run("mmvae", metrics={JOINT: 0.2}), make_run("cnf-mvae", metrics={JOINT: 0.4})]
    rows = {(row.model, row.label, row.column.metric): row for row in differences(a, b)["1"]}
    assert rows["mopoe", "", JOINT].value == pytest.approx(-0.2)
    assert rows["mopoe", "wide", JOINT].note == "only in A; B: there is no such run."
    assert rows["cnf-mvae", "", JOINT].note == "only in B; A: there is no such run."
    assert rows["mmvae", "", M_TO_S].note.startswith("only in A; B: not computed in this run")
    assert (
        "| CNF-MVAE | Joint | — | 40.00 | — | only in B; A: there is no such run. |"
        in compare(a, b)["comparison.md"].decode()
    )


def test_unequal_conditions_are_named():
    a, b = two_seeds(0.1), two_seeds(0.1, training={"steps": 99})
    for runs, beta in ((a, 2.5), (b, 1.0)):
        runs[0].config["settings"] = {"beta": beta, "k": 1}
    text = compare(a, b)["comparison.md"].decode()
    assert "training steps is 4,000 (A), 99 (B)" in text
    assert "MOPOE has other settings: beta 2.5 in A, 1 in B." in text


def test_data_sets_and_presets_are_matched():
    a, b = two_seeds(0.1), [*two_seeds(0.1), make_run(dataset="digits")]
    (pair,), lonely = match(a, b)
    assert pair == (a, b[:1])
    assert lonely == "digits/quick is only in B."
    with pytest.raises(InputError, match="--results holds mnist-svhn/quick, --against holds digits/quick"):
        match(a, b[1:])


def test_the_command_prints_and_writes_the_comparison(tmp_path, invoke):
    write_run(tmp_path / "a", "mopoe", value=0.5)
    other = write_run(tmp_path / "b", "mopoe", value=0.25)
    for name in ("config", "status", "metrics"):
        edit(other / f"{name}.json", hash="f" * 16)
    result = invoke("report", "--results", tmp_path / "a", "--against", tmp_path / "b")
    assert result.code == 0, result.text
    assert "| MOPOE | Joint | 50.00 | 25.00 | +25.00 |  |" in result.text
    folder = tmp_path / "a" / "mnist-svhn" / "quick"
    assert {path.name for path in folder.iterdir() if path.is_file()} == {
        "comparison.md",
        "comparison.csv",
        ".lock",
    }
    assert (folder / "comparison.md").read_text(encoding="utf-8") in result.text
    assert not list((tmp_path / "b").rglob("comparison*"))
    assert invoke("report", "--results", tmp_path / "a", "--against", tmp_path / "c").code == 2
