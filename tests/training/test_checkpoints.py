"""Checkpoints that are damaged, crafted, of another run, or cannot be written."""

import errno
import os

import pytest
import torch
from stages import same, train_noisy
from training_setup import make_batches, make_model, make_trainer

from mmbench.storage.files import WriteError
from mmbench.training.checkpoints import load_weights
from models.errors import InputError
from models.registry import MODELS


@pytest.fixture
def batches():
    return make_batches()


def test_a_checkpoint_of_another_configuration_is_refused(batches, tmp_path):
    entry = MODELS.get("mopoe")
    make_trainer(make_model(entry), batches, tmp_path).run()
    with pytest.raises(InputError, match="another configuration"):
        make_trainer(make_model(entry), batches, tmp_path, hash="other").run()


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
