"""Clusters against the best of all maps and a slow mutual information, and in one pass over a model."""

import math
from itertools import permutations

import numpy as np
import pytest
from evaluation_setup import Oracle, make_setup, said

from metrics.clustering import cluster, cluster_accuracy
from metrics.evaluation.evaluate import evaluate


def slow_accuracy(clusters, labels):
    maps = permutations(range(4))
    return max(sum(p[c] == label for c, label in zip(clusters, labels, strict=True)) for p in maps) / len(
        labels
    )


def test_cluster_accuracy_is_the_best_of_all_maps():
    rng = np.random.default_rng(0)
    for _ in range(20):
        clusters, labels = rng.integers(0, 4, 30), rng.integers(0, 4, 30)
        clusters[:4] = labels[:4] = range(4)
        assert cluster_accuracy(clusters, labels) == pytest.approx(slow_accuracy(clusters, labels))


def test_clusters_of_separate_classes_are_found_and_noise_is_not():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 400)
    centres = 20 * np.eye(10)
    assert cluster(centres[labels] + rng.normal(0, 0.5, (400, 10)), labels, 0) == pytest.approx((1, 1))
    noise = cluster(rng.normal(0, 1, (2000, 5)), rng.integers(0, 10, 2000), 0)
    assert noise.accuracy < 0.16
    assert noise.nmi < 0.03


def slow_nmi(clusters, labels):
    n, information, entropies = len(labels), 0.0, 0.0
    for c in set(clusters):
        for label in set(labels):
            both = sum(a == c and b == label for a, b in zip(clusters, labels, strict=True)) / n
            if both:
                information += both * math.log(both / (np.mean(clusters == c) * np.mean(labels == label)))
    for side in (clusters, labels):
        entropies -= sum(np.mean(side == value) * math.log(np.mean(side == value)) for value in set(side))
    return 2 * information / entropies


def test_mutual_information_is_normalised_by_the_mean_of_the_entropies(monkeypatch):
    """Of ten clusters and three classes of unequal size, whose entropies differ."""
    rng = np.random.default_rng(0)
    clusters, labels = rng.integers(0, 10, 200), rng.choice(3, 200, p=[0.7, 0.2, 0.1])
    labels[clusters < 2] = 2
    monkeypatch.setattr("metrics.clustering.KMeans.fit_predict", lambda self, features: clusters)
    assert cluster(np.zeros((200, 2)), labels, 0).nmi == pytest.approx(slow_nmi(clusters, labels))
    assert slow_nmi(labels, labels) == pytest.approx(1)


def test_clustering_reads_the_representations_of_the_test_items():
    found = evaluate(Oracle(), **make_setup(), metrics=["clustering"]).metrics
    assert found == dict.fromkeys(
        ["cluster_accuracy/a", "cluster_nmi/a", "cluster_accuracy/b", "cluster_nmi/b"], pytest.approx(1)
    )

    class Blind(Oracle):
        def embed(self, inputs):
            return super().embed(inputs) * (0 if "a" in inputs else math.nan)

    found = evaluate(Blind(), **make_setup(), metrics=["clustering"])
    _, labels = make_setup()["test"]["a"]
    assert found.metrics["cluster_accuracy/a"] == pytest.approx(labels.bincount().max().item() / len(labels))
    assert found.metrics["cluster_nmi/a"] == 0
    assert said(found) == dict.fromkeys(
        ["cluster_accuracy/b", "cluster_nmi/b"], "The representation holds values that are not finite."
    )
