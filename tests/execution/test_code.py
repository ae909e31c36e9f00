"""The code that made a result is recorded, and told where it differs."""

import json
import shutil

import pytest
from options import SMALL

from mmbench.plan import code
from mmbench.report import write_report
from mmbench.storage.files import read_json, write_json
from models.model_file import load_model_file
from models.registry import MODELS

RUN = ("run", "--models", "mopoe", "--dataset", "digits", "--preset", "smoke", "--jobs", "1", *SMALL)


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        ('"""One."""\nx = 1\n', '"""Other\nwords.\n"""\n# why\n\nx = 1  \n', True),
        ("def f():\n    return 1\n", 'def f():\n    """Docs."""\n    return 1\n', True),
        ("x = 1\n", "x = 2\n", False),
        ('x = """a"""\n', 'x = """b"""\n', False),  # no docstring
        ("if x:\n    y = 1\n", "if x:\n    pass\ny = 1\n", False),
    ],
)
def test_what_decides_nothing_does_not_count(before, after, same, tmp_path):
    hashes = []
    for text in (before, after):
        (tmp_path / "a.py").write_text(text)
        hashes.append(code._hash(tmp_path, [tmp_path / "a.py"]))
    assert (hashes[0] == hashes[1]) == same


def test_every_model_has_code_and_a_change_of_its_file_changes_it(tmp_path, monkeypatch):
    found = {code.model_code(entry): entry.name for entry in MODELS if not entry.collection}
    assert len(found) >= 8  # models may share a file or a package
    seen = {}
    monkeypatch.setattr(code, "_hash", lambda home, files: seen.update(files={f.name for f in files}) or "0")
    code.model_code(MODELS.get("mopoe"))
    assert {"mopoe.py", "gaussian.py", "base.py"} <= seen["files"]
    assert not any("torch" in name for name in seen["files"])
    code.model_code(MODELS.get("mdbm"))  # of a package, whose other modules it is made of
    assert {"units.py", "machine.py", "multimodal.py"} <= seen["files"]


def test_runs_of_other_code_are_named(finished, invoke, tmp_path):
    results = tmp_path / "results"
    folder = results / "digits" / "smoke" / "mopoe" / "seed-0"
    shutil.copytree(finished.path / "digits" / "smoke" / "mopoe" / "seed-0", folder)
    config = read_json(folder / "config.json")
    assert config["environment"]["code"] == code.shared_code()
    assert config["environment"]["model_code"] == code.model_code(MODELS.get("mopoe"))
    assert "other code" not in invoke(*RUN, "--results", results).text
    config["environment"]["code"] = "f" * 16
    write_json(folder / "config.json", config)
    text = invoke(*RUN, "--results", results).text
    assert "Done by other code of mmbench than today's, which may give other figures: mopoe seed 0." in text


def test_a_table_that_mixes_codes_says_so(finished, tmp_path):
    for model in ("mopoe", "mvae"):
        own = f"digits/smoke/{model}/seed-0"
        shutil.copytree(finished.path / own, tmp_path / own)
    preset = tmp_path / "digits" / "smoke"
    write_report(preset)
    assert json.loads((preset / "results.json").read_text())["warning"] == ""
    config = read_json(preset / "mvae" / "seed-0" / "config.json")
    config["environment"]["code"] = "f" * 16
    write_json(preset / "mvae" / "seed-0" / "config.json", config)
    write_report(preset)
    warning = json.loads((preset / "results.json").read_text())["warning"]
    assert f"the code of all models is {code.shared_code()} (MoPoE), ffffffffffffffff (MVAE)" in warning


def test_metrics_name_the_code_that_made_them(finished, invoke, tmp_path, monkeypatch):
    own = "digits/smoke/mopoe/seed-0"
    shutil.copytree(finished.path / own, tmp_path / own)
    monkeypatch.setattr("mmbench.report.write_report", lambda *_: [])
    monkeypatch.setattr("mmbench.execution.evaluating.shared_code", lambda: "e" * 16)
    assert invoke("evaluate", tmp_path / own, "--metrics", "probe").code == 0
    found = read_json(tmp_path / own / "metrics.json")["code"]
    assert {name for name, made_by in found.items() if made_by == "e" * 16} == {
        "probe/handwritten",
        "probe/street",
    }
    assert found["joint_coherence"] == code.shared_code()


def test_a_model_file_is_its_own_code(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(
        "from models.mopoe import MoPoE, MoPoESettings\nfrom models.registry import register\n\n\n"
        '@register("own-code", settings=MoPoESettings, source="here")\nclass Own(MoPoE):\n    pass\n'
    )
    (entry,) = load_model_file(path)
    assert code.model_code(entry) == entry.file.code
