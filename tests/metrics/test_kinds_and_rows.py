"""Judges of vectors and of images of any size, pairs by row, data without labels, and many modalities."""

import math
from itertools import combinations

import pytest
import torch
from evaluation_setup import PROTOCOL, THREE, Oracle, make_setup
from torch.nn.functional import one_hot

from metrics.catalogue import GROUPS, SUBSETS, subsets
from metrics.evaluation.evaluate import References, evaluate
from metrics.images import as_stored
from metrics.protocol import Protocol
from metrics.references.judges import accuracy, judge_identity, make_judge, train_judge
from metrics.references.statistics import UNLABELLED
from models.base import Modality


@pytest.mark.parametrize("scale", [1.0, 0.01])
def test_a_judge_learns_vectors_of_any_spread(scale):
    """Classes that are told apart by signs, not by shares."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(600) % 4
    means = torch.tensor([[1.0, 1, 0], [1, -1, 0], [-1, 1, 0], [-1, -1, 0]])
    z = means[labels] + 0.2 * torch.randn(600, 3, generator=generator)
    x = 0.5 + scale * z / 5
    judge = train_judge(x[100:], labels[100:], 4, Protocol(judge_steps=60, judge_batch_size=64), vector=True)
    assert accuracy(judge, x[:100], labels[:100]) > 0.95
    assert "VectorJudge" in str(judge_identity((3,), 4, Protocol(), vector=True))
    assert "CountJudge" in str(judge_identity((3,), 4, Protocol()))


@pytest.mark.parametrize("shape", [(1, 7, 5), (4, 9, 11), (1, 3, 4), (2, 30, 13)])
def test_a_judge_of_images_of_any_size(shape):
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(120) % 2
    x = (torch.rand(120, *shape, generator=generator) * 100 + 100 * labels.view(-1, 1, 1, 1)).byte()
    judge = train_judge(x, labels, 2, Protocol(judge_steps=30, judge_batch_size=40))
    assert accuracy(judge, x, labels) > 0.9


def test_the_border_of_an_even_image_is_none():
    assert not any(make_judge((1, 28, 28), 10).border)
    assert make_judge((1, 7, 5), 10).border == (0, 3, 0, 1)


def test_vectors_keep_their_bits():
    x = torch.rand(9, 4)
    assert as_stored(Modality("v", (4,), "gaussian"), x) is x
    assert as_stored(Modality("c", (4,), "poisson", words=9), x) is x
    assert as_stored(Modality("i", (1, 2, 2)), x.view(9, 1, 2, 2)).dtype == torch.uint8


def test_subsets_are_all_of_them_up_to_six_modalities():
    for count in range(2, 11):
        names = [f"m{i}" for i in range(count)]
        for size in range(1, count):
            found = subsets(names, size)
            assert len(found) == len(set(found)) == min(math.comb(count, size), SUBSETS)
            assert set(found) <= set(combinations(names, size))
            assert found == subsets(names, size)
            if math.comb(count, size) <= SUBSETS:
                assert found == list(combinations(names, size))


def test_what_ten_modalities_cost():
    names = GROUPS["coherence"].names([f"m{i}" for i in range(10)])
    assert len(names) == len(set(names)) < 1_700


def unlabelled(count=60):
    """A setup of Oracle's data in which every item's label is its row; both modalities have the same rows."""
    setup = make_setup()
    order = {name: labels.sort().indices[:count] for name, (_, labels) in setup["test"].items()}
    rows = torch.arange(count)
    setup["test"] = {name: (items[order[name]], rows) for name, (items, _) in setup["test"].items()}
    setup["references"] = References({}, {}, 0, (), {"judges": UNLABELLED, "fd_clf": UNLABELLED})
    return setup


class Rows(Oracle):
    """Knows the row of what it embeds, of all but the last ten."""

    common_space = True

    def embed(self, inputs):
        ((_, x),) = inputs.items()
        rows = torch.arange(len(x))
        return one_hot(torch.where(rows < len(x) - 10, rows, 0), 60).float()


def test_without_labels_items_find_those_of_their_row():
    setup = unlabelled()
    found = evaluate(Rows(), **setup, metrics=["retrieval", "coherence", "probe", "clustering", "sampler"])
    # 49 rows find theirs at once; eleven codes are the same, among which the order is random
    assert 49 / 60 <= found.metrics["hit_at_1/a->b"] < 1
    assert found.metrics["label_map_chance"] == pytest.approx(sum(1 / j for j in range(1, 61)) / 60)
    for name in (
        "joint_coherence",
        "cross_coherence/a->b/mean",
        "probe/a",
        "cluster_accuracy/b",
        "label_map_judge",
    ):
        assert found.metrics[name] is None
        assert "have no labels" in found.missing[name].sentence
    shown = found.samples.found["a", "b"]
    assert shown.labels.tolist() == list(range(5))
    assert shown.classes.max() == 5  # of other rows
    assert all(set(row) <= {i, 5} for i, row in enumerate(shown.classes.tolist()))
    assert set(found.samples.cross["a", "b"].labels) == {0}


def test_queries_without_an_answer_are_left_out():
    setup = unlabelled()
    (items, rows), other = setup["test"]["a"], setup["test"]["b"]
    setup["test"] = {"a": (items[:30], rows[:30]), "b": (other[0][20:], other[1][20:])}
    found = evaluate(Rows(), **setup, metrics=["retrieval"])
    assert found.metrics["label_map_chance"] == pytest.approx(
        0.5 * (sum(1 / j for j in range(1, 41)) / 40 + sum(1 / j for j in range(1, 31)) / 30)
    )
    assert 0 <= found.metrics["hit_at_1/a->b"] <= 1
    setup["test"]["b"] = (other[0][40:], other[1][40:])
    found = evaluate(Rows(), **setup, metrics=["retrieval"])
    assert found.metrics["label_map/a->b"] is None
    assert "No test item has one that belongs to it" in found.missing["label_map/a->b"].sentence


def test_conditions_of_several_modalities_are_complete_rows():
    """Of three modalities; where a row lacks one, it is no condition from that; without any that is said."""
    setup = make_setup(THREE)
    count = {name: len(labels) for name, (_, labels) in setup["test"].items()}
    tuples = {name: rows.clone() for name, rows in setup["tuples"].items()}
    tuples["a"][: count["a"] // 2, 1] = -1
    setup["tuples"] = tuples
    values = evaluate(Oracle(THREE), **setup, metrics=["coherence"]).metrics
    assert values["cross_coherence/a+b->c/mean"] == 1
    tuples["a"][:, 1] = -1
    found = evaluate(Oracle(THREE), **setup, metrics=["coherence"])
    assert found.missing["cross_coherence/a+b->c/mean"].sentence == "No test row has all of a, b."
    assert found.metrics["cross_coherence/a->c/mean"] == 1
    assert PROTOCOL.evaluation_seed == setup["protocol"].evaluation_seed
