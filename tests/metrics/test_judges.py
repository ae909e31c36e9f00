"""Judges: what they learn, that they are repeatable, and that they judge in eval mode only."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from report_setup import PUBLISHED
from sklearn.datasets import load_digits

from metrics.protocol import Protocol
from metrics.references import judges
from metrics.references.judges import (
    FEATURES,
    Judge,
    _shift,
    accuracy,
    can_judge,
    features,
    judge_identity,
    predict,
    train_judge,
    weights_hash,
)
from mmbench.storage.files import content_hash
from models.base import Modality


def bundled_digits() -> tuple[torch.Tensor, torch.Tensor]:
    """scikit-learn's 1,797 digits, 8x8, blown up to 16x16."""
    digits = load_digits()
    images = torch.from_numpy(digits.images * 255 / 16).round().to(torch.uint8)[:, None]
    return images.repeat_interleave(2, 2).repeat_interleave(2, 3), torch.from_numpy(digits.target)


def train(images, labels, progress=None, **changes) -> Judge:
    protocol = Protocol(**{"judge_steps": 5, "judge_batch_size": 32} | changes)
    return train_judge(images, labels, 10, protocol, progress=progress)


def same(a: Judge, b: Judge) -> bool:
    return all(
        torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    )


def test_it_learns_digits_it_has_not_seen():
    images, labels = bundled_digits()
    judge = train(images[:1200], labels[:1200], judge_steps=100, judge_batch_size=64)
    assert accuracy(judge, images[1200:], labels[1200:]) > 0.9


def test_the_seed_decides_and_the_global_state_does_not():
    images, labels = bundled_digits()
    first = train(images, labels)
    torch.manual_seed(123)
    assert same(first, train(images, labels))
    assert not same(first, train(images, labels, judge_seed=1))


def test_training_leaves_the_global_state_alone():
    images, labels = bundled_digits()
    before = torch.get_rng_state()
    train(images, labels)
    assert torch.equal(before, torch.get_rng_state())


def test_every_step_is_reported_and_small_sets_train():
    images, labels = bundled_digits()
    seen = []
    judge = train(
        images[:20], labels[:20], judge_steps=3, progress=lambda done, total: seen.append((done, total))
    )
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert not any(p.requires_grad for p in judge.parameters())


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (2, 16, 24)])
def test_features_are_those_that_the_head_reads(shape):
    judge = Judge(shape, 10).eval()
    images = (torch.rand(7, *shape) * 255).to(torch.uint8)
    found = features(judge, images)
    assert found.shape == (7, FEATURES)
    assert found.min() >= 0
    assert torch.equal(judge.head(found).argmax(1), predict(judge, images))


def test_uint8_and_floats_are_judged_alike_in_any_company():
    judge = Judge((1, 28, 28), 10).eval()
    images = (torch.rand(501, 1, 28, 28) * 255).to(torch.uint8)
    seen = []
    together = features(judge, images, lambda *state: seen.append(state))
    assert seen == [(500, 501), (501, 501)]
    torch.testing.assert_close(together, features(judge, images.float() / 255))
    torch.testing.assert_close(
        together[[3, 500]], torch.cat([features(judge, images[i : i + 1]) for i in (3, 500)])
    )


def test_accuracy_is_the_share_of_hits():
    judge = Judge((1, 28, 28), 10).eval()
    images = (torch.rand(30, 1, 28, 28) * 255).to(torch.uint8)
    labels = predict(judge, images)
    labels[:6] = (labels[:6] + 1) % 10
    assert accuracy(judge, images, labels) == pytest.approx(24 / 30)


def test_no_judging_in_train_mode():
    judge = Judge((1, 28, 28), 10).train()
    for judging in (predict, features, lambda j, x: accuracy(j, x, torch.zeros(2))):
        with pytest.raises(ValueError, match="eval mode only"):
            judging(judge, torch.zeros(2, 1, 28, 28))


def test_shift_is_the_loop():
    images = torch.rand(40, 3, 6, 8)
    shifted = _shift(images, 2, torch.Generator().manual_seed(0))
    seen = set()
    for image, found in zip(images, shifted, strict=True):
        matches = []
        for dy in range(-2, 3):
            for dx in range(-2, 3):
                rows = [min(max(i + dy, 0), 5) for i in range(6)]
                columns = [min(max(j + dx, 0), 7) for j in range(8)]
                if torch.equal(image[:, rows][:, :, columns], found):
                    matches.append((dy, dx))
        assert len(matches) == 1
        seen.add(matches[0])
    assert len(seen) > 10


def test_identity_changes_with_all_that_decides_a_judge():
    identity = judge_identity((1, 28, 28), 10, Protocol())
    assert json.loads(json.dumps(identity)) == identity
    assert identity == judge_identity((1, 28, 28), 10, Protocol(draws=10_000, evaluation_seed=5))
    others = [
        judge_identity((3, 32, 32), 10, Protocol()),
        judge_identity((1, 28, 28), 10, Protocol(judge_steps=7)),
    ]
    assert all(identity != other for other in others)


def test_identity_is_that_of_the_published_runs_whatever_torch_prints(monkeypatch):
    """Runs and caches outlive a release of torch that prints layers in other words."""
    monkeypatch.setattr(torch.nn.Module, "__repr__", lambda module: "other words")
    judges._architecture.cache_clear()
    published = json.loads((PUBLISHED / "mvae" / "seed-0" / "config.json").read_text(encoding="utf-8"))
    assert (
        content_hash([judge_identity((1, 8, 8), 10, Protocol(**published["protocol"]))]) == published["judge"]
    )


@pytest.mark.parametrize("shape", [(1, 28, 28), (8, 27)])
def test_a_change_of_any_layer_changes_the_identity(shape):
    """Each layer in turn without its bias, or with one, or with another number."""
    texts = {judges._spelled(judges.make_judge(shape, 10))}
    layers = [
        name
        for name, module in judges.make_judge(shape, 10).named_modules()
        if not (list(module.children()) or isinstance(module, torch.nn.ReLU))
    ]
    for name in layers:
        judge = judges.make_judge(shape, 10)
        layer = judge.get_submodule(name)
        if isinstance(layer, torch.nn.Flatten):
            layer.start_dim = 2
        elif isinstance(layer, (torch.nn.MaxPool2d, torch.nn.PixelUnshuffle)):
            setattr(layer, "stride" if isinstance(layer, torch.nn.MaxPool2d) else "downscale_factor", 3)
        else:
            layer.bias = torch.nn.Parameter(torch.zeros(1)) if layer.bias is None else None
        texts.add(judges._spelled(judge))
    assert len(texts) == len(layers) + 1


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize(
    ("shape", "fits"),
    [
        ((1, 28, 28), True),
        ((2, 8, 10), True),
        ((1, 27, 28), True),
        ((3, 32, 9), True),
        ((1, 6, 8), True),
        ((5, 27), False),
        ((784,), False),
    ],
)
def test_what_a_judge_can_judge(shape, fits):
    assert can_judge(Modality("x", shape)) is fits
    if fits:
        assert predict(Judge(shape, 10).eval(), torch.rand(2, *shape)).shape == (2,)
    else:
        with pytest.raises((ValueError, RuntimeError)):
            predict(Judge(shape, 10).eval(), torch.rand(2, *shape))


def test_the_hash_of_the_weights_sees_every_one_of_them():
    judge, copy = Judge((1, 8, 8), 10), Judge((1, 8, 8), 10)
    assert weights_hash(judge) != weights_hash(copy)
    copy.load_state_dict(judge.state_dict())
    assert weights_hash(judge) == weights_hash(copy)
    seen = {weights_hash(judge)}
    for value in copy.state_dict().values():
        value[(-1,) * value.ndim] += 1  # the last number of each, in place
        seen.add(weights_hash(copy))
    assert len(seen) == 1 + len(judge.state_dict())


@pytest.mark.slow
@pytest.mark.parametrize(("name", "least"), [("svhn", 0.88), ("mnist", 0.99)])
def test_accuracy_on_real_test_images(name, least):
    folder = Path(os.environ.get("MMBENCH_DATA", ""))
    if not os.environ.get("MMBENCH_DATA") or not (folder / f"{name}_train.npz").exists():
        pytest.skip("MMBENCH_DATA does not name a folder with the real images")
    parts = {}
    for part in ("train", "test"):
        with np.load(folder / f"{name}_{part}.npz") as arrays:
            images, labels = torch.from_numpy(arrays["images"]), torch.from_numpy(arrays["labels"]).long()
        parts[part] = (
            images.permute(0, 3, 1, 2).contiguous() if images.ndim == 4 else images[:, None],
            labels,
        )
    images, labels = parts["train"]
    held_out = len(images) // 10
    judge = train_judge(images[held_out:], labels[held_out:], 10, Protocol())
    assert accuracy(judge, *parts["test"]) >= least
