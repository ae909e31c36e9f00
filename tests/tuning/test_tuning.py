"""The search: what is drawn, what is given up, what test data has to do with it (nothing), and that it goes
on where it was.
"""

import re
import shutil
from dataclasses import dataclass, replace

import pandas as pd
import pytest

from metrics.missing import Lack, Missing
from metrics.objective import objective, with_failures
from mmbench.data import load_data
from mmbench.execution.train import GivenUpError
from mmbench.plan.job import JobOptions, check_job
from mmbench.storage.files import read_json, write_json
from mmbench.storage.records import LOOK
from mmbench.tuning.search import Search
from mmbench.tuning.tune import _given_up
from models.errors import InputError
from models.mmvae import MMVAESettings
from models.settings import check_class, search_space, setting

optuna = pytest.importorskip("optuna", reason="the extra 'tune' is not installed")
SMOKE = [
    "--dataset",
    "digits",
    "--preset",
    "smoke",
    "--set",
    "steps=8",
    "--set",
    "draws=40",
    "--set",
    "joint_draws=40",
    "--jobs",
    "1",
]


def test_the_objective_is_the_mean_of_joint_crosses_and_probes():
    metrics = {
        "joint_coherence": 0.3,
        "joint_coherence/chance": 0.1,
        "cross_coherence/a->b/sample": 0.5,
        "cross_coherence/b->a/sample": 0.7,
        "cross_coherence/b->a/mean": 0.9,
        "probe/a": 0.8,
        "probe/b": 0.6,
        "fd_clf/a": 12.0,
    }
    assert objective(metrics) == pytest.approx((0.3 + 0.5 + 0.7 + 0.8 + 0.6) / 5)
    assert objective(metrics | {"joint_coherence": None}) == pytest.approx((0.5 + 0.7 + 0.8 + 0.6) / 4)
    assert objective({"fd_clf/a": 12.0}) is None
    retrieval = {"label_map_mean": 0.2, "label_map_judge": 0.9, "hit_at_1/a->b": 0.4}
    assert objective(metrics | retrieval) == objective(metrics)  # of a model that generates
    nothing = {name: value for name, value in metrics.items() if not name.startswith("cross")}
    nothing |= {"joint_coherence": None, **retrieval}
    assert objective(nothing) == pytest.approx((0.8 + 0.6 + 0.2) / 3)


def test_what_failed_counts_as_nothing_in_the_objective():
    metrics = {"joint_coherence": None, "cross_coherence/a->b/sample": 0.6, "probe/a": 0.9}
    reasons = {"joint_coherence": Missing(Lack.FAILED, "Its images are not finite.")}
    assert objective(with_failures(metrics, reasons)) == pytest.approx((0 + 0.6 + 0.9) / 3)
    assert objective(with_failures(dict.fromkeys(metrics), reasons)) == 0
    undefined = {"joint_coherence": Missing(Lack.NOT_DEFINED, "It has no prior.")}
    assert objective(with_failures(metrics, undefined)) == pytest.approx((0.6 + 0.9) / 2)


def test_a_look_with_a_failure_is_a_point_of_the_curve(search):
    run = search.run(7)
    run.folder.path.mkdir(parents=True)
    write_json(run.folder.config_file, dict(run.description))
    looked = {f"{LOOK}joint_coherence": float("nan"), f"{LOOK}probe/a": 0.8}
    run.folder.write_history([{"step": 10, "loss": 1.0}, {"step": 20, "loss": 1.0, **looked}])
    (trial,) = (each for each in search.read(8) if each.number == 7)
    assert trial.curve == {20: pytest.approx(0.4)}
    shutil.rmtree(run.folder.path)


@dataclass(frozen=True)
class Ranges:
    scale: float = setting(1.0, "a scale", low=0.1, search=(0.5, 2.0))
    kind: str = setting("a", "a word", choices=("a", "b"), search=("a", "b"))
    fixed: float = setting(1.0, "not searched")


def test_a_search_is_declared_with_the_setting():
    check_class(Ranges, "ranges")
    assert search_space(Ranges) == {"scale": (0.5, 2.0), "kind": ("a", "b")}


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        (setting(1.0, "", search=(2.0, 1.0)), "the least and the largest value, both positive"),
        (setting(1.0, "", search=(0.0, 1.0)), "the least and the largest value, both positive"),
        (setting(1.0, "", low=0.5, search=(0.1, 1.0)), "each of them a number, at least 0.5"),
        (setting("a", "", choices=("a", "b"), search=("a", "c")), "each of them one of a, b"),
    ],
)
def test_a_search_that_cannot_be_is_refused(declared, expected):
    kind = type(declared.default)
    cls = dataclass(frozen=True)(type("Bad", (), {"__annotations__": {"value": kind}, "value": declared}))
    with pytest.raises(InputError, match=expected):
        check_class(cls, "bad")


@pytest.fixture(scope="module")
def search(tmp_path_factory):
    """A search of CNF-MVAE over trials whose files are written by hand."""
    job = check_job(
        JobOptions(
            "cnf-mvae",
            "digits",
            "smoke",
            "0",
            ["steps=100"],
            results=tmp_path_factory.mktemp("tuning"),
            metrics="coherence,probe",
        )
    )
    return Search(job, job.configs[0], load_data("digits").held_out())


def finish(search, number, score, curve, state="done"):
    """Files of trial `number` with every figure of its objective `score`, and `curve` at its looks."""
    run = search.run(number)
    run.folder.path.mkdir(parents=True)
    write_json(run.folder.config_file, dict(run.description))
    run.folder.write_history(
        [
            {"step": step, "stage": "", "loss": 1.0, f"{LOOK}joint_coherence": value}
            for step, value in curve.items()
        ]
    )
    if state == "done":
        run.folder.write_metrics(run.hash, 0, metrics={"joint_coherence": score}, reasons={}, references={})
        run.folder.set_status("done", train_seconds=3.0, evaluate_seconds=0.5)
    else:
        run.folder.set_status("failed", error="on purpose", traceback=None, given_up=True)
    return run


def test_trials_begin_with_the_defaults_stay_in_range_and_can_be_drawn_again(search):
    runs = [finish(search, number, 0.5 + 0.01 * number, {25: 0.4, 50: 0.4, 100: 0.5}) for number in range(4)]
    assert runs[0].config.settings == search.config.settings
    space = search_space(type(search.config.settings))
    for run in runs[1:]:
        assert run.config.settings != runs[0].config.settings
        for name, values in space.items():
            value = getattr(run.config.settings, name)
            assert value in values if isinstance(value, (str, bool)) else values[0] <= value <= values[1]
        assert (
            replace(run.config.settings, **{name: getattr(runs[0].config.settings, name) for name in space})
            == runs[0].config.settings
        )
    # drawn from what is on disk: another sitting draws the same
    assert search.run(4).config == search.run(4).config
    assert search.run(2).config == runs[2].config  # as it was begun


def test_a_search_is_not_taken_up_with_other_settings(tmp_path):
    """Its table and its next draws would compare trials of either."""

    def made(*settings):
        options = JobOptions("cnf-mvae", "digits", "smoke", "0", ["steps=100", *settings], results=tmp_path)
        job = check_job(options)
        return Search(job, job.configs[0], load_data("digits").held_out())

    finish(made(), 0, 0.5, {100: 0.5})
    made().check_begun(1)
    with pytest.raises(InputError, match=r"latent_size \(40 there, 12 asked for\).* move the trials away"):
        made("latent_size=12").check_begun(1)
    with pytest.raises(InputError, match=r"prior \(gaussian there, mixture asked for\)"):
        made("prior=mixture").check_begun(1)


def test_a_trial_with_a_damaged_status_is_made_again(search, tmp_path):
    run = finish(replace(search, job=replace(search.job, results=tmp_path)), 0, 0.5, {100: 0.5}, "failed")
    assert _given_up(run)
    run.folder.status_file.write_text("{")
    assert not _given_up(run)


def test_the_first_trial_has_the_defaults_where_the_preset_has_what_a_search_chose(tmp_path):
    job = check_job(
        JobOptions("mmvae", "mnist-svhn", "cpu", "0", ["steps=100", "samples=2"], results=tmp_path)
    )
    (config,) = job.configs
    assert config.settings.likelihood_scale != MMVAESettings().likelihood_scale
    assert Search(job, config, load_data("digits").held_out()).run(0).config.settings == MMVAESettings(
        samples=2
    )
    job = check_job(
        JobOptions(
            "mmvae", "mnist-svhn", "cpu", "0", ["steps=100", "likelihood_scale=0.3"], results=tmp_path / "set"
        )
    )
    assert Search(job, job.configs[0], load_data("digits").held_out()).run(
        0
    ).config.settings == MMVAESettings(likelihood_scale=0.3)


def test_a_trial_below_the_median_at_the_same_step_is_given_up(search):
    """Of four finished trials with 40 % after 50 steps, a fifth with 39 % is worse than the median and one
    with 41 % is not.
    """
    search.check(4, 50, {"joint_coherence": 0.41})
    with pytest.raises(GivenUpError, match="at step 50 its objective is 39"):
        search.check(4, 50, {"joint_coherence": 0.39})
    search.check(4, 100, {"joint_coherence": 0.01})  # the end: nothing is saved any more
    search.check(4, 25, {"joint_coherence": 0.01})  # too early: some that start slowly end well
    search.check(3, 50, {"joint_coherence": 0.39})  # too few before it
    finish(search, 4, 0.0, {50: 0.1}, state="pruned")
    assert [trial.state for trial in search.read(9)] == ["done"] * 4 + ["pruned"]
    assert search.read(9)[4].curve == {50: 0.1}


def test_held_out_data_have_no_test_image(search):
    original = load_data("digits")
    data = original.held_out()
    assert data.test is original.validation
    for parts, before in zip(
        data.provenance["modalities"].values(), original.provenance["modalities"].values(), strict=True
    ):
        assert parts["test"] == before["validation"] != before["test"]
    assert search.config.decisive(data) != search.config.decisive(original)


def test_tune_from_the_command_line_and_again(invoke, tmp_path):
    words = ["tune", "--models", "cnf-mvae,mopoe", *SMOKE, "--trials", "2", "--results", str(tmp_path)]
    first = invoke(*words)
    assert first.code == 0, first.text
    table = pd.read_csv(tmp_path / "digits" / "smoke" / "trials.csv")
    assert list(zip(table["model"], table["trial"], table["state"], strict=True)) == [
        ("cnf-mvae", 0, "done"),
        ("cnf-mvae", 1, "done"),
        ("mopoe", 0, "done"),
        ("mopoe", 1, "done"),
    ]
    assert table["objective"].between(0, 1).all()
    assert (table["seconds"] > 0).all()
    assert (table["last_look"] == 8).all()
    assert table["last_objective"].between(0, 1).all()
    assert "--set mopoe.beta=" in first.text
    command = read_json(tmp_path / "digits" / "smoke" / "mopoe+trial-01" / "seed-0" / "config.json")[
        "command"
    ]
    expected = (
        r"mmbench tune --models cnf-mvae,mopoe --dataset digits --preset smoke --precision \w+( --set "
        r"\w+=\d+){3} --trials 2"
    )
    assert re.fullmatch(expected, command)
    files = {path: path.read_bytes() for path in tmp_path.rglob("metrics.json")}
    again = invoke(*words)
    assert again.code == 0
    assert "train " not in again.text
    assert {path: path.read_bytes() for path in tmp_path.rglob("metrics.json")} == files


def test_a_trial_that_is_given_up_keeps_the_look_that_ended_it(invoke, tmp_path, monkeypatch):
    def check(search, number, step, metrics):
        if step == 4:
            raise GivenUpError("on purpose")

    monkeypatch.setattr(Search, "check", check)
    assert invoke("tune", "--models", "mopoe", *SMOKE, "--trials", "1", "--results", tmp_path).code == 0
    (row,) = pd.read_csv(tmp_path / "digits" / "smoke" / "trials.csv").to_dict("records")
    assert (row["state"], row["last_look"]) == ("pruned", 4)
    assert 0 <= row["last_objective"] <= 1


def test_what_cannot_be_searched_is_said(invoke, tmp_path):
    result = invoke("tune", "--models", "mdae", *SMOKE, "--results", str(tmp_path))
    assert result.code == 2
    assert "mdae has no setting with a `search`" in result.text
    assert not list(tmp_path.iterdir())
