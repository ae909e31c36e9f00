"""As many classes as the data have: judges, coherence, confusions, clusters, conditions shown."""

import math

import numpy as np
import pytest
import torch
from evaluation_setup import Oracle, make_setup, said
from torch.nn.functional import one_hot

from metrics.clustering import cluster
from metrics.evaluation.evaluate import evaluate
from metrics.evaluation.samples import _shown
from metrics.protocol import Protocol
from metrics.references.judges import accuracy, judge_identity, train_judge


@pytest.mark.parametrize("classes", [2, 7, 10, 12])
def test_figures_of_an_oracle(classes):
    """It forgets the class of three conditions in ten, and then makes the next class."""
    setup = make_setup(classes=classes)
    found = evaluate(Oracle(classes=classes), **setup, metrics=["coherence", "clustering"])
    values = found.metrics
    assert values["joint_coherence"] == 1
    assert values["joint_coherence/chance"] == pytest.approx(1 / classes, rel=0.1)
    assert math.log(classes) - 0.05 < values["joint_coherence/entropy"] <= math.log(classes) + 1e-12
    assert (values["cluster_accuracy/a"], values["cluster_nmi/b"]) == pytest.approx((1, 1))
    assert values["cross_coherence/a->b/mean"] == 1
    counts = found.diagnostics.confusion["a", "b"]
    assert counts.shape == (classes, classes)
    assert counts.sum(axis=1).tolist() == setup["test"]["a"][1].bincount().tolist()
    right = counts.trace() / counts.sum()
    assert right == values["cross_coherence/a->b/sample"] == pytest.approx(0.7, abs=0.1)
    assert counts.trace() + np.roll(counts, -1, axis=1).trace() == counts.sum()
    shown = found.samples.cross["a", "b"].labels
    assert shown.tolist() == [label for label in range(classes) for _ in range(4)]


def test_a_class_that_no_test_item_has():
    """It stays in confusions; k-means makes no cluster for it."""
    setup = make_setup(classes=5)
    setup["test"] = {
        name: (items[labels != 3], labels[labels != 3]) for name, (items, labels) in setup["test"].items()
    }
    found = evaluate(Oracle(classes=5), **setup, metrics=["coherence", "clustering"])
    assert (found.metrics["cluster_accuracy/a"], found.metrics["cluster_nmi/a"]) == pytest.approx((1, 1))
    assert found.diagnostics.confusion["a", "b"].shape == (5, 5)
    assert found.diagnostics.confusion["a", "b"][3].tolist() == [0] * 5
    assert set(found.samples.cross["a", "b"].labels) == {0, 1, 2, 4}


def test_seven_classes_are_seven_clusters():
    """Blobs so far apart that every item is in the cluster of its class."""
    labels = np.repeat(np.arange(7), 60)
    features = np.eye(7)[labels] * 8 + np.random.default_rng(0).normal(size=(420, 7))
    assert cluster(features, labels, 0) == pytest.approx((1, 1))
    assert cluster(features[labels > 1], labels[labels > 1], 0) == pytest.approx((1, 1))


@pytest.mark.parametrize(
    ("labels", "which"), [([0, 1], "2 test items of 2"), ([1, 1, 1], "3 test items of 1")]
)
def test_clusters_that_would_fit_whatever_the_model_have_no_value(labels, which):
    setup = make_setup(classes=2)
    setup["test"] = {
        name: (items[: len(labels)], torch.tensor(labels)) for name, (items, _) in setup["test"].items()
    }
    found = evaluate(Oracle(classes=2), **setup, metrics=["clustering"])
    assert set(found.metrics.values()) == {None}
    assert (
        said(found)["cluster_nmi/b"]
        == f"Clusters take two classes and more items than classes; of b there are {which}."
    )


def test_of_very_many_classes_some_are_shown_and_no_confusion_is_kept(monkeypatch):
    labels = torch.arange(1500) % 300
    rows = _shown(labels, 0)
    assert len(rows) == 400 == len(set(rows.tolist()))
    shown = labels[rows].tolist()
    assert shown == sorted(shown)
    assert len(set(shown)) == 100
    assert {0, 299} < set(shown)
    monkeypatch.setattr("metrics.evaluation.coherence.CELLS", 2 * 6**2)
    for classes, directions in ((6, 2), (7, 0)):
        found = evaluate(Oracle(classes=classes), **make_setup(classes=classes), metrics=["coherence"])
        assert len(found.diagnostics.confusion) == directions


@pytest.mark.parametrize("shape", [(1, 8, 8), (2, 12)])
def test_judges_tell_as_many_classes_apart_as_there_are(shape):
    """A picture or a word for each; class 11 has no item, and the judge an output for it."""
    classes, labels = 12, torch.arange(110) % 11
    if len(shape) == 2:  # the first symbol
        items = one_hot(torch.stack([labels, torch.zeros_like(labels)], 1), shape[1]).to(torch.uint8) * 255
    else:
        pictures = torch.randint(256, (classes, *shape), generator=torch.Generator().manual_seed(0))
        items = pictures[labels].to(torch.uint8)
    judge = train_judge(items, labels, classes, Protocol(judge_steps=60, judge_batch_size=64))
    assert judge(items / 255).shape == (110, classes)
    assert accuracy(judge, items, labels) > 0.9


def test_the_number_of_classes_is_part_of_what_a_judge_is():
    identities = [str(judge_identity((1, 8, 8), classes, Protocol())) for classes in (2, 10, 12)]
    assert len(set(identities)) == 3
