"""Retrieval against slow obvious code and scikit-learn, and its place in the pass over a model."""

import math
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
import torch
from evaluation_setup import THREE, TWO, Oracle, Reader, TinyVAE, make_setup, said
from sklearn.metrics import average_precision_score
from torch import Tensor

from metrics.evaluation.evaluate import evaluate
from metrics.evaluation.retrieval import SHOWN_HITS, SHOWN_QUERIES
from metrics.names import MetricName
from metrics.references.judges import predict
from metrics.retrieval import HITS, RECALLS, chance_precision, first_found, retrieve
from models.base import EmbeddingModel


def items(n: int, seed: int, classes: int = 4, size: int = 5) -> tuple[Tensor, Tensor]:
    """Representations that know a little of their classes, of which there is at least one item each."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.cat([torch.arange(classes), torch.randint(classes, (n - classes,), generator=generator)])
    centres = torch.randn(classes, size, generator=torch.Generator().manual_seed(99))
    return centres[labels] + 1.5 * torch.randn(n, size, generator=generator), labels


def slow(queries: Tensor, labels: Tensor, gallery: Tensor, classes: Tensor) -> tuple[float, dict, np.ndarray]:
    """mAP, hits and the precision-recall curve, one query and one rank at a time."""
    precisions, firsts, curves = [], [], []
    for x, label in zip(queries.double(), labels, strict=True):
        cosines = [float(x @ y / (x.norm() * y.norm())) for y in gallery.double()]
        order = sorted(range(len(gallery)), key=lambda j: -cosines[j])
        relevant = [bool(classes[j] == label) for j in order]
        total, found, points = sum(relevant), 0, []
        for rank, good in enumerate(relevant, 1):
            found += good
            points.append((found / total, found / rank, good))
        precisions.append(sum(precision for _, precision, good in points if good) / total)
        firsts.append(relevant.index(True))
        levels = [k / (RECALLS - 1) for k in range(RECALLS)]
        curves.append([max(p for recall, p, _ in points if recall >= level - 1e-12) for level in levels])
    hits = {count: float(np.mean([first < count for first in firsts])) for count in HITS}
    return float(np.mean(precisions)), hits, np.mean(curves, axis=0)


def test_a_query_may_stand_for_several() -> None:
    queries, gallery, counts = items(9, 1), items(40, 2), torch.arange(1, 10)
    once = retrieve(*queries, *gallery, seed=0, counts=counts)
    repeated = retrieve(*(x.repeat_interleave(counts, 0) for x in queries), *gallery, seed=0)
    assert once.precision == pytest.approx(repeated.precision)
    assert once.hits == pytest.approx(repeated.hits)
    torch.testing.assert_close(once.curve, repeated.curve)
    assert once.precision != pytest.approx(retrieve(*queries, *gallery, seed=0).precision)


@pytest.mark.parametrize("seed", range(3))
def test_against_slow_code(seed: int) -> None:
    """More queries than are ranked at a time, so that their order is tested too."""
    queries, labels = items(300, seed)
    gallery, classes = items(37, seed + 10)
    found = retrieve(queries, labels, gallery, classes, seed=0)
    precision, hits, curve = slow(queries, labels, gallery, classes)
    assert found.precision == pytest.approx(precision)
    assert found.hits == pytest.approx(hits)
    np.testing.assert_allclose(found.curve, curve)


def test_against_scikit_learn() -> None:
    queries, labels = items(40, 1)
    gallery, classes = items(60, 2)
    cosines = torch.nn.functional.normalize(queries) @ torch.nn.functional.normalize(gallery).T
    expected = [
        average_precision_score((classes == label).numpy(), row.numpy())
        for row, label in zip(cosines, labels, strict=True)
    ]
    assert retrieve(queries, labels, gallery, classes, 0).precision == pytest.approx(np.mean(expected))


def test_classes_as_representations() -> None:
    """Perfect ones find all; ones that are the same for everything are a random order, and not the gallery's.

    The gallery is sorted by class here, which ties must not give away.
    """
    labels = torch.arange(200) % 10
    classes = labels.sort().values
    perfect = torch.nn.functional.one_hot(labels), torch.nn.functional.one_hot(classes)
    found = retrieve(perfect[0], labels, perfect[1], classes, 0)
    assert found.precision == 1
    assert found.hits == {1: 1, 5: 1, 10: 1}
    assert found.curve.tolist() == [1] * RECALLS
    nothing = [
        retrieve(torch.ones(200, 3), labels, torch.ones(200, 3), classes, seed).precision
        for seed in range(40)
    ]
    assert np.mean(nothing) == pytest.approx(chance_precision(labels, classes), abs=0.003)
    assert nothing[0] != nothing[1]


def test_chance_is_the_mean_over_all_orders() -> None:
    """Of a gallery so small that all of them can be listed."""

    classes = [0, 0, 1, 1, 1]
    for label, total in ((0, 2), (1, 3)):
        values = []
        for order in permutations(classes):
            hits = [rank for rank, each in enumerate(order, 1) if each == label]
            values.append(sum((k + 1) / rank for k, rank in enumerate(hits)) / total)
        found = chance_precision(torch.tensor([label]), torch.tensor(classes))
        assert found == pytest.approx(np.mean(values))
    # a class that the gallery does not have: nothing is relevant, and the formula has R = 0
    assert chance_precision(torch.tensor([2]), torch.tensor([0, 3])) == chance_precision(
        torch.tensor([9]), torch.tensor([0, 3])
    )


def test_what_is_found_first() -> None:
    queries, gallery = items(9, 1)[0], items(20, 2)[0]
    cosines = torch.nn.functional.cosine_similarity(queries[:, None], gallery[None], dim=2)
    assert torch.equal(first_found(queries, gallery, 6, 0), cosines.topk(6).indices)


class Embedder(EmbeddingModel):
    """Represents what it is given by its first values, which templates have their class in."""

    def __init__(self, modalities=TWO):
        super().__init__(modalities, None)

    def loss(self, batch, progress):
        raise AssertionError("it is not trained")

    def embed(self, inputs):
        return torch.stack([x.flatten(1)[:, :10] for x in inputs.values()]).mean(0)


@pytest.mark.parametrize("modalities", [TWO, THREE], ids=["two", "three"])
def test_every_direction_of_a_model(modalities) -> None:
    setup = make_setup(modalities)
    found = evaluate(TinyVAE(modalities).eval(), **setup, metrics=["retrieval"])
    codes = {}
    model = TinyVAE(modalities).eval()
    with torch.inference_mode():
        for name, (images, _) in setup["test"].items():
            codes[name] = model.infer({name: images / 255})
    means = []
    for source in codes:
        for target in codes.keys() - {source}:
            labels = setup["test"][source][1], setup["test"][target][1]
            expected = slow(codes[source], labels[0], codes[target], labels[1])
            means.append(expected[0])
            name = f"{source}->{target}"
            assert found.metrics[f"label_map/{name}"] == pytest.approx(expected[0], abs=1e-4)
            assert [found.metrics[f"hit_at_{k}/{name}"] for k in HITS] == pytest.approx(
                list(expected[1].values())
            )
            np.testing.assert_allclose(found.diagnostics.recall[source, target], expected[2], atol=1e-4)
    assert found.metrics["label_map_mean"] == pytest.approx(np.mean(means), abs=1e-4)
    assert found.metrics["label_map_judge"] > 0.9  # the judge reads templates, a little noise on them
    assert found.metrics["label_map_chance"] == pytest.approx(0.12, abs=0.03)
    assert found.metrics["label_map_cca"] == 0.25  # that of the references
    assert found.missing == {}


class Careless(Reader):
    """A judge that looks at half of the classes alone, so that it is often wrong."""

    def forward(self, x):
        return super().forward(x) * (torch.arange(self.classes) % 2)


def test_the_judges_classes_retrieve_as_representations_do() -> None:
    """Query by query, all of them."""
    setup = make_setup()
    judges = {name: Careless().eval() for name in "ab"}
    setup["references"] = replace(setup["references"], judges=judges)
    found = evaluate(TinyVAE(TWO).eval(), **setup, metrics=["retrieval"]).metrics["label_map_judge"]
    codes = {
        name: (torch.nn.functional.one_hot(predict(judges[name], images), 10), labels)
        for name, (images, labels) in setup["test"].items()
    }
    seed = setup["protocol"].evaluation_seed
    expected = [retrieve(*codes[a], *codes[b], seed).precision for a, b in permutations("ab")]
    assert found == pytest.approx(np.mean(expected), abs=1e-9)
    assert 0.2 < found < 0.9


def test_what_a_picture_shows() -> None:
    setup = make_setup()
    found = evaluate(Embedder(), **setup, metrics=["retrieval"]).samples.found
    assert set(found) == {("a", "b"), ("b", "a")}
    for (source, target), shown in found.items():
        assert len(set(shown.labels.tolist())) == len(shown.labels) == SHOWN_QUERIES
        assert shown.classes.shape == shown.hits.shape[:2] == (SHOWN_QUERIES, SHOWN_HITS)
        for images, labels, name in (
            (shown.queries, shown.labels, source),
            (shown.hits.reshape(-1, *shown.hits.shape[2:]), shown.classes.flatten(), target),
        ):
            stored, classes = setup["test"][name]
            for image, label in zip(images, labels, strict=True):
                same = (stored == torch.from_numpy(image)).flatten(1).all(1)
                assert label in classes[same].tolist()


def test_a_model_that_generates_nothing_says_so_everywhere_else() -> None:
    found = evaluate(Embedder(), **make_setup())
    assert found.samples.cross == {}
    assert found.samples.joint == {}
    values = {MetricName.parse(name).kind for name, value in found.metrics.items() if value is not None}
    baselines = {"label_map_chance", "label_map_judge", "label_map_cca"}
    kinds = {"label_map", "label_map_mean", "probe"} | baselines
    assert values == kinds | {f"hit_at_{count}" for count in HITS}
    why = said(found)
    nothing = "Not defined: Embedder embeds modalities in one space and generates nothing."
    assert why["joint_coherence"] == why["cross_coherence/a->b/sample"] == why["fd_clf/a"] == nothing
    assert found.diagnostics.latent is not None


def test_a_model_without_a_common_space_says_so() -> None:
    found = evaluate(Oracle(), **make_setup(), metrics=["retrieval"])
    lacking = {name for name, value in found.metrics.items() if value is None}
    assert lacking == set(found.metrics) - {"label_map_chance", "label_map_judge", "label_map_cca"}
    assert {said(found)[name] for name in lacking} == {
        "Not defined: Oracle has no common space: its modalities are represented in spaces of their own, "
        "between which nothing can be compared."
    }
    assert found.samples.found == {}


def test_values_that_are_not_finite_are_said() -> None:
    class Broken(Embedder):
        def embed(self, inputs):
            return super().embed(inputs) * (math.nan if "b" in inputs else 1)

    found = evaluate(Broken(), **make_setup(), metrics=["retrieval"])
    assert said(found)["label_map/a->b"] == "The representation holds values that are not finite."
    assert said(found)["label_map_mean"] == "The representation holds values that are not finite."
