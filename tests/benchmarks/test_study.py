"""The script of the study: what is missing, what is made, and the parts that results are carried away in."""

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the scripts are no part of the installation

from benchmarks import study
from benchmarks.study import STUDY, Line, missing, pack, unpack
from models.errors import InputError

TINY = Line("tiny", "mdae", 3, 1e-3, settings=("latent_size=4",), label="small", preset="smoke")


def test_every_line_is_a_job_that_can_be_made(tmp_path):
    found = [run for line in STUDY for run in missing(line, tmp_path, "mnist-svhn")]
    assert len(found) == len(set(found)) == sum(len(line.seeds) for line in STUDY)
    assert found[0] == "paper/mnist-svhn/cpu/cnf-mvae/seed-0"


@pytest.mark.slow  # a whole run with judges
def test_a_line_is_made_once_and_travels(tmp_path, monkeypatch):
    monkeypatch.setattr(study, "STUDY", (TINY,))
    root, parts, other = tmp_path / "study", tmp_path / "parts", tmp_path / "other"
    words = ["--dataset", "digits", "--device", "cpu"]
    asked = CliRunner().invoke(study.main, [str(root), *words, "--missing"])
    assert asked.output == "missing: tiny/digits/smoke/mdae+small/seed-0\n"
    made = CliRunner().invoke(study.main, [str(root), *words, "--minutes", "8"])
    assert made.exit_code == 0, made.output
    assert "missing" not in made.output
    run = root / "tiny" / "digits" / "smoke" / "mdae+small" / "seed-0"
    before = (run / "status.json").stat().st_mtime_ns
    CliRunner().invoke(study.main, [str(root), *words])
    assert (run / "status.json").stat().st_mtime_ns == before
    packed = CliRunner().invoke(study.main, [str(root), *words, "--pack", str(parts)])
    assert "wrote" in packed.output
    CliRunner().invoke(study.main, [str(other), *words, "--unpack", str(parts)])
    assert missing(TINY, other, "digits") == []


def test_parts_are_small_and_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(study, "PART", 100)
    (tmp_path / "root" / "a").mkdir(parents=True)
    (tmp_path / "root" / "a" / "run.json").write_bytes(bytes(range(256)) * 3)
    (tmp_path / "root" / "a" / "checkpoint.previous.pt").write_bytes(b"old")
    made = pack(tmp_path / "root", tmp_path / "parts")
    assert len(made) > 2
    assert all(path.stat().st_size <= 100 for path in made)
    unpack(tmp_path / "parts", tmp_path / "back")
    assert [p.name for p in (tmp_path / "back").rglob("*") if p.is_file()] == ["run.json"]
    assert (tmp_path / "back" / "a" / "run.json").read_bytes() == bytes(range(256)) * 3
    made[-1].unlink()
    with pytest.raises(InputError, match="holds no whole archive"):
        unpack(tmp_path / "parts", tmp_path / "again")
