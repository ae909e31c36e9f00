"""Linear CCA against scikit-learn's, and as a baseline of retrieval."""

import numpy as np
import pytest
import torch
from evaluation_setup import TWO, make_data
from sklearn.cross_decomposition import CCA

from metrics.references import linear_cca
from metrics.references.linear_cca import CanonicalAnalysis, linear_cca_precision, pairs_of_one_class
from metrics.retrieval import retrieve


def views(n=400):
    """Two modalities that share three variables of five and seven."""
    generator = torch.Generator().manual_seed(0)
    shared, own = torch.randn(n, 3, generator=generator), torch.randn(n, 12, generator=generator)
    turn = torch.randn(12, 12, generator=generator)
    a = torch.cat([shared, own[:, :2]], 1) @ turn[:5, :5]
    b = torch.cat([shared + 0.7 * own[:, 2:5], own[:, 5:9]], 1) @ turn[:7, :7]
    return a, b


def test_correlations_and_variables_are_those_of_scikit_learn():
    a, b = (x.double() for x in views())
    analysis = CanonicalAnalysis(a, b)
    slow = CCA(5, scale=False, max_iter=5_000, tol=1e-12).fit(a.numpy(), b.numpy())
    expected = [np.corrcoef(*pair)[0, 1] for pair in zip(*(x.T for x in slow.transform(a, b)), strict=True)]
    np.testing.assert_allclose(analysis.correlations, expected, atol=1e-6)
    ours, theirs = analysis.embed(a, b)[0].numpy(), slow.transform(a.numpy())
    for k in range(3):  # up to sign and scale
        assert abs(np.corrcoef(ours[:, k], theirs[:, k])[0, 1]) == pytest.approx(1, abs=1e-6)
    spread = analysis.embed(a, b)[1].std(0)
    torch.testing.assert_close(spread, analysis.correlations, atol=1e-6, rtol=0)  # their weights


def test_constant_dimensions_and_few_pairs_are_no_harm():
    a, b = views(4)
    a = torch.cat([a, torch.zeros(4, 2)], 1)
    analysis = CanonicalAnalysis(a, b)
    assert all(code.isfinite().all() for code in analysis.embed(a, b))
    none = CanonicalAnalysis(torch.zeros(4, 2), b).embed(torch.zeros(5, 2), b)
    assert none[0].shape[1] == none[1].shape[1]
    assert not none[0].any()


def test_pairs_are_of_one_class_and_at_random():
    labels, classes = torch.arange(600) % 6, torch.arange(80) % 4  # 4 and 5 have no partner
    first, second = pairs_of_one_class(labels, classes, 0)
    assert torch.equal(labels[first], classes[second])
    assert set(labels[first].tolist()) == {0, 1, 2, 3}
    assert sorted(first.tolist()) == [row for row in range(600) if row % 6 < 4]
    assert len(set(second.tolist())) > 70
    assert not torch.equal(second, pairs_of_one_class(labels, classes, 1)[1])


def test_as_many_pairs_as_are_wanted_of_rows_that_belong_together(monkeypatch):
    monkeypatch.setattr(linear_cca, "PAIRS", 10)
    first, second = pairs_of_one_class(torch.arange(50), torch.arange(50).flip(0), 0)
    assert len(first) == 10
    assert torch.equal(second, 49 - first)  # without labels, rows are their own class


def test_what_correlates_is_found():
    """Templates of a class are alike in both modalities, so a linear map finds more than chance."""
    train, test = make_data(TWO, 300, 1, 10), make_data(TWO, 205, 2, 10)
    found = linear_cca_precision(train, test, 0, lambda done, total: None)
    analysis = CanonicalAnalysis(
        *(
            train[name][0][rows] / 255
            for name, rows in zip("ab", pairs_of_one_class(train["a"][1], train["b"][1], 0), strict=True)
        )
    )
    a, b = analysis.embed(test["a"][0] / 255, test["b"][0] / 255)
    there = retrieve(a, test["a"][1], b, test["b"][1], 0).precision
    back = retrieve(b, test["b"][1], a, test["a"][1], 0).precision
    assert found == pytest.approx((there + back) / 2)
    assert found > 0.5


def test_nothing_is_found_where_nothing_belongs_together():
    items = {"a": (torch.rand(9, 4), torch.zeros(9)), "b": (torch.rand(9, 4), torch.ones(9))}
    assert linear_cca_precision(items, items, 0, lambda done, total: None) is None
