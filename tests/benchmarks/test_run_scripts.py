"""The scripts beside the comparison: cross-check, averages of classes, many runs, two versions."""

import errno
import json
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from scipy import stats
from written_runs import edit, write_run

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the scripts are no part of the installation

from benchmarks import before, class_averages, cross_check, gpu, many_runs, noisy_mnist
from mmbench.report.numbers.results import find_runs
from models.errors import InputError
from models.registry import MODELS

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
    picked = cross_check.pick(runs)
    table = cross_check.cross_check(*picked)
    assert list(table["model"].unique()) == ["MoPoE"]
    loss, joint = (row for _, row in table[table["quantity"].isin(["loss, steps 1-100", "Joint"])].iterrows())
    assert loss["difference"] == pytest.approx(1 - 1 / 1.002)  # of the last seed
    expected = stats.ttest_ind(OURS, THEIRS, equal_var=False)
    assert (joint["ours"], joint["difference"]) == (pytest.approx(0.28), pytest.approx(0.28 - 1.1 / 3))
    assert joint["p"] == pytest.approx(expected.pvalue)
    assert joint["difference"] / joint["error"] == pytest.approx(expected.statistic)
    text = cross_check.to_markdown(table, [*picked[0], *picked[1]])
    assert "| MoPoE | Joint | 28.00 | 36.67 | -8.67 ± " in text
    assert f"{int(expected.pvalue < 0.05)} of 1 tests have p < 0.05" in text


def test_the_cross_check_rests_on_seeds_that_both_sides_have(runs, tmp_path):
    folder = tmp_path / "mnist-svhn" / "quick"
    for seed in (1, 2):
        edit(folder / "multivae-mopoe" / f"seed-{seed}" / "status.json", state="running")
    write_run(tmp_path, "mopoe", 0, label="wide", value=0.9)
    write_run(tmp_path, "multivae-jmvae", 0)
    done = CliRunner().invoke(cross_check.main, [str(folder)])
    assert done.exit_code == 0, done.output
    assert "| MoPoE | Joint | 25.00 | 35.00 | -10.00 |  |" in done.output
    assert "Seed 0;" in done.output
    assert "Nothing is tested" in done.output
    assert (folder / "cross-check.md").read_text() in done.output
    assert len(pd.read_csv(folder / "cross-check.csv")) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "multivae-jmvae"}, "There is nothing to check"),
        ({"training": {"steps": 9}}, "do not share one protocol"),
        ({"settings": {"beta": 1.0}}, "MoPoE and MultiVae's have other settings (beta 2.5 here, 1.0 there)"),
        (
            {"settings": {"beta": 2.5, "learn_prior": True}},
            "MoPoE and MultiVae's have other settings (learn_prior False here, True there)",
        ),
        (
            {"settings": {"beta": 2.5, "loss": "iwae_looser"}},
            "have other settings (loss dreg_looser here, iwae_looser there)",
        ),
    ],
)
def test_the_cross_check_refuses_what_is_no_pair(changes, message, runs, tmp_path):
    for seed in range(3):
        edit(tmp_path / "mnist-svhn" / "quick" / "multivae-mopoe" / f"seed-{seed}" / "config.json", **changes)
    done = CliRunner().invoke(cross_check.main, [str(tmp_path / "mnist-svhn" / "quick")])
    assert done.exit_code == 2
    assert message in " ".join(done.output.split())
    assert not list(tmp_path.rglob("cross-check.*"))


@pytest.mark.parametrize(
    ("name", "ours", "theirs"),
    [
        ("mopoe", {"beta": 1.0}, {}),
        ("mvae", {"annealing": 0.1}, {}),
        ("mmvae", {}, {"K": 1, "prior_and_posterior_dist": "normal", "learn_prior": False}),
        ("mmvae", {"posterior": "laplace"}, {"K": 1}),
    ],
)
def test_settings_of_the_cross_check_are_equal_under_either_name(name, ours, theirs):
    """Those of the command in the script's head; with MultiVae's defaults they are not."""
    entries = MODELS.get(name), MODELS.get(f"multivae-{name}")

    def run(entry, **chosen):
        return SimpleNamespace(title=entry.title, config={"settings": asdict(entry.settings(**chosen))})

    cross_check._check_settings(run(entries[0], **ours), run(entries[1], **theirs))
    with pytest.raises(InputError, match="have other settings"):
        cross_check._check_settings(run(entries[0]), run(entries[1]))


def test_synthetic_runs_are_runs(tmp_path):
    found = find_runs(many_runs.make_runs(tmp_path, 6, 2))
    assert [(run.model, run.seed, run.state) for run in found] == [
        (f"model-{model}", seed, "done") for model in (0, 1) for seed in (0, 1, 2)
    ]
    assert len({run.metrics["joint_coherence"] for run in found}) == 6


def test_what_runs_hold_in_memory_grows_with_their_number(tmp_path):
    few, many = (many_runs.measure_plan(tmp_path / str(runs), runs) for runs in (4, 40))
    assert 0 < few["MiB"] < many["MiB"] < 20 * few["MiB"]


def test_averages_of_a_class_by_hand():
    images = torch.zeros(30, 1, 2, 2, dtype=torch.uint8)
    labels = torch.arange(10).repeat(3)
    images[labels == 4, 0, 0, 0] = torch.tensor([0, 51, 255], dtype=torch.uint8)
    mean, median = (class_averages.class_averages(images, labels, how) for how in ("mean", "median"))
    assert mean[4, 0, 0, 0].item() == pytest.approx(0.4)
    assert median[4, 0, 0, 0].item() == pytest.approx(0.2)
    assert mean.sum().item() == pytest.approx(0.4)
    found = class_averages.describe(mean, torch.tensor([1, 1, 1, 2]), torch.tensor([1, 2, 3, 2]), median)
    # one pixel of four, 0.4 in one of ten classes and 0 in the others: 0.4 sqrt(0.1 - 0.01) = 0.12
    assert found == pytest.approx({"accuracy": 0.5, "commonest": 0.75, "spread": 0.03, "correlation": 1.0})
    flipped = class_averages.describe(1 - mean, torch.tensor([1]), torch.tensor([1]), median)
    assert flipped["correlation"] == pytest.approx(-1.0)


def test_averages_of_finished_runs_stand_beside_real_ones(finished, tmp_path):
    folder = tmp_path / "digits" / "smoke"
    for name in ("cnf-mvae", "mopoe"):
        shutil.copytree(finished.path / "digits" / "smoke" / name, folder / name)
    done = CliRunner().invoke(class_averages.main, [str(folder)])
    assert done.exit_code == 0, done.output
    table = pd.read_csv(folder / "class-averages.csv")
    real = table[table["seed"].isna()]
    assert list(real["of"]) == ["real, median", "real, mean"] * 2
    assert (real["spread"] > 0.005).all()
    assert (real["correlation"][1::2] > 0.5).all()  # of means with medians
    models = table.dropna()
    assert list(models["of"]) == ["mopoe"] * 2 + ["cnf-mvae"] * 2
    assert list(models["target"]) == ["street", "handwritten"] * 2
    for name, rows in models.groupby("of"):  # with the mean of the latent: what the run's own metrics say
        metrics = json.loads((folder / name / "seed-0" / "metrics.json").read_text())["metrics"]
        said = [metrics[f"cross_coherence/{row.source}->{row.target}/mean"] for row in rows.itertuples()]
        assert list(rows["accuracy"]) == pytest.approx(said, abs=1e-5)


def test_averages_take_runs_with_checkpoints(tmp_path):
    write_run(tmp_path, "mopoe", 0)
    done = CliRunner().invoke(class_averages.main, [str(tmp_path)])
    assert done.exit_code == 2
    assert "no finished run with its checkpoint" in " ".join(done.output.split())


@pytest.mark.parametrize("module", [gpu, noisy_mnist])
def test_a_table_of_hours_survives_a_write_that_fails(module, tmp_path, monkeypatch):
    monkeypatch.setattr("mmbench.load_data", lambda *_: None)
    if module is gpu:
        header = ",".join([*module.COLUMNS, "said"])
        monkeypatch.setattr(module, "rows", lambda place: [module.Row("mvae", "", "fp32", "eager", 1)])
        monkeypatch.setattr(module, "measure", lambda *_: {"said": ""})
        words = ["--device", "cpu"]
    else:
        header = "model,hidden,precision,steps,batch_size,seed,error,published"
        monkeypatch.setattr(module, "best_error", lambda data: 5.0)
        words = ["--models", "linear CCA"]

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    file = tmp_path / "table.csv"
    file.write_text(f"{header}\n")
    with monkeypatch.context() as broken:
        broken.setattr("os.fsync", full)
        assert CliRunner().invoke(module.main, [str(file), *words]).exit_code != 0
    assert file.read_text() == f"{header}\n"
    assert CliRunner().invoke(module.main, [str(file), *words]).exit_code == 0
    assert len(file.read_text().splitlines()) == 2


@pytest.mark.slow
def test_two_versions_of_the_repository_train_in_turns(tmp_path):
    """Here this one beside itself; a folder without the code is named."""
    words = ["--models", "mopoe", "--precisions", "fp32", "--steps", "1", "--repeats", "2"]
    result = CliRunner().invoke(before.main, [str(before.HERE), *words])
    assert result.exit_code == 0, result.output
    cells = [cell.strip() for cell in result.output.splitlines()[-1].split("|")[1:-1]]
    assert cells[:2] == ["mopoe", "fp32"]
    assert float(cells[2]) > 0
    assert cells[-1] == "2"
    refused = CliRunner().invoke(before.main, [str(tmp_path), *words])
    assert refused.exit_code == 1
    assert f"{tmp_path} could not train" in refused.output
