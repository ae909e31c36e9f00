"""The scripts of benchmarks/ that work on finished runs: the cross-check against MultiVae's models, and what many runs cost."""

import sys
from pathlib import Path

import pandas as pd
import pytest
from scipy import stats
from test_report import edit, write_run

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the scripts are no part of the installation

from benchmarks import cross_check, many_runs
from mmbench.report.results import find_runs

OURS, THEIRS = (0.25, 0.31, 0.28), (0.35, 0.33, 0.42)


@pytest.fixture
def runs(tmp_path):
    """Three seeds of MoPoE, ours and MultiVae's, and a run of another model, which has no counterpart."""
    for seed, (ours, theirs) in enumerate(zip(OURS, THEIRS, strict=True)):
        write_run(tmp_path, "mopoe", seed, title="MoPoE", value=ours)
        folder = write_run(tmp_path, "multivae-mopoe", seed, title="MoPoE (MultiVae)", value=theirs)
        history = pd.read_csv(folder / "history.csv")
        history.assign(loss=history["loss"] * (1 + seed / 1000)).to_csv(folder / "history.csv", index=False)
    write_run(tmp_path, "cada-vae", 0)
    return find_runs(tmp_path)


def test_the_cross_check_has_losses_differences_and_tests(runs):
    table = cross_check.cross_check(runs)
    assert list(table["model"].unique()) == ["MoPoE"]
    loss, joint = (row for _, row in table[table["quantity"].isin(["loss, steps 1-100", "Joint"])].iterrows())
    assert loss["difference"] == pytest.approx(1 - 1 / 1.002)  # of the last seed
    expected = stats.ttest_ind(OURS, THEIRS, equal_var=False)
    assert (joint["ours"], joint["difference"]) == (pytest.approx(0.28), pytest.approx(0.28 - 1.1 / 3))
    assert joint["p"] == pytest.approx(expected.pvalue)
    assert joint["difference"] / joint["error"] == pytest.approx(expected.statistic)
    text = cross_check.to_markdown(table, runs)
    assert "| MoPoE | Joint | 28.00 | 36.67 | -8.67 ± " in text
    assert f"{int(expected.pvalue < 0.05)} of 1 tests have p < 0.05" in text


def test_the_cross_check_leaves_out_what_is_not_done(runs, tmp_path):
    edit(tmp_path / "mnist-svhn" / "quick" / "multivae-mopoe" / "seed-2" / "status.json", state="running")
    joint = next(row for row in cross_check.cross_check(find_runs(tmp_path)).itertuples() if row.quantity == "Joint")
    assert joint.theirs == pytest.approx(0.34)


def test_synthetic_runs_are_runs(tmp_path):
    found = find_runs(many_runs.make_runs(tmp_path, 6, 2))
    assert [(run.model, run.seed, run.state) for run in found] == [(f"model-{model}", seed, "done") for model in (0, 1) for seed in (0, 1, 2)]
    assert len({run.metrics["joint_coherence"] for run in found}) == 6


def test_what_runs_hold_in_memory_grows_with_their_number(tmp_path):
    few, many = (many_runs.measure_plan(tmp_path / str(runs), runs) for runs in (4, 40))
    assert 0 < few["MiB"] < many["MiB"] < 20 * few["MiB"]
