"""Folders and words of strangers: bounded, checked, named, and never more than words in what is written."""

import csv
import io
import os
import re
import shutil
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from run_files import seed_folder
from written_runs import edit, write_run

from mmbench.api import load_results
from mmbench.escape import csv_text, escape_markdown, visible
from mmbench.report import write_comparison, write_report
from mmbench.report.status import describe_runs
from mmbench.storage.bounds import DEPTH, read_file
from mmbench.storage.files import DamagedError, read_json, write_atomically, write_json
from mmbench.storage.records import find_folders
from mmbench.storage.shapes import CONFIG, METRICS, NUMBER, STATUS, Each, Maybe, Some, misfit
from models.errors import InputError

sys.path.insert(0, str(Path(__file__).parents[1] / "faults"))


def test_crafted_folders(finished, tmp_path):
    from folders import EVIL, GOOD, craft_often

    for model in (EVIL, GOOD):
        shutil.copytree(seed_folder(finished.path, model), seed_folder(tmp_path / "results", model))
    assert craft_often(tmp_path / "results", tmp_path, 40, seed=1, reports=1).startswith("40 crafted folders")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names here")
def test_files_that_are_none_are_named_and_never_read(tmp_path):
    from folders import FILES, KINDS, refused, replace

    write_run(tmp_path / "whole", "mvae")
    write_run(tmp_path / "whole", "mopoe")
    tried = 0
    for name in FILES:
        for word, make in KINDS.items():
            copy = tmp_path / "copy"
            shutil.copytree(tmp_path / "whole", copy)
            folder = copy / "mnist-svhn" / "quick" / "mopoe" / "seed-0"
            if (folder / name).parent.is_dir():
                replace(folder / name, make)
            lines = describe_runs(copy)
            assert any("mvae" in line and "done" in line for line in lines), (name, word)
            refusal = refused(load_results, copy)
            if refusal or name in ("config.json", "metrics.json"):
                assert str(folder) in refusal, (name, word)
            shutil.rmtree(copy)
            tried += 1
    assert tried == len(FILES) * len(KINDS)


@pytest.mark.parametrize("left", ["status.json", "metrics.json", "history.csv", "checkpoint.pt", "samples"])
def test_a_run_that_has_lost_its_configuration_is_named(left, tmp_path, invoke):
    write_run(tmp_path, "mopoe", 0)
    folder = write_run(tmp_path, "mopoe", 1)
    (folder / "checkpoint.pt").touch()
    for path in folder.iterdir():
        if path.name != left:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    result = invoke("report", "--results", tmp_path)
    assert result.code == 2
    assert result.text == (
        f"Error: The file {folder / 'config.json'} is missing: move its folder away and run it again.\n"
    )
    assert "1 done, 1 damaged." in invoke("status", tmp_path).text
    (folder / left).rename(folder / "other.txt")
    assert len(find_folders(tmp_path)) == 1


def test_a_configuration_that_is_no_run_s_is_never_to_be_deleted(tmp_path, invoke):
    file = tmp_path / "config.json"
    file.write_text("{}")
    result = invoke("run", "--config", file)
    assert result.code == 2
    assert "elete" not in result.text
    assert result.text.endswith(": give the config.json of a run, as it was written.\n")


def test_a_link_in_the_place_of_a_file_that_is_being_written_is_not_followed(tmp_path):
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "file.part").symlink_to("victim")
    write_atomically(tmp_path / "file", b"new")
    assert (tmp_path / "victim").read_text() == "precious"
    assert (tmp_path / "file").read_bytes() == b"new"


def test_the_size_of_a_file_is_looked_at_before_it_is_read(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"abc")
    assert read_file(file, 3) == b"abc"
    with pytest.raises(ValueError, match="it has 3 bytes, more than 2"):
        read_file(file, 2)
    with pytest.raises(IsADirectoryError):
        read_file(tmp_path, 3)


def test_json_is_as_deep_as_it_may_be(tmp_path):
    value = []
    for _ in range(DEPTH - 2):
        value = [value]
    write_json(tmp_path / "file.json", {"a": value})
    assert read_json(tmp_path / "file.json") == {"a": value}
    write_json(tmp_path / "file.json", {"a": [value]})
    with pytest.raises(DamagedError, match=f"more than {DEPTH} objects or lists inside each other"):
        read_json(tmp_path / "file.json")


def test_names_that_are_no_utf_8_are_written_as_escapes(tmp_path):
    write_json(tmp_path / "file.json", {"path": "caf\udce9", "deep": ["\ud800"]})
    assert read_json(tmp_path / "file.json") == {"path": "caf\\udce9", "deep": ["\\ud800"]}


@pytest.mark.parametrize(
    ("value", "shape", "problem"),
    [
        ({"seed": True}, STATUS, "'state' is None, expected one of pending, running, done, failed"),
        ({"state": "done", "step": 1.5}, STATUS, "'step' is 1.5, expected a whole number"),
        (
            {"state": "done", "train_seconds": -1},
            STATUS,
            "'train_seconds' is -1, expected a number from 0 on",
        ),
        (
            {"metrics": {"a/b": 1e308}},
            {"metrics": Each(NUMBER)},
            "'metrics.a/b' is 1e+308, expected a number",
        ),
        ({"a" * 301: 1}, Each(NUMBER), f"'' is '{'a' * 59}…, expected names of at most 300 letters"),
        ([1, "x"], [NUMBER], "'[1]' is 'x', expected a number up to 1e+50"),
        ([], Some(NUMBER, 2), "'' is [], expected a list of 1 to 2"),
        ([1, 2, 3], Some(NUMBER, 2), "'' is [1, 2, 3], expected a list of 1 to 2"),
        (None, Maybe(NUMBER), ""),
        (10**53, NUMBER, f"'' is {10**53}, expected a number"),
        (10**300, NUMBER, "'' is a huge number, expected a number"),
        (float("nan"), NUMBER, "'' is nan, expected a number"),
        ([], CONFIG, "'' is [], expected an object"),
        ({"hash": "x", "seed": 0, "metrics": {}}, METRICS, "'reasons' is None, expected an object"),
    ],
)
def test_a_misfit_says_where_and_what_was_expected(value, shape, problem):
    found = misfit(value, shape)
    assert found.startswith(problem)
    assert bool(found) == bool(problem)


def test_values_whose_spread_would_overflow_are_refused(tmp_path, invoke):
    for seed, value in ((0, 1e308), (1, -1e308)):
        folder = write_run(tmp_path, "mopoe", seed, value=value)
    result = invoke("report", "--results", tmp_path)
    assert result.code == 2
    assert str(folder.parent) in result.text
    assert "'metrics.joint_coherence' is 1e+308, expected a number up to 1e+50" in result.text


@pytest.mark.parametrize("column", ["loss,text", "loss", "step"])
def test_histories_of_no_numbers_are_named(column, tmp_path):
    folder = write_run(tmp_path, "mopoe")
    text = {"loss,text": "step,loss\n1,=cmd\n", "loss": "step,loss\n1,1e999\n", "step": "step,loss\n-1,2\n"}
    (folder / "history.csv").write_text(text[column])
    if column == "loss":  # infinite, as that of a failed run may be
        write_report(tmp_path)
    else:
        edit(folder / "metrics.json", files={})
        with pytest.raises(InputError, match=r"history\.csv is no training history \("):
            write_report(tmp_path)


# What strangers wrote, in what is written


HOSTILE = [
    "=1+1",
    "+1+1",
    "-1+1",
    "@SUM(A1)",
    "\t=1+1",
    "\r=1+1",
    " =1+1",
    "a;=1+1",
    "=cmd|' /C calc'!A0",
    "\uff1d1",
]
TRIGGER = re.compile(r"[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")


def cells(text):
    """Every cell of a CSV file, also those of readers that end a cell at a semicolon."""
    for row in csv.reader(io.StringIO(text)):
        for cell in row:
            yield from cell.split(";")


def is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True


@given(st.lists(st.one_of(st.text(), st.sampled_from(HOSTILE), st.floats(), st.integers(), st.none())))
def test_no_cell_begins_a_formula_and_numbers_stay_numbers(row):
    text = csv_text([row])
    assert all(is_number(cell) or not TRIGGER.match(cell.lstrip(" ")) for cell in cells(text))
    (back,) = csv.reader(io.StringIO(text)) if row else [[]]
    for before, after in zip(row, back, strict=True):
        if isinstance(before, float):
            assert after == f"{before:.10g}"
        elif isinstance(before, int):
            assert after == str(before)


def test_lists_of_negative_numbers_stay_as_they_are():
    assert csv_text([["-0.5;-1e-05", "-5", -0.25]]) == "-0.5;-1e-05,-5,-0.25\n"


def test_every_csv_of_a_report_is_safe(tmp_path):
    for side, value in (("a", 0.5), ("b", 0.25)):
        for number, word in enumerate(HOSTILE):
            state = "failed" if number % 2 else "done"
            folder = write_run(tmp_path / side, f"model-{number}", state=state, title=word, value=value)
            edit(folder / "config.json", label=word)
            edit(folder / "status.json", error=word)
    write_report(tmp_path / "a")
    write_comparison(tmp_path / "a", tmp_path / "b")
    found = [path for path in tmp_path.rglob("*.csv") if path.name != "history.csv"]
    assert {"table1.csv", "comparison.csv"} <= {path.name for path in found}
    for path in found:
        for cell in cells(path.read_text(encoding="utf-8")):
            assert is_number(cell) or not TRIGGER.match(cell.lstrip(" ")), (path, cell)


def test_control_characters_reach_no_page(tmp_path, invoke):
    word = "\x1b]0;x\x07\x1b[2J\u202eevil\x00"
    folder = write_run(tmp_path, "mopoe", title=word)
    edit(folder / "status.json", error=word)
    failed = write_run(tmp_path, "mvae", state="failed", title=word)
    edit(failed / "status.json", error=word)
    edit(failed / "config.json", command=word)
    write_report(tmp_path)
    for path in (
        path for path in folder.parents[1].iterdir() if path.suffix in (".md", ".csv", ".tex", ".html")
    ):
        text = path.read_text(encoding="utf-8")
        assert text.replace("\n", "").replace("\t", "") == visible(text.replace("\n", "").replace("\t", ""))
        assert "x1b" in text or "evil" not in text, path
    assert "\x1b" not in invoke("status", tmp_path).text
    assert escape_markdown("a\x1bb") == r"a\\x1bb"


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are Unicode elsewhere")
def test_folders_whose_names_are_no_utf_8(tmp_path, invoke):
    folder = write_run(tmp_path, "mopoe")
    strange = folder.parent.with_name(os.fsdecode(b"caf\xe9"))
    folder.parent.rename(strange)
    edit(strange / "seed-0" / "status.json", step=int(time.time()))
    assert invoke("report", "--results", tmp_path).code == 0
    assert "caf%E9/seed-0" in (strange.parent / "README.md").read_text(encoding="utf-8")
    assert "caf\\\\udce9/seed-0" in (strange.parent / "results.json").read_text(encoding="utf-8")
    assert invoke("status", tmp_path).code == 0
