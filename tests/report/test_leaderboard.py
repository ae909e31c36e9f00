"""Which differences are tested, and what the leaderboard says of those that are not."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from table_runs import JOINT, make_run

from mmbench.report.numbers.leaderboard import LEVEL, UNTESTED, build_leaderboard, varies, welch
from mmbench.report.numbers.tables import build_tables

VALUES = st.lists(st.floats(-10, 10).map(lambda x: round(x, 2)), min_size=2, max_size=6, unique=True)


@settings(deadline=None)
@given(VALUES, VALUES)
def test_welch_is_the_formula(a, b):
    """t = (mean a - mean b) / sqrt(u + v) with u = var a / n_a and v = var b / n_b.

    It has about (u + v)^2 / (u^2 / (n_a - 1) + v^2 / (n_b - 1)) degrees of freedom.
    """
    u, v = np.var(a, ddof=1) / len(a), np.var(b, ddof=1) / len(b)
    freedom = (u + v) ** 2 / (u**2 / (len(a) - 1) + v**2 / (len(b) - 1))
    t = abs(np.mean(a) - np.mean(b)) / math.sqrt(u + v)
    assert welch(a, b) == pytest.approx(2 * stats.t.sf(t, freedom), rel=1e-6)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((0.10, 0.10), (0.101, 0.101)),
        ((0.1 + 0.2, 0.3), (0.5, 0.6)),  # which differ by rounding alone
        ((1, 1, 1), (1, 2, 3)),
        ((0.0, 0.0), (0.0, 0.0)),
        ((0.5,), (0.1, 0.2)),
        ((), (0.1, 0.2)),
    ],
)
def test_without_variance_nothing_is_tested(a, b):
    assert welch(a, b) is None
    assert welch(b, a) is None


def test_variance_is_relative_to_the_values():
    assert not varies((1e6, 1e6 + 1e-6))
    assert varies((1e-6, 2e-6))
    assert varies((0.1234, 0.1235))
    assert welch((0.1234, 0.1235), (0.5, 0.6)) is not None


def board(**values):
    runs = [
        make_run(model, seed, metrics={JOINT: value})
        for model, of in values.items()
        for seed, value in enumerate(of)
    ]
    models = [[run for run in runs if run.model == model] for model in values]
    entries = (line.entries[0] for line in build_leaderboard(build_tables(runs), models).lines)
    return dict(zip(values, entries, strict=True))


def test_the_leaderboard_says_what_was_not_tested():
    found = board(mmvae=(0.101, 0.101), mopoe=(0.10, 0.10), mvae=(0.05, 0.06))
    assert found["mmvae"].cell.best
    assert [entry.cell.note for entry in found.values()] == ["", UNTESTED, UNTESTED]
    assert not any(entry.level for entry in found.values())


def test_the_leaderboard_tests_what_varies():
    found = board(mmvae=(0.30, 0.32), mopoe=(0.29, 0.32), mvae=(0.10, 0.10), cada=(0.01, 0.02))
    assert [entry.level for entry in found.values()] == [False, True, False, False]
    assert [entry.cell.note for entry in found.values()] == ["", "", UNTESTED, ""]
    assert welch((0.30, 0.32), (0.01, 0.02)) <= LEVEL
