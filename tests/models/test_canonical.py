"""Canonical correlations and variables against cca-zoo's, of two and of three modalities."""

import numpy as np
import pytest
import torch

from metrics.references.linear_cca import CanonicalAnalysis
from models.coordinated.objectives import correlation, over_pairs
from models.coordinated.projection import canonical_maps

zoo = pytest.importorskip("cca_zoo.linear", reason="cca-zoo needs Python 3.11")

SIZE = 4


def views(count: int, n: int = 300) -> list[torch.Tensor]:
    """Modalities (n, SIZE) that share half of their variables, turned."""
    generator = torch.Generator().manual_seed(count)
    shared = torch.randn(n, SIZE // 2, generator=generator, dtype=torch.float64)
    parts = []
    for k in range(count):
        own = torch.randn(n, SIZE, generator=generator, dtype=torch.float64)
        mixed = torch.cat([shared + (0.5 + 0.2 * k) * own[:, : SIZE // 2], own[:, SIZE // 2 :]], 1)
        parts.append(mixed @ torch.randn(SIZE, SIZE, generator=generator, dtype=torch.float64))
    return parts


def correlations_of(pair: list[torch.Tensor]) -> np.ndarray:
    """Of cca-zoo's canonical variables."""
    found = zoo.CCA(SIZE).fit_transform([x.numpy() for x in pair])
    return np.array([np.corrcoef(a, b)[0, 1] for a, b in zip(*(x.T for x in found), strict=True)])


def test_the_objective_of_dcca_is_the_sum_of_its_correlations() -> None:
    a, b, c = views(3)
    assert float(correlation(a, b, 1e-12)) == pytest.approx(correlations_of([a, b]).sum(), abs=1e-4)
    total = over_pairs({"a": a, "b": b, "c": c}, lambda x, y: correlation(x, y, 1e-12))
    expected = sum(correlations_of([x, y]).sum() for x, y in ((a, b), (a, c), (b, c)))
    assert float(total) == pytest.approx(expected, abs=1e-4)


def test_the_baseline_has_its_correlations() -> None:
    a, b = views(2)
    np.testing.assert_allclose(CanonicalAnalysis(a, b).correlations, correlations_of([a, b]), atol=1e-8)


@pytest.mark.parametrize("count", [2, 3])
def test_canonical_variables_are_its_own_up_to_sign(count: int) -> None:
    """Of three modalities too, where it calls them multiset CCA."""
    parts = views(count)
    maps, _ = canonical_maps(torch.cov(torch.cat(parts, 1).T), count, 1e-12)
    theirs = zoo.MCCA(SIZE).fit_transform([x.numpy() for x in parts])
    for part, w, expected in zip(parts, maps, theirs, strict=True):
        ours = ((part - part.mean(0)) @ w).numpy()
        for k in range(SIZE):
            assert abs(np.corrcoef(ours[:, k], expected[:, k])[0, 1]) == pytest.approx(1, abs=1e-6)
