"""Coordinated models: objectives against slow obvious code and closed forms, gradients, projections."""

import math

import pytest
import torch
from sklearn.cross_decomposition import CCA
from torch import Tensor, nn

from models.base import LABELS, Modality, NotDefinedError
from models.conformance import CHECKS, ConformanceError
from models.conformance.tools import make_example
from models.coordinated.acmr import class_triplets
from models.coordinated.model import CoordinatedModel
from models.coordinated.objectives import (
    contrastive,
    correlation,
    over_pairs,
    ranking,
    reverse_gradient,
    squared_distance,
    unit,
)
from models.coordinated.projection import CanonicalProjection, canonical_maps
from models.names import find_model, find_models
from models.registry import ModelEntry
from models.settings import resolve

TWO = (Modality("a", (1, 4, 4)), Modality("b", (3, 8, 8)))
LABELLED = torch.tensor([0, 1, 0, 2, 1, 0])


def codes(items: int = 6, size: int = 4, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Two batches of codes of unit length that have something in common."""
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(items, size, generator=generator, dtype=torch.float64)
    b = a + torch.randn(items, size, generator=generator, dtype=torch.float64)
    return unit(a), unit(b)


def slow_contrastive(a: Tensor, b: Tensor, scale: float) -> float:
    total = 0.0
    for i in range(len(a)):
        rows = [math.exp(scale * float(a[i] @ b[j])) for j in range(len(b))]
        columns = [math.exp(scale * float(a[j] @ b[i])) for j in range(len(a))]
        total -= math.log(rows[i] / sum(rows)) + math.log(columns[i] / sum(columns))
    return total / (2 * len(a))


def slow_ranking(a: Tensor, b: Tensor, margin: float, hardest: bool) -> float:
    total = 0.0
    for i in range(len(a)):
        own = float(a[i] @ b[i])
        there = [max(0.0, margin - own + float(a[i] @ b[j])) for j in range(len(a)) if j != i]
        back = [max(0.0, margin - own + float(a[j] @ b[i])) for j in range(len(a)) if j != i]
        total += max(there) + max(back) if hardest else sum(there) + sum(back)
    return total / len(a)


def slow_triplets(a: Tensor, b: Tensor, labels: list[int], margin: float) -> float:
    total = 0.0
    for i, label in enumerate(labels):
        own = [float(a[i] @ b[j]) for j, other in enumerate(labels) if other == label]
        others = [float(a[i] @ b[j]) for j, other in enumerate(labels) if other != label]
        total += max(0.0, margin - min(own) + max(others))
    return total / len(labels)


def slow_correlation(a: Tensor, b: Tensor, ridge: float) -> float:
    """The trace norm of S_aa^(-1/2) S_ab S_bb^(-1/2), by eigenvalues and singular values."""

    def root(x: Tensor) -> Tensor:
        values, vectors = torch.linalg.eigh(torch.cov(x.T) + ridge * torch.eye(x.shape[1]).double())
        return vectors @ torch.diag(values**-0.5) @ vectors.T

    between = torch.cov(torch.cat([a, b], 1).T)[: a.shape[1], a.shape[1] :]
    return float(torch.linalg.svdvals(root(a) @ between @ root(b)).sum())


def test_contrastive_is_the_mean_of_two_cross_entropies() -> None:
    a, b = codes()
    found = contrastive(a, b, torch.tensor(math.log(5.0)).double())
    assert float(found) == pytest.approx(slow_contrastive(a, b, 5.0))


@pytest.mark.parametrize("margin", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("hardest", [False, True])
def test_ranking_is_a_hinge_for_every_negative(margin: float, hardest: bool) -> None:
    a, b = codes()
    assert float(ranking(a, b, margin, hardest)) == pytest.approx(slow_ranking(a, b, margin, hardest))


def test_triplets_take_the_farthest_of_the_class_and_the_nearest_of_the_others() -> None:
    a, b = codes()
    found = class_triplets(a, b, LABELLED, 0.3)
    assert float(found) == pytest.approx(slow_triplets(a, b, LABELLED.tolist(), 0.3))
    assert float(class_triplets(a, b, torch.zeros(6).long(), 0.3)) == 0  # no other class is there


@pytest.mark.parametrize("ridge", [1e-4, 0.1])
@pytest.mark.parametrize("items", [7, 60])
def test_correlation_is_the_trace_norm(items: int, ridge: float) -> None:
    a, b = codes(items, size=5)
    assert float(correlation(a, b, ridge)) == pytest.approx(slow_correlation(a, b, ridge), abs=1e-6)


def test_correlation_is_that_of_scikit_learn() -> None:
    """The sum of the correlations of all canonical variables, without a ridge to speak of."""
    a, b = codes(400, size=4)
    first, second = CCA(n_components=4, max_iter=20_000, tol=1e-12).fit_transform(a.numpy(), b.numpy())
    pairs = (torch.tensor([x, y]) for x, y in zip(first.T, second.T, strict=True))
    expected = sum(float(torch.corrcoef(pair)[0, 1]) for pair in pairs)
    assert float(correlation(a, b, 1e-12)) == pytest.approx(expected, abs=1e-4)


def test_correlation_of_a_linear_map_is_complete_and_of_one_item_nothing() -> None:
    a, _ = codes(50, size=3)
    assert float(correlation(a, a @ torch.randn(3, 3).double(), 1e-10)) == pytest.approx(3, abs=1e-4)
    assert float(correlation(a[:1], a[:1], 1e-3)) == 0


OBJECTIVES = {
    "contrastive": lambda a, b: contrastive(unit(a), unit(b), torch.tensor(1.5).double()),
    "all negatives": lambda a, b: ranking(unit(a), unit(b), 0.2, False),
    "hardest negative": lambda a, b: ranking(unit(a), unit(b), 0.2, True),
    "triplets": lambda a, b: class_triplets(unit(a), unit(b), LABELLED, 0.3),
    "correlation": lambda a, b: correlation(a, b, 0.05),
    "distance": squared_distance,
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_gradients_are_finite_differences(name: str) -> None:
    a, b = (x.clone().requires_grad_() for x in codes())
    assert torch.autograd.gradcheck(OBJECTIVES[name], (a, b), eps=1e-6, atol=1e-5)


def test_over_pairs_is_a_sum_over_all_pairs_of_modalities() -> None:
    a, b = codes()
    c, _ = codes(seed=1)
    expected = squared_distance(a, b) + squared_distance(a, c) + squared_distance(b, c)
    torch.testing.assert_close(over_pairs({"a": a, "b": b, "c": c}, squared_distance), expected)


def test_a_reversed_gradient() -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y = reverse_gradient(x, 0.5)
    assert torch.equal(y, x)
    (3 * y).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [-1.5, -1.5]


def test_canonical_maps_are_those_of_scikit_learn() -> None:
    """Up to signs, which are the same in both modalities; the correlations fall."""
    a, b = codes(500, size=3)
    both = torch.cat([a, b], 1)
    maps, correlations = canonical_maps(torch.cov(both.T), 2, 1e-12)
    ours = [(x - x.mean(0)) @ w for x, w in zip((a, b), maps, strict=True)]
    for x in ours:  # uncorrelated, of variance 1
        torch.testing.assert_close(torch.cov(x.T), torch.eye(3).double(), atol=1e-6, rtol=0)
    theirs = CCA(n_components=3, max_iter=20_000, tol=1e-12).fit_transform(a.numpy(), b.numpy())
    for k in range(3):
        assert float(ours[0][:, k] @ ours[1][:, k]) / 499 == pytest.approx(float(correlations[k]), abs=1e-6)
        signs = []
        for x, y in zip(ours, theirs, strict=True):
            agreement = float(torch.corrcoef(torch.stack([x[:, k], torch.tensor(y[:, k])]))[0, 1])
            assert abs(agreement) == pytest.approx(1, abs=1e-3)
            signs.append(math.copysign(1, agreement))
        assert signs[0] == signs[1]
    assert correlations.tolist() == sorted(correlations.tolist(), reverse=True)


def test_moments_of_equal_batches_are_their_means_and_training_alone_moves_them() -> None:
    projection = CanonicalProjection(["a", "b"], 3, 1e-3).double()
    a, b = codes(40, size=3)
    projection.eval().see({"a": a, "b": b})
    assert float(projection.batches) == 0
    projection.train()
    for start in (0, 20):
        projection.see({"a": a[start : start + 20], "b": b[start : start + 20]})
    both = torch.cat([a, b], 1)
    torch.testing.assert_close(projection.mean, both.mean(0))
    halves = (torch.cov(both[:20].T) + torch.cov(both[20:].T)) / 2
    torch.testing.assert_close(projection.covariance, halves)


def test_dcca_is_dccae_without_reconstructions() -> None:
    entry = find_model("dccae")
    batch = {m.name: torch.rand(9, *m.shape) for m in TWO}
    torch.manual_seed(0)
    model = entry.model(TWO, resolve(entry.settings, {"reconstruction": 0, "latent_size": 3}, "dccae"))
    loss = model.loss(batch, torch.tensor(0.5))
    assert float(loss.total) == pytest.approx(-float(loss.terms["correlation"]))
    assert set(loss.terms) == {"correlation"}


def test_corr_ae_by_hand() -> None:
    entry = find_model("corr-ae")
    batch = {m.name: torch.rand(5, *m.shape) for m in TWO}
    for decodes, pairs in (("own", "aa bb"), ("cross", "ab ba"), ("full", "aa ab ba bb")):
        torch.manual_seed(0)
        model = entry.model(TWO, entry.settings(alpha=0.3, decodes=decodes)).double()
        x = {name: value.double() for name, value in batch.items()}
        code = {name: model.encoders[name](value) for name, value in x.items()}
        expected = 0.3 * sum(float((p - q).square().sum()) for p, q in zip(*code.values(), strict=True)) / 5
        for source, target in pairs.split():
            squares = (model.decoders[target](code[source]) - x[target]).square().sum() / 5
            constant = math.prod(model.modalities[target].shape) * math.log(2 * math.pi)
            expected += 0.7 * (float(squares) + constant) / 2
        assert float(model.loss(x, torch.tensor(0.0)).total) == pytest.approx(expected)


def test_msae_is_joined_after_each_was_trained_alone() -> None:
    model, batch = make_example(find_model("msae"), TWO)
    alone, joined = model.stages()
    first, second = alone.loss(batch, torch.tensor(0.0)), joined.loss(batch, torch.tensor(0.0))
    assert alone.share + joined.share == 1
    expected = sum(first.terms.values()) + squared_distance(*model.codes(batch).values())
    torch.testing.assert_close(second.total, expected)


def test_labels_reach_the_model_and_its_title() -> None:
    entry = find_model("coordinated:acmr")
    assert entry.uses_labels
    assert entry.title == "ACMR (uses labels)"
    model, batch = make_example(entry, TWO)
    assert model.classifier.out_features == 3
    assert batch[LABELS].tolist() == [0, 1, 2, 0, 1, 2, 0]
    batch[LABELS] = batch[LABELS].flip(0).roll(1)
    other = model.loss(batch, torch.tensor(0.5)).total
    batch[LABELS] = torch.zeros_like(batch[LABELS])
    assert not torch.equal(other, model.loss(batch, torch.tensor(0.5)).total)


def test_the_collection_of_models_that_generate_nothing() -> None:
    found = {entry.name for entry in find_models("coordinated:all")}
    assert found >= {"clip", "vsepp", "mnlm", "dccae", "corr-ae", "msae", "corr-rbm", "ucal", "acmr", "gxn"}
    assert not found & {entry.name for entry in find_models("all")}


@pytest.mark.parametrize("entry", find_models("coordinated:all"), ids=lambda entry: entry.name)
def test_they_say_that_they_generate_nothing(entry) -> None:
    model, batch = make_example(entry, TWO)
    for call in (
        lambda: model.generate(2, torch.Generator()),
        lambda: model.translate({"a": batch["a"]}, ["b"]),
    ):
        with pytest.raises(NotDefinedError, match=f"{type(model).__name__} embeds modalities in one space"):
            call()


def test_a_model_that_claims_to_generate_nothing_but_does_is_found_out() -> None:
    class Generous(CoordinatedModel):
        def loss(self, batch, progress):
            raise AssertionError

        def translate(self, inputs, targets, sample=False, generator=None):
            return {name: torch.rand(7, *self.modalities[name].shape) for name in targets}

    entry = ModelEntry("generous", Generous, find_model("mnlm").settings, "nobody", "Generous")
    with pytest.raises(ConformanceError, match="translate gave something: expected NotDefinedError"):
        CHECKS["translate"](entry, TWO)


def test_a_common_space_has_one_number_of_dimensions() -> None:
    class Apart(CoordinatedModel):
        def loss(self, batch, progress):
            raise AssertionError

        def embed(self, inputs):
            return nn.functional.pad(super().embed(inputs), (0, len(inputs)))

    entry = ModelEntry("apart", Apart, find_model("mnlm").settings, "nobody", "Apart")
    with pytest.raises(ConformanceError, match="41 dimensions of a alone, 41 dimensions of b alone and 42"):
        CHECKS["embed"](entry, TWO)
