"""The Frechet distance against scipy's matrix square root, pytorch-fid's code, and an exact trace norm."""

import io
import warnings
from itertools import product

import numpy as np
import pytest
import scipy.linalg
import torch
from frechet_reference import by_trace_norm
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics.frechet import CHUNK, Statistics, frechet_distance, root, statistics


def make_features(d: int, n: int, seed: int, relu: bool = False) -> torch.Tensor:
    """Correlated features whose scales span two orders of magnitude.

    Rectified ones have constant columns, as those of networks do.
    """
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(d, d, generator=generator, dtype=torch.float64) / d**0.5
    x = (
        torch.randn(n, d, generator=generator, dtype=torch.float64)
        * torch.logspace(0, -2, d, dtype=torch.float64)
        @ mixing
        + 0.1
    )
    if relu:
        x = x.relu()
        x[:, :2] = 0.0
    return x


def by_sqrtm(a: Statistics, b: Statistics) -> float:
    product = scipy.linalg.sqrtm((a.covariance @ b.covariance).numpy())
    gap = (a.mean - b.mean).numpy()
    return float(
        gap @ gap
        + np.trace(a.covariance.numpy())
        + np.trace(b.covariance.numpy())
        - 2 * np.trace(product).real
    )


def by_pytorch_fid(a: Statistics, b: Statistics) -> float:
    fid_score = pytest.importorskip("pytorch_fid.fid_score")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            return fid_score.calculate_frechet_distance(
                a.mean.numpy(), a.covariance.numpy(), b.mean.numpy(), b.covariance.numpy()
            )
        except TypeError as error:
            pytest.skip(
                f"pytorch-fid calls scipy.linalg.sqrtm in a way that this SciPy no longer takes: {error}"
            )


@pytest.mark.parametrize(
    ("d", "reference"),
    [
        *product((16, 64, 256, 512), (by_sqrtm, by_pytorch_fid)),
        pytest.param(2048, by_pytorch_fid, marks=pytest.mark.slow),
    ],
)
def test_full_rank(d, reference):
    a, b = statistics(make_features(d, 4 * d, 0)), statistics(make_features(d, 5 * d, 1))
    assert frechet_distance(a, b, root(b.covariance)) == pytest.approx(reference(a, b), rel=1e-6)


@pytest.mark.parametrize("reference", [by_sqrtm, by_pytorch_fid])
@pytest.mark.parametrize(("n_a", "n_b"), [(0.5, 0.4), (3.0, 0.4), (0.5, 3.0)])
@pytest.mark.parametrize("d", [16, 128, 512])
def test_rank_deficient(d, n_a, n_b, reference):
    features = make_features(d, int(n_a * d), 0), make_features(d, int(n_b * d), 1)
    a, b = map(statistics, features)
    distance = frechet_distance(a, b)
    assert distance == pytest.approx(reference(a, b), rel=1e-3)
    assert distance == pytest.approx(by_trace_norm(*features), rel=1e-6)
    assert distance == pytest.approx(frechet_distance(b, a), rel=1e-6)


def test_rectified_features_with_constant_columns():
    features = make_features(64, 300, 0, relu=True), make_features(64, 400, 1, relu=True)
    assert frechet_distance(*map(statistics, features)) == pytest.approx(by_trace_norm(*features), rel=1e-9)


def test_one_dimension_by_hand():
    # means 1, 8; variances 2, 18
    a, b = (statistics(torch.tensor(x)) for x in ([[0.0], [2.0]], [[5.0], [11.0]]))
    assert frechet_distance(a, b) == pytest.approx(7**2 + (18**0.5 - 2**0.5) ** 2)


@pytest.mark.parametrize("n", [20, 200])
def test_no_distance_to_itself(n):
    a = statistics(make_features(64, n, 0))
    assert 0 <= frechet_distance(a, a) < 1e-6 * float(a.covariance.trace())


def test_constant_features():
    a, b = statistics(torch.ones(5, 3)), statistics(torch.zeros(7, 3))
    assert frechet_distance(a, b) == pytest.approx(3)


@given(d=st.integers(1, 12), n=st.integers(2, 30), seed=st.integers(0, 10**6))
@settings(deadline=None, max_examples=50)
def test_root_multiplies_back_and_has_the_rank(d, n, seed):
    covariance = statistics(make_features(d, n, seed)).covariance
    factor = root(covariance)
    assert factor.shape == (d, min(d, n - 1))
    torch.testing.assert_close(factor @ factor.T, covariance, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("n", [2, 50, 2 * CHUNK + 3])
def test_statistics_are_numpys(n):
    features = (torch.rand(n, 5, generator=torch.Generator().manual_seed(0)) + 100).float()
    found = statistics(features)
    exact = features.double().numpy()
    np.testing.assert_allclose(found.mean, exact.mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.covariance, np.cov(exact, rowvar=False), rtol=1e-9)
    assert found.count == n
    assert found.mean.dtype == found.covariance.dtype == torch.float64


def test_one_feature_has_no_covariance():
    with pytest.raises(ValueError, match="two or more features, not 1"):
        statistics(torch.zeros(1, 4))


def test_statistics_survive_npz():
    before, file = statistics(make_features(6, 20, 0)), io.BytesIO()
    np.savez(file, **before.arrays())
    file.seek(0)
    with np.load(file) as arrays:
        after = Statistics.restore(arrays)
    assert torch.equal(before.mean, after.mean)
    assert torch.equal(before.covariance, after.covariance)
    assert before.count == after.count


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_features_that_are_not_finite_have_no_distance(value):
    real = statistics(make_features(3, 20, 0))
    broken = make_features(3, 20, 1)
    broken[0, 0] = value
    assert np.isnan(frechet_distance(statistics(broken), real))
