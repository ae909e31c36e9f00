"""Coherence, the linear probe, the protocol and 8-bit rounding, each against slow obvious code."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics.coherence import cross_coherence, joint_coherence
from metrics.images import as_float, eight_bits
from metrics.probe import MAX_ITERATIONS, ProbeError, linear_probe, probe_indices
from metrics.protocol import Protocol
from models.errors import InputError
from models.settings import describe, resolve

votes = st.integers(1, 40).flatmap(
    lambda n: st.lists(st.lists(st.integers(0, 4), min_size=n, max_size=n), min_size=2, max_size=4)
)


def slow_joint(rows: list[list[int]]) -> tuple[float, float, float | None]:
    agreed = [draw[0] for draw in zip(*rows, strict=True) if len(set(draw)) == 1]
    chance = sum(math.prod(row.count(label) / len(row) for row in rows) for label in range(5))
    entropy = (
        sum(-count / len(agreed) * math.log(count / len(agreed)) for count in Counter(agreed).values())
        if agreed
        else None
    )
    return len(agreed) / len(rows[0]), chance, entropy


@given(votes)
@settings(deadline=None)
def test_joint_coherence_is_the_loop(rows):
    found = joint_coherence({str(i): torch.tensor(row) for i, row in enumerate(rows)}, classes=5)
    expected = slow_joint(rows)
    assert found[:2] == pytest.approx(expected[:2])
    assert found.entropy == (None if expected[2] is None else pytest.approx(expected[2], abs=1e-12))


def test_a_model_that_always_draws_a_one_is_found_out():
    ones = torch.ones(50, dtype=torch.int64)
    assert joint_coherence({"a": ones, "b": ones}, classes=2) == (1.0, 1.0, 0.0)


def test_independent_modalities_agree_by_chance():
    generator = torch.Generator().manual_seed(0)
    drawn = {name: torch.randint(10, (100_000,), generator=generator) for name in "abc"}
    found = joint_coherence(drawn, classes=10)
    assert found.chance == pytest.approx(0.01, rel=0.02)
    assert found.agreement == pytest.approx(found.chance, abs=4 * math.sqrt(0.01 / 100_000))
    assert found.entropy == pytest.approx(math.log(10), abs=0.02)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=50))
@settings(deadline=None)
def test_cross_coherence_is_the_loop(pairs):
    found = cross_coherence(*(torch.tensor(column) for column in zip(*pairs, strict=True)))
    assert found == pytest.approx(sum(a == b for a, b in pairs) / len(pairs))


def make_blobs(n: int, seed: int, spread: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 10
    centres = 3 * torch.eye(10, 12)
    return centres[labels] + spread * torch.randn(n, 12, generator=generator), labels


def test_probe_is_logistic_regression_by_gradient_descent():
    """Multinomial logistic regression, minimised by plain L-BFGS.

    With a penalty of ||w||^2 / 2 beside the summed loss: C = 1.
    """
    x, y = make_blobs(200, 0, spread=2.0)
    x_test, y_test = make_blobs(500, 1, spread=2.0)
    mean, scale = x.double().mean(0), x.double().std(0, correction=0)
    weight, bias = (
        torch.zeros(12, 10, dtype=torch.float64, requires_grad=True),
        torch.zeros(10, dtype=torch.float64, requires_grad=True),
    )
    optimiser = torch.optim.LBFGS(
        [weight, bias], max_iter=2000, tolerance_grad=1e-10, line_search_fn="strong_wolfe"
    )

    def closure():
        optimiser.zero_grad()
        logits = (x.double() - mean) / scale @ weight + bias
        loss = torch.nn.functional.cross_entropy(logits, y, reduction="sum") + weight.square().sum() / 2
        loss.backward()
        return loss

    optimiser.step(closure)
    expected = (((x_test.double() - mean) / scale @ weight + bias).argmax(1) == y_test).double().mean().item()
    assert 0.3 < expected < 0.9
    assert linear_probe(x, y, x_test, y_test) == pytest.approx(expected, abs=0.002)


def test_probe_does_not_mind_scales_nor_a_constant_feature():
    (x, y), (x_test, y_test) = make_blobs(200, 0), make_blobs(500, 1)
    scales = torch.logspace(-4, 4, 12)
    expected = linear_probe(x, y, x_test, y_test)
    padded = [torch.cat([features * scales, torch.ones(len(features), 1)], 1) for features in (x, x_test)]
    assert linear_probe(padded[0], y, padded[1], y_test) == pytest.approx(expected, abs=0.002)


def test_probe_without_convergence_is_no_result(monkeypatch):
    monkeypatch.setattr("metrics.probe.MAX_ITERATIONS", 2)
    (x, y), (x_test, y_test) = make_blobs(200, 0), make_blobs(20, 1)
    with pytest.raises(ProbeError, match="did not converge in 2 iterations"):
        linear_probe(x, y, x_test, y_test)
    assert MAX_ITERATIONS == 2000


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda x, y, t: (x, y, t.index_fill(0, torch.tensor([3]), math.nan)), "not finite"),
        (lambda x, y, t: (x.index_fill(1, torch.tensor([3]), math.inf), y, t), "not finite"),
        (lambda x, y, t: (torch.ones_like(x), y, t), "the same for every train image"),
        (lambda x, y, t: (x, torch.full_like(y, 7), t), "all of class 7"),
    ],
)
def test_probe_says_why_it_has_no_result(spoil, reason):
    (x, y), (x_test, y_test) = make_blobs(50, 0), make_blobs(20, 1)
    x, y, x_test = spoil(x, y, x_test)
    with pytest.raises(ProbeError, match=reason):
        linear_probe(x, y, x_test, y_test)


@given(n=st.integers(1, 300), count=st.integers(1, 300), seed=st.integers(0, 1000))
@settings(deadline=None)
def test_probe_indices_are_distinct_and_repeatable(n, count, seed):
    rows = probe_indices(n, count, seed)
    assert len(rows) == len(set(rows.tolist())) == min(n, count)
    assert set(rows.tolist()) <= set(range(n))
    assert torch.equal(rows, probe_indices(n, count, seed))


def test_probe_indices_depend_on_the_seed_only():
    assert not torch.equal(probe_indices(1000, 500, 0), probe_indices(1000, 500, 1))
    assert torch.equal(probe_indices(1000, 500, 0), probe_indices(1000, 900, 0)[:500])


def test_protocol_has_the_defaults_and_documents_them():
    protocol = Protocol()
    assert (protocol.draws, protocol.joint_draws, protocol.probe_images, protocol.evaluation_seed) == (
        20_000,
        10_000,
        2_000,
        0,
    )
    assert all(row["help"] for row in describe(Protocol))


def test_protocol_refuses_more_joint_draws_than_draws():
    with pytest.raises(InputError, match="joint_draws=300 exceeds draws=200"):
        resolve(Protocol, {"draws": "200", "joint_draws": "300"}, "the protocol")


def test_eight_bits_is_the_nearest_level_and_comes_back():
    levels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(eight_bits(as_float(levels)), levels)
    assert torch.equal(eight_bits(levels), levels)
    x = torch.rand(1000, generator=torch.Generator().manual_seed(0))
    nearest = [
        min(range(256), key=lambda level, value=value: abs(level - 255 * value)) for value in x.tolist()
    ]
    np.testing.assert_array_equal(eight_bits(x), nearest)
