"""Trainings that end with the weights of their best look at validation items, or with an average."""

from dataclasses import replace

import pytest
import torch
from options import SMALL
from training_setup import make_batches, make_model, make_trainer

import mmbench
from mmbench.storage.files import read_json
from mmbench.storage.records import LOOK
from mmbench.training.checkpoints import load_weights
from mmbench.training.kept import KEEPING_LOOKS, Best
from mmbench.training.trainer import Trainer, Watch
from models.errors import InputError
from models.registry import MODELS

MODEL = MODELS.get("cnf-mvae-mixture")  # of five stages
FIGURES = {3: 0.2, 6: 0.5, 9: None, 12: 0.7, 15: 0.7, 18: 0.6, 21: 0.1, 24: 0.3, 27: 0.6, 30: 0.4}
BEST = 12  # the first of two that are as good


def make(folder, stop=lambda trainer: False, figures=FIGURES):
    """A trainer of 30 steps whose looks find `figures`, and the weights at each."""
    last = make_trainer(make_model(MODEL), make_batches(), folder)
    budget = replace(last.config, keep="best")
    trainer = Trainer(last.model, last.batches, budget, last.checkpoints)
    weights = {}

    def look(step):
        weights[step] = {name: x.clone() for name, x in trainer.model.state_dict().items()}
        value = figures.get(step, 9.0)  # of other looks, which decide nothing
        return {} if value is None else {"figure": value}

    watch = trainer.watch
    watch.look, watch.score, watch.stop = look, lambda found: found.get("figure"), lambda: stop(trainer)
    return trainer, weights


def make_averaging(folder, budget=(), settings=(), stop_at=None):
    """A trainer of 30 steps, or as `budget` says, and the parameters after each."""
    first = make_trainer(make_model(MODEL, **dict(settings)), make_batches(), folder)
    trainer = Trainer(
        first.model,
        first.batches,
        replace(first.config, **{"keep": "average", **dict(budget)}),
        first.checkpoints,
    )
    parameters = {}

    def report(step, row):
        parameters[step] = {name: x.detach().clone() for name, x in trainer.model.named_parameters()}

    trainer.watch.report, trainer.watch.stop = report, lambda: trainer.step == stop_at
    return trainer, parameters


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_it_ends_with_the_weights_of_the_best_look(tmp_path):
    trainer, weights = make(tmp_path)
    assert trainer.run()
    assert sorted(weights) == list(FIGURES)
    assert len(FIGURES) == KEEPING_LOOKS
    assert (trainer.kept.step, trainer.kept.value) == (BEST, 0.7)
    assert same(trainer.model.state_dict(), weights[BEST])
    assert not same(weights[30], weights[BEST])
    fresh = make_model(MODEL)
    assert load_weights(fresh, tmp_path / "checkpoint.pt", "h", 3)["step"] == 30
    assert same(fresh.state_dict(), weights[BEST])


@pytest.mark.parametrize("at", [7, 12, 13, 29, 30])
def test_it_goes_on_after_a_stop(at, tmp_path):
    whole, _ = make(tmp_path / "whole")
    assert whole.run()
    broken, _ = make(tmp_path / "broken", stop=lambda trainer: trainer.step == at)
    broken.run()
    last, _ = make(tmp_path / "broken")
    assert last.run()
    assert last.history == whole.history
    assert (last.kept.step, last.kept.value) == (BEST, 0.7)
    assert same(last.model.state_dict(), whole.model.state_dict())


def test_without_a_figure_the_last_weights_stay(tmp_path):
    trainer, weights = make(tmp_path, figures=dict.fromkeys(FIGURES))
    assert trainer.run()
    assert trainer.kept.step == 0
    assert same(trainer.model.state_dict(), weights[30])


@pytest.mark.parametrize(
    "kept",
    [
        [],
        {"step": 3, "value": 0.5},
        {"step": "3", "value": 0.5, "weights": {}},
        {"step": 3, "value": None, "weights": {}},
        {"step": 3, "value": 0.5, "weights": {"other": torch.zeros(2)}},
        {"count": 2.0, "weights": {}},
        {"count": 2, "weights": {"other": torch.zeros(2)}},
    ],
)
def test_a_damaged_checkpoint_is_named(kept, tmp_path):
    trainer, _ = make(tmp_path, stop=lambda trainer: trainer.step == 7)
    trainer.run()
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    trainer.checkpoints.save({**state, "kept": kept})
    with pytest.raises(InputError, match="its state of a training is not that of this model"):
        load_weights(make_model(MODEL), tmp_path / "checkpoint.pt", "h", 3)


@pytest.mark.parametrize(
    ("budget", "settings", "averaged"),
    [({}, {}, (28, 29, 30)), ({}, {"prior_starts": 29}, (30,)), ({"steps": 1}, {}, (1,))],
    ids=["last tenth", "last stage", "one step"],
)
def test_an_average_is_that_of_the_last_steps(budget, settings, averaged, tmp_path):
    trainer, parameters = make_averaging(tmp_path, budget, settings)
    assert trainer.run()
    assert trainer.kept.count == len(averaged)
    for name, x in trainer.model.named_parameters():
        mean = torch.stack([parameters[step][name].double() for step in averaged]).mean(0)
        torch.testing.assert_close(x, mean.float())
    fresh = make_model(MODEL, **settings)
    load_weights(fresh, tmp_path / "checkpoint.pt", "h", 3)
    assert same(fresh.state_dict(), trainer.model.state_dict())


@pytest.mark.parametrize("at", [7, 27, 28, 29, 30])
def test_an_average_goes_on_after_a_stop(at, tmp_path):
    whole, _ = make_averaging(tmp_path / "whole")
    assert whole.run()
    broken, _ = make_averaging(tmp_path / "broken", stop_at=at)
    broken.run()
    last, _ = make_averaging(tmp_path / "broken")
    assert last.run()
    assert same(last.model.state_dict(), whole.model.state_dict())


def test_an_average_changes_no_step(tmp_path):
    """Looks and history are those of the weights in training."""
    averaging, _ = make_averaging(tmp_path / "average")
    assert averaging.run()
    last, _ = make_averaging(tmp_path / "last", {"keep": "last"})
    assert last.run()
    assert averaging.history == last.history
    assert not same(averaging.model.state_dict(), last.model.state_dict())


def test_the_best_of_equals_is_the_first():
    model, kept = make_model(MODELS.get("mvae")), Best()
    for step, value in ((1, 0.2), (2, None), (3, 0.4), (4, 0.4), (5, 0.1)):
        kept.after_look(step, value, model)
    assert kept.step == 3
    again = Best()
    again.load(kept.state(), torch.device("cpu"))
    assert (again.step, again.value, again.weights) == (kept.step, kept.value, kept.weights)


def test_a_run_says_which_step_it_is_of(invoke, tmp_path):
    """Beside the same run with its last weights, which keeps its hash."""
    command = ("run", "--models", "mvae", "--dataset", "digits", "--preset", "smoke", *SMALL, "--jobs", "1")
    best = invoke(*command, "--set", "keep=best", "--label", "best", "--results", tmp_path)
    assert best.code == 0, best.text
    run = tmp_path / "digits" / "smoke" / "mvae+best" / "seed-0"
    status, config = read_json(run / "status.json"), read_json(run / "config.json")
    assert config["training"]["keep"] == "best"
    history = (run / "history.csv").read_text().splitlines()
    steps = [int(line.partition(",")[0]) for line in history[1:]]
    assert status["kept_step"] in steps
    assert any(column.startswith(LOOK) for column in history[0].split(","))
    assert "Weights of step" in (run.parents[1] / "README.md").read_text(encoding="utf-8")
    last = invoke(*command, "--results", tmp_path)
    assert last.code == 0, last.text
    config = read_json(tmp_path / "digits" / "smoke" / "mvae" / "seed-0" / "config.json")
    assert "keep" not in config["training"]
    table = (run.parents[1] / "table1.md").read_text(encoding="utf-8")
    assert "MVAE (best)" in table
    assert "Warning" not in table
    assert "keep last or best" in table


def test_a_checkpoint_of_another_kind_is_refused(tmp_path):
    for index, (before, after) in enumerate([("average", "last"), ("last", "average"), ("average", "best")]):
        broken, _ = make_averaging(tmp_path / str(index), {"keep": before}, stop_at=7)
        broken.run()
        other, _ = make_averaging(tmp_path / str(index), {"keep": after})
        with pytest.raises(InputError, match=f"another `keep` than {after}"):
            other.run()


def test_python_needs_to_know_what_is_best():
    data = mmbench.load_data("digits")
    for watch in (None, Watch(look=lambda step: {"figure": 0.5})):
        with pytest.raises(InputError, match="keep=best needs a watch"):
            mmbench.train(mmbench.make_model("mvae", data), data, steps=2, keep="best", watch=watch)
