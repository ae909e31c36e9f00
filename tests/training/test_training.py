"""The trainer: exact resume, stages, the learning-rate schedule, divergence."""

import errno
import os
from dataclasses import dataclass, replace

import pytest
import torch
from training_setup import make_batches, make_model, make_trainer

from mmbench.execution.signals import StoppedError
from mmbench.storage.files import WriteError
from mmbench.training.checkpoints import load_weights
from mmbench.training.trainer import DivergedError
from models.base import Loss, Modality, MultimodalModel, Stage
from models.conformance import TWO
from models.errors import InputError
from models.names import find_models
from models.registry import MODELS
from models.settings import setting

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


def test_a_checkpoint_of_another_configuration_is_refused(batches, tmp_path):
    entry = MODELS.get("mopoe")
    make_trainer(make_model(entry), batches, tmp_path).run()
    with pytest.raises(InputError, match="another configuration"):
        make_trainer(make_model(entry), batches, tmp_path, hash="other").run()


@dataclass(frozen=True)
class NoSettings:
    bad_step: int = setting(-1, "progress at which a term turns NaN")


class TwoStages(MultimodalModel):
    """Two parameters, one per stage; records the progress that each stage sees."""

    def __init__(self, modalities, settings):
        super().__init__(modalities, settings)
        self.first, self.second = torch.nn.Parameter(torch.ones(())), torch.nn.Parameter(torch.ones(()))
        self.seen = {"one": [], "two": []}

    def stages(self):
        return (
            Stage(
                "one", 0.25, lambda batch, progress: self._loss("one", self.first, progress), (self.first,)
            ),
            Stage(
                "two", 0.75, lambda batch, progress: self._loss("two", self.second, progress), (self.second,)
            ),
        )

    def _loss(self, stage, parameter, progress):
        self.seen[stage].append(float(progress))
        bad = (
            torch.tensor(float("nan"))
            if len(self.seen["one"]) + len(self.seen["two"]) - 1 == self.settings.bad_step
            else torch.zeros(())
        )
        return Loss(parameter.square() + bad, {"fine": torch.ones(()), "term": bad})

    def loss(self, batch, progress): ...

    def generate(self, n, generator): ...

    def translate(self, inputs, targets, sample=False, generator=None): ...

    def embed(self, inputs): ...


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


class Noisy(TwoStages):
    """Its weights depend on every draw of noise since the beginning."""

    def _loss(self, stage, parameter, progress):
        return Loss((parameter - torch.randn(())).square(), {"term": parameter.detach()})


def train_noisy(batches, folder, stop_at=None, lines=None):
    """A training of 40 steps, to the end or to its stop."""
    torch.manual_seed(5)
    trainer = make_trainer(Noisy(TWO, NoSettings()), batches, folder, steps=40)
    trainer.watch.say = print if lines is None else lines.append
    trainer.watch.stop = lambda: trainer.step == stop_at
    assert trainer.run() is (stop_at is None)
    torch.randn(3)
    return trainer


def same(a, b):
    return (
        a.history == b.history
        and torch.equal(a.model.first, b.model.first)
        and torch.equal(a.model.second, b.model.second)
    )


def flip(path):
    content = bytearray(path.read_bytes())
    content[content.index(b"optimizer")] ^= 1
    path.write_bytes(content)


CHECKPOINT_DAMAGE = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "flipped": flip,
    "empty": lambda path: path.write_bytes(b""),
    "gone": lambda path: path.unlink(),  # as between the two renames of a save
}


@pytest.mark.parametrize("case", CHECKPOINT_DAMAGE)
def test_a_damaged_checkpoint_gives_way_to_the_one_before(case, batches, tmp_path):
    whole = train_noisy(batches, tmp_path / "whole")
    for at in (7, 23):
        train_noisy(batches, tmp_path / "broken", stop_at=at)
    newest, previous, lines = (
        tmp_path / "broken" / "checkpoint.pt",
        tmp_path / "broken" / "checkpoint.previous.pt",
        [],
    )
    before = previous.read_bytes()
    CHECKPOINT_DAMAGE[case](newest)
    train_noisy(batches, tmp_path / "broken", stop_at=12, lines=lines)
    assert previous.read_bytes() == before  # that of step 7, not the damaged one
    assert [line.split(" is damaged (")[0] for line in lines] == (
        [] if case == "gone" else [f"The checkpoint {newest}"]
    )
    assert all(line.endswith("): the one before it is used.") for line in lines)
    assert same(train_noisy(batches, tmp_path / "broken"), whole)


def test_without_a_whole_checkpoint_training_begins_again(batches, tmp_path):
    whole, lines = train_noisy(batches, tmp_path / "whole"), []
    for at in (7, 23):
        train_noisy(batches, tmp_path / "broken", stop_at=at)
    for path in (tmp_path / "broken").iterdir():
        flip(path)
    assert same(train_noisy(batches, tmp_path / "broken", lines=lines), whole)
    assert [line.split("): ")[1] for line in lines] == [
        "the one before it is used.",
        "training begins again.",
    ]


def wrong_moment(saved, value):
    saved["optimizer"]["state"][0]["exp_avg"] = value


CRAFTED = {
    "moment of another shape": lambda saved: wrong_moment(saved, torch.zeros(1)),
    "moment of another type": lambda saved: wrong_moment(saved, torch.zeros((), dtype=torch.float64)),
    "moment that is none": lambda saved: wrong_moment(saved, 0.0),
    "no moments": lambda saved: saved["optimizer"]["state"].update({0: {}}),
    "moment without memory": lambda saved: wrong_moment(saved, torch.zeros((), device="meta")),
    "sparse row": lambda saved: saved["recorded"]["rows"].__setitem__(0, torch.zeros(2).to_sparse()),
    "nested row": lambda saved: saved["recorded"]["rows"].__setitem__(
        0, torch.nested.as_nested_tensor([torch.zeros(2)])
    ),
    "no seed": lambda saved: saved.pop("seed"),
    "state of an unknown parameter": lambda saved: saved["optimizer"]["state"].update(
        {7: saved["optimizer"]["state"][0]}
    ),
    "optimizer without state": lambda saved: saved["optimizer"].clear(),
    "step": lambda saved: saved.update(step="7"),
    "negative step": lambda saved: saved.update(step=-1),
    "step that is true": lambda saved: saved.update(step=True),
    "stage": lambda saved: saved.update(stage=2),
    "seconds": lambda saved: saved.update(seconds=float("nan")),
    "seed": lambda saved: saved.update(seed=torch.zeros(2)),
    "history": lambda saved: saved.update(history=[3]),
    "rows": lambda saved: saved["recorded"].update(rows=[torch.zeros(5)]),
    "names": lambda saved: saved["recorded"]["names"][0].append("more"),
    "recorded": lambda saved: saved["recorded"].clear(),
    "random state": lambda saved: saved.update(cpu_random_state=torch.zeros(5056, dtype=torch.uint8)),
    "random state of a GPU": lambda saved: saved.update(cuda_random_state=torch.zeros(3)),
}


@pytest.mark.parametrize("case", CRAFTED)
def test_a_crafted_checkpoint_counts_as_damaged(case, batches, tmp_path):
    """Its checksums are right, its contents are not: the kernels of the fused Adam would read and write
    beyond their tensors.
    """
    whole, lines = train_noisy(batches, tmp_path / "whole"), []
    train_noisy(batches, tmp_path / "crafted", stop_at=7)
    path = tmp_path / "crafted" / "checkpoint.pt"
    saved = torch.load(path, weights_only=True)
    CRAFTED[case](saved)
    torch.save(saved, path)
    assert same(train_noisy(batches, tmp_path / "crafted", lines=lines), whole)
    assert [line.split(" is damaged (")[0] for line in lines] == [f"The checkpoint {path}"]


def test_moments_and_options_are_laid_out_as_this_training_wants_them(batches, tmp_path):
    """One number repeated by its strides looks like a tensor and is no memory to write to.

    The options of the optimizer are not the file's.
    """
    entry = MODELS.get("mopoe")
    trainer = make_trainer(make_model(entry), batches, tmp_path)
    trainer.watch.stop = lambda: trainer.step == 7
    trainer.run()
    path = tmp_path / "checkpoint.pt"
    saved = torch.load(path, weights_only=True)
    for moments in saved["optimizer"]["state"].values():
        moments["exp_avg"] = torch.zeros(()).expand(moments["exp_avg"].shape)
    saved["optimizer"]["param_groups"] = [{"amsgrad": True}]
    torch.save(saved, path)
    found = load_weights(trainer.model, path, "h", seed=3)["optimizer"]["state"]
    for parameter, moments in zip(trainer.model.parameters(), found.values(), strict=True):
        assert moments["exp_avg"].stride() == parameter.stride()
    again = make_trainer(make_model(entry), batches, tmp_path, steps=30)
    assert again.run()
    assert not again.made.optimizer.param_groups[0]["amsgrad"]


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EIO, errno.EACCES])
def test_a_checkpoint_that_cannot_be_read_is_not_damaged(number, batches, tmp_path, monkeypatch):
    for at in (7, 23):
        train_noisy(batches, tmp_path, stop_at=at)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def fail(*args):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as failing:
        failing.setattr("mmbench.training.checkpoints.read_torch", fail)
        with pytest.raises(
            InputError,
            match=rf"checkpoint\.pt cannot be read \({os.strerror(number)}\): mend that, or move it away",
        ):
            train_noisy(batches, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_checkpoint_of_another_seed_is_refused_and_stays(batches, tmp_path):
    train_noisy(batches, tmp_path, stop_at=7)
    before = (tmp_path / "checkpoint.pt").read_bytes()
    batches.seed = 4
    with pytest.raises(InputError, match="belongs to seed 3, not 4: delete it to train again"):
        train_noisy(batches, tmp_path)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


def test_a_full_disk_loses_no_checkpoint(batches, tmp_path, monkeypatch):
    whole = train_noisy(batches, tmp_path / "whole")
    train_noisy(batches, tmp_path / "broken", stop_at=7)
    monkeypatch.setattr(
        "os.fsync", lambda number: (_ for _ in ()).throw(OSError(28, "No space left on device"))
    )
    with pytest.raises(WriteError, match=r"checkpoint\.pt cannot be written \(No space left on device\)"):
        train_noisy(batches, tmp_path / "broken")
    monkeypatch.undo()
    assert same(train_noisy(batches, tmp_path / "broken"), whole)


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
