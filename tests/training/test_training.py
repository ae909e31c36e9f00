"""The trainer: exact resume, stages, the learning-rate schedule, divergence."""

from dataclasses import replace

import pytest
import torch
from stages import NoSettings, TwoStages
from training_setup import make_batches, make_model, make_trainer

from mmbench.execution.signals import StoppedError
from mmbench.training.checkpoints import load_weights
from mmbench.training.trainer import DivergedError
from models.base import Modality
from models.conformance import TWO
from models.names import find_models
from models.registry import MODELS

EVERY = [*find_models("all"), *find_models("coordinated:all")]


@pytest.fixture
def batches():
    return make_batches()


@pytest.mark.parametrize("entry", EVERY, ids=lambda entry: entry.name)
def test_bfloat16_changes_the_loss_by_its_rounding_alone(entry, tmp_path):
    """What leaves a network is float32: terms agree to bfloat16's 3 digits, weights stay in float32, and
    training moves them alike.
    """
    runs, batches = {}, make_batches(labels=entry.uses_labels)
    for precision in ("fp32", "bf16"):
        runs[precision] = make_trainer(
            make_model(entry), batches, tmp_path / precision, steps=20, precision=precision
        )
        assert runs[precision].run()
    assert all(p.dtype == torch.float32 for p in runs["bf16"].model.parameters())
    first = {precision: run.history[0] for precision, run in runs.items()}
    assert first["bf16"] != first["fp32"]
    for name, value in first["fp32"].items():
        if name != "stage":
            assert first["bf16"][name] == pytest.approx(value, rel=0.02, abs=0.05), name
    # 20 steps apart
    assert runs["bf16"].history[-1]["loss"] == pytest.approx(runs["fp32"].history[-1]["loss"], rel=0.1)


@pytest.mark.parametrize("entry", EVERY, ids=lambda entry: entry.name)
@pytest.mark.parametrize("interruptions", [(13,), (1, 2, 25)], ids=["once", "thrice"])
def test_resume_is_exact(entry, interruptions, tmp_path):
    """Weights, optimiser and history are those of an unbroken run, to the bit, wherever it was stopped."""
    batches = make_batches(labels=entry.uses_labels)
    whole = make_trainer(make_model(entry), batches, tmp_path / "whole")
    assert whole.run()
    for at in interruptions:
        broken = make_trainer(make_model(entry), batches, tmp_path / "broken")
        broken.watch.stop = lambda broken=broken, at=at: broken.step == at
        assert not broken.run()
        assert broken.step == at
        torch.randn(17)  # whatever happens in between
    last = make_trainer(make_model(entry), batches, tmp_path / "broken")
    assert last.run()
    assert 0 < broken.seconds < last.seconds
    assert last.history == whole.history
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, last.model.state_dict()[name]), name


def test_a_finished_checkpoint_is_not_trained_again(batches, tmp_path):
    entry = MODELS.get("mopoe")
    first = make_trainer(make_model(entry), batches, tmp_path)
    first.run()
    again = make_trainer(
        make_model(entry), batches, tmp_path, report=lambda step, row: pytest.fail("trained again")
    )
    assert again.run()
    model = make_model(entry)
    load_weights(model, tmp_path / "checkpoint.pt", "h", seed=3)
    for name, value in first.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[name])
        assert torch.equal(value, model.state_dict()[name])


def test_stages_train_their_own_parameters_with_their_own_progress(batches, tmp_path):
    model = TwoStages(TWO, NoSettings())
    trainer = make_trainer(model, batches, tmp_path, steps=40)
    assert trainer.run()
    assert model.seen["one"] == [i / 10 for i in range(10)]
    assert model.seen["two"] == [i / 30 for i in range(30)]
    assert {row["stage"] for row in trainer.history} == {"one", "two"}
    assert trainer.history[4]["step"] == 10
    assert trainer.history[4]["stage"] == "one"
    assert model.first != 1
    assert model.second != 1


def test_resume_in_the_second_stage(batches, tmp_path):
    whole = make_trainer(TwoStages(TWO, NoSettings()), batches, tmp_path / "a", steps=40)
    whole.run()
    for at in (10, 23):  # the end of the first stage, and within the second
        broken = make_trainer(TwoStages(TWO, NoSettings()), batches, tmp_path / "b", steps=40)
        broken.watch.stop = lambda broken=broken, at=at: broken.step == at
        assert not broken.run()
    last = make_trainer(TwoStages(TWO, NoSettings()), batches, tmp_path / "b", steps=40)
    assert last.run()
    assert last.history == whole.history
    assert torch.equal(last.model.second, whole.model.second)
    assert torch.equal(last.model.first, whole.model.first)


class Starting(TwoStages):
    """Its second stage starts with a parameter that is computed from data and from what was trained."""

    def stages(self):
        one, two = super().stages()
        return one, replace(two, start=self.start)

    def start(self, batches):
        assert not torch.is_grad_enabled()
        self.first_batches = [batches(number)["a"] for number in range(3)]
        with torch.no_grad():
            self.second.copy_(self.first * torch.cat(self.first_batches).mean())


@pytest.mark.parametrize("interruptions", [(10,), (11,), (9, 10, 11, 23)], ids=str)
def test_a_stage_starts_once_from_its_own_first_batches(interruptions, batches, tmp_path):
    """However the training was interrupted: before the start, right after the last stage, after the start."""
    whole = make_trainer(Starting(TWO, NoSettings()), batches, tmp_path / "a", steps=40)
    assert whole.run()
    for number, seen in enumerate(whole.model.first_batches):
        assert torch.equal(seen, batches.batch(10 + number)["a"])
    for at in interruptions:
        broken = make_trainer(Starting(TWO, NoSettings()), batches, tmp_path / "b", steps=40)
        broken.watch.stop = lambda broken=broken, at=at: broken.step == at
        assert not broken.run()
        assert hasattr(broken.model, "first_batches") == (at == 11)
    last = make_trainer(Starting(TWO, NoSettings()), batches, tmp_path / "b", steps=40)
    assert last.run()
    assert last.history == whole.history
    assert torch.equal(last.model.second, whole.model.second)


def test_learning_rate_falls_by_a_tenth_after_40_and_80_per_cent(batches, tmp_path):
    rows = []
    trainer = make_trainer(
        make_model(MODELS.get("mopoe")),
        batches,
        tmp_path,
        steps=20,
        report=lambda step, row: rows.append(row),
    )
    trainer.run()
    expected = [1e-2] * 8 + [0.9e-2] * 8 + [0.81e-2] * 4
    assert [row["learning_rate"] for row in rows] == pytest.approx(expected)


@pytest.mark.parametrize("bad", [0, 7, 39])
def test_divergence_names_step_and_term(bad, batches, tmp_path):
    trainer = make_trainer(TwoStages(TWO, NoSettings(bad_step=bad)), batches, tmp_path, steps=40)
    with pytest.raises(DivergedError, match=f"term became nan at step {bad + 1}:"):
        trainer.run()


def test_batches_need_enough_modalities():
    with pytest.raises(ValueError, match="two or more modalities"):
        TwoStages((Modality("a", (1,)),), NoSettings())


def test_numbers_below_the_smallest_normal_one_are_zero_in_training_only(batches, tmp_path):
    tiny = torch.tensor([1e-40])
    seen = []
    assert make_trainer(
        make_model(MODELS.get("mopoe")),
        batches,
        tmp_path,
        report=lambda step, row: seen.append(float(tiny * 0.5)),
    ).run()
    assert seen
    assert not any(seen)
    assert float(tiny * 0.5) > 0


def test_looks_are_rows_of_the_history_and_change_nothing_else(batches, tmp_path):
    """Evenly spaced and the last at the end.

    Weights and loss terms are those of a training without them; one that was interrupted is made again.
    """
    entry = MODELS.get("avae")  # two stages
    plain = make_trainer(make_model(entry), batches, tmp_path / "plain", steps=60)
    assert plain.run()
    seen = []

    def look(step):
        seen.append(step)
        return {"validation/x": float(step)}

    looked = make_trainer(make_model(entry), batches, tmp_path / "looked", steps=60)
    looked.watch.look, looked.looks = look, looked._look_steps(4)
    assert looked.run()
    assert seen == [15, 30, 45, 60]
    assert [row["step"] for row in looked.history if row.get("validation/x") == row["step"]] == seen
    assert [
        {name: value for name, value in row.items() if name != "validation/x"} for row in looked.history
    ] == plain.history
    for a, b in zip(plain.model.parameters(), looked.model.parameters(), strict=True):
        assert torch.equal(a, b)

    def interrupted(step):
        if step == 30:
            raise StoppedError
        return look(step)

    again = make_trainer(make_model(entry), batches, tmp_path / "again", steps=60)
    again.watch.look, again.looks = interrupted, looked.looks
    with pytest.raises(StoppedError):
        again.run()
    last = make_trainer(make_model(entry), batches, tmp_path / "again", steps=60)
    last.watch.look, last.looks = look, looked.looks
    assert last._restore()["step"] == 29
    assert last.run()
    assert last.history == looked.history


@pytest.mark.parametrize(
    ("steps", "count", "expected"),
    [(10_000, 4, [2500, 5000, 7500, 10_000]), (8, 3, [3, 6, 8]), (2, 5, [1, 2]), (130, 2, [66, 130])],
)
def test_looks_fall_on_rows_of_the_history(batches, tmp_path, steps, count, expected):
    trainer = make_trainer(make_model(MODELS.get("mopoe")), batches, tmp_path, steps=steps)
    assert sorted(trainer._look_steps(count)) == expected
    assert all(step % trainer.log_every == 0 or step == steps for step in expected)
