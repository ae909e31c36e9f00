"""Pairs and hold-out: what the protocol promises of them, whatever the labels."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mmbench.data.pairing import hold_out, make_pairs, take_per_class, validation_share
from models.errors import InputError


@st.composite
def label_sets(draw: st.DrawFn) -> list[Tensor]:
    """Labels of 2 or 3 modalities, shuffled, of the same classes; a class has 1 to 8 images in a modality."""
    classes = draw(st.integers(1, 4))
    counts = st.lists(st.integers(1, 8), min_size=classes, max_size=classes)
    shuffle = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    drawn = draw(st.lists(counts, min_size=2, max_size=3))
    labels = [torch.arange(classes).repeat_interleave(torch.tensor(c)) for c in drawn]
    return [values[torch.randperm(len(values), generator=shuffle)] for values in labels]


@settings(max_examples=60, deadline=None)
@given(labels=label_sets(), per_image=st.integers(1, 6), seed=st.integers(0, 2**32))
def test_pairs(labels: list[Tensor], per_image: int, seed: int) -> None:
    pairs = make_pairs(labels, per_image, seed)
    assert pairs.shape == (per_image * sum(map(len, labels)), len(labels))
    assert pairs.dtype == torch.int64

    classes = torch.stack([values[pairs[:, m]] for m, values in enumerate(labels)], dim=1)
    assert (classes == classes[:, :1]).all(), "a pair of two classes"

    start = 0
    for m, values in enumerate(labels):  # rows by anchor modality, then by anchor
        block = pairs[start : start + per_image * len(values)]
        start += len(block)
        assert block[:, m].tolist() == [i for i in range(len(values)) for _ in range(per_image)]
        for other in set(range(len(labels))) - {m}:
            for anchor, partners in enumerate(block[:, other].view(-1, per_image).tolist()):
                if (labels[other] == values[anchor]).sum() >= per_image:
                    assert len(set(partners)) == per_image, "a partner drawn twice for one anchor"


@settings(max_examples=20, deadline=None)
@given(labels=label_sets(), seed=st.integers(0, 1000))
def test_pairs_depend_on_their_arguments_alone(labels: list[Tensor], seed: int) -> None:
    first = make_pairs(labels, 3, seed)
    torch.manual_seed(seed + 1)
    assert torch.equal(first, make_pairs(labels, 3, seed))


def test_another_seed_gives_other_pairs() -> None:
    labels = [torch.arange(200) % 2, torch.arange(300) % 2]
    assert not torch.equal(make_pairs(labels, 10, 0), make_pairs(labels, 10, 1))


@pytest.mark.parametrize("draws", [1, 3, 5])
def test_every_subset_of_partners_is_equally_likely(draws: int) -> None:
    """4,000 anchors draw from 5 images: each comes equally often, in every place too (5 standard errors)."""
    anchors = 4000
    pairs = make_pairs([torch.zeros(anchors, dtype=torch.int64), torch.zeros(5, dtype=torch.int64)], draws, 0)
    partners = pairs[: anchors * draws, 1].view(anchors, draws)
    for place in range(draws):
        assert (
            torch.bincount(partners[:, place], minlength=5).sub(anchors / 5).abs().max()
            < 5 * (anchors * 0.2 * 0.8) ** 0.5
        )
    together = torch.stack(
        [((partners == a).any(1) & (partners == b).any(1)).sum() for a in range(5) for b in range(a)]
    )
    share = draws * (draws - 1) / 20
    assert together.sub(anchors * share).abs().max() <= 5 * (anchors * share * (1 - share)) ** 0.5


def test_partners_in_two_modalities_are_independent() -> None:
    anchors = 4000
    zeros = [torch.zeros(n, dtype=torch.int64) for n in (anchors, 4, 4)]
    pairs = make_pairs(zeros, 4, 0)[: 4 * anchors]
    table = torch.bincount(pairs[:, 1] * 4 + pairs[:, 2], minlength=16)
    assert table.sub(anchors / 4).abs().max() < 5 * (anchors / 4) ** 0.5


def test_a_class_with_too_few_images_is_drawn_with_replacement() -> None:
    pairs = make_pairs([torch.zeros(500, dtype=torch.int64), torch.zeros(2, dtype=torch.int64)], 5, 0)
    partners = torch.bincount(pairs[:2500, 1], minlength=2)
    assert (partners - 1250).abs().max() < 125


def test_a_missing_class_is_refused() -> None:
    with pytest.raises(
        InputError, match=r"Modality 2 of 2 has no image of class 1, 3, which another modality has"
    ):
        make_pairs([torch.arange(4), torch.tensor([0, 2])], 2, 0)


@settings(max_examples=40, deadline=None)
@given(counts=st.lists(st.integers(2, 60), min_size=1, max_size=10), seed=st.integers(0, 2**32))
def test_hold_out(counts: list[int], seed: int) -> None:
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    kept, held = hold_out(labels, seed)
    assert sorted([*kept.tolist(), *held.tolist()]) == list(range(len(labels))), "an image lost, or in both"
    assert kept.tolist() == sorted(kept.tolist())
    assert held.tolist() == sorted(held.tolist())
    for c, count in enumerate(counts):
        assert (labels[held] == c).sum() == max(1, round(count * 0.1))
    again = hold_out(labels, seed)
    assert torch.equal(again[1], held)


def test_hold_out_depends_on_the_seed_and_is_random_within_a_class() -> None:
    labels = torch.zeros(1000, dtype=torch.int64)
    first, second = hold_out(labels, 0)[1], hold_out(labels, 1)[1]
    assert not torch.equal(first, second)
    assert 400 < first.double().mean() < 600


@pytest.mark.parametrize(("n", "share"), [(19_999, 0.1), (20_000, 0.05), (60_000, 0.05)])
def test_validation_share(n: int, share: float) -> None:
    assert validation_share(n) == share
    kept, held = hold_out(torch.arange(n) % 10, 0)
    assert abs(len(held) - share * n) <= 5
    assert len(kept) + len(held) == n


def test_take_per_class_takes_what_is_asked_for() -> None:
    labels = torch.tensor([0, 1, 0, 1, 1, 0, 2])
    left, taken = take_per_class(labels, torch.tensor([2, 0, 1]), 0)
    assert torch.bincount(labels[taken], minlength=3).tolist() == [2, 0, 1]
    assert sorted([*left.tolist(), *taken.tolist()]) == list(range(7))
