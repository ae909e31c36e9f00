"""Batches: a pure function of (seed, epoch, step) that covers each pair at most once per epoch."""

import pytest
import torch

from metrics.images import as_float
from mmbench.data.base import Split
from mmbench.data.batches import Batches
from models.base import LABELS, Modality
from models.errors import InputError

MODALITIES = (Modality("a", (1, 2, 2)), Modality("b", (3,)))
PAIRS, SIZE = 25, 4


@pytest.fixture
def split() -> Split:
    """Images that spell out their own index, so that a batch tells which pairs it holds."""
    items = {
        "a": torch.arange(10, dtype=torch.uint8).view(10, 1, 1, 1).expand(10, 1, 2, 2).contiguous(),
        "b": torch.arange(100, 112, dtype=torch.uint8).view(12, 1).expand(12, 3).contiguous(),
    }
    labels = {"a": torch.zeros(10, dtype=torch.int64), "b": torch.zeros(12, dtype=torch.int64)}
    pairs = torch.cartesian_prod(torch.arange(10), torch.arange(12))[
        torch.randperm(120, generator=torch.Generator().manual_seed(0))[:PAIRS]
    ]
    return Split(items, labels, pairs)


def pairs_of(batch: dict[str, torch.Tensor]) -> list[tuple[int, int]]:
    a, b = (batch["a"][:, 0, 0, 0] * 255).round().long(), (batch["b"][:, 0] * 255).round().long() - 100
    return list(zip(a.tolist(), b.tolist(), strict=True))


def test_shapes_and_range(split: Split) -> None:
    batch = Batches(split, MODALITIES, SIZE, 0, "cpu").batch(0)
    assert {name: (tuple(x.shape), x.dtype) for name, x in batch.items()} == {
        "a": ((4, 1, 2, 2), torch.float32),
        "b": ((4, 3), torch.float32),
    }
    assert torch.equal(as_float(torch.tensor([0, 51, 255], dtype=torch.uint8)), torch.tensor([0.0, 0.2, 1.0]))


def test_an_epoch_covers_each_pair_at_most_once(split: Split) -> None:
    batches = Batches(split, MODALITIES, SIZE, 0, "cpu")
    assert batches.steps_per_epoch == PAIRS // SIZE
    known = set(map(tuple, split.pairs.tolist()))
    for epoch in range(3):
        seen = [
            pair
            for i in range(batches.steps_per_epoch)
            for pair in pairs_of(batches.batch(epoch * batches.steps_per_epoch + i))
        ]
        assert len(seen) == len(set(seen)) == PAIRS - PAIRS % SIZE
        assert set(seen) <= known


def test_a_batch_depends_on_seed_and_step_alone(split: Split) -> None:
    steps = list(range(3 * (PAIRS // SIZE)))
    forward = Batches(split, MODALITIES, SIZE, 7, "cpu")
    expected = [pairs_of(forward.batch(step)) for step in steps]
    torch.manual_seed(123)
    backward = Batches(split, MODALITIES, SIZE, 7, "cpu")
    assert [pairs_of(backward.batch(step)) for step in reversed(steps)] == expected[::-1]
    assert pairs_of(Batches(split, MODALITIES, SIZE, 7, "cpu").batch(9)) == expected[9], (
        "a resumed run sees another batch"
    )


def test_seeds_and_epochs_differ(split: Split) -> None:
    def epoch(seed: int, number: int) -> list[list[tuple[int, int]]]:
        batches = Batches(split, MODALITIES, SIZE, seed, "cpu")
        return [
            pairs_of(batches.batch(number * batches.steps_per_epoch + i))
            for i in range(batches.steps_per_epoch)
        ]

    orders = [epoch(seed, number) for seed in range(3) for number in range(3)]
    assert all(first != second for i, first in enumerate(orders) for second in orders[:i])


def test_modalities_are_found_by_name(split: Split) -> None:
    whole = Batches(split, MODALITIES, SIZE, 0, "cpu").batch(5)
    reversed_, alone = (
        Batches(split, MODALITIES[::-1], SIZE, 0, "cpu").batch(5),
        Batches(split, MODALITIES[1:], SIZE, 0, "cpu").batch(5),
    )
    assert pairs_of(reversed_) == pairs_of(whole)
    assert list(alone) == ["b"]
    assert torch.equal(alone["b"], whole["b"])


def test_more_pairs_than_there_are(split: Split) -> None:
    with pytest.raises(InputError, match="A batch of 26 pairs is more than the 25 that there are"):
        Batches(split, MODALITIES, 26, 0, "cpu")


def test_labels_come_with_the_items_where_they_are_asked_for(split: Split) -> None:
    """Of the first modality that the pairs of a batch have, and of no model that did not ask."""
    labels = {"a": torch.arange(10), "b": torch.arange(20, 32)}
    there = Split(split.items, labels, split.pairs)
    assert set(Batches(there, MODALITIES, SIZE, 0).batch(0)) == {"a", "b"}
    batch = Batches(there, MODALITIES, SIZE, 0, labels=True).batch(3)
    assert batch[LABELS].tolist() == [a for a, _ in pairs_of(batch)]
    hidden = split.pairs.clone()
    hidden[:, 0] = -1
    batch = Batches(Split(split.items, labels, hidden), MODALITIES, SIZE, 0, labels=True).batch(0)
    assert set(batch) == {"b", LABELS}
    assert batch[LABELS].tolist() == [20 + round(float(x) * 255) - 100 for x in batch["b"][:, 0]]
