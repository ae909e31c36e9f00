"""Precision, recall, density and coverage against loops over pairs, and in one pass over a model."""

import math
from dataclasses import replace

import pytest
import torch
from evaluation_setup import PROTOCOL, Oracle, TinyVAE, make_setup, said

import metrics.evaluation.prdc
from metrics.evaluation.evaluate import evaluate
from metrics.images import as_float
from metrics.prdc import NEIGHBOURS, prdc
from metrics.probe import probe_indices
from models.base import NotDefinedError


def slow_prdc(real, generated, k):
    def inside(point, centre, others):
        """Whether `point` is in the ball of `centre`, one of `others`."""
        return math.dist(point, centre) <= sorted(math.dist(centre, other) for other in others)[k]

    real, generated = real.tolist(), generated.tolist()
    of_real = [[inside(y, x, real) for x in real] for y in generated]
    of_generated = [[inside(x, y, generated) for y in generated] for x in real]
    precision = sum(any(row) for row in of_real) / len(generated)
    recall = sum(any(row) for row in of_generated) / len(real)
    density = sum(sum(row) for row in of_real) / (k * len(generated))
    coverage = sum(any(row[i] for row in of_real) for i in range(len(real))) / len(real)
    return precision, recall, density, coverage


@pytest.mark.parametrize("k", [1, 3])
def test_prdc_is_the_loop(k, monkeypatch):
    monkeypatch.setattr("metrics.prdc.BLOCK", 7)
    generator = torch.Generator().manual_seed(k)
    real, generated = (
        torch.randn(25, 3, generator=generator),
        1 + 0.8 * torch.randn(32, 3, generator=generator),
    )
    found, expected = prdc(real, generated, k), slow_prdc(real, generated, k)
    assert found == pytest.approx(expected)
    assert len(set(expected)) == 4  # so that none can stand in for another


def test_two_samples_of_one_distribution_have_density_one_and_the_coverage_on_paper():
    x = torch.randn(2, 3000, 4, generator=torch.Generator().manual_seed(0))
    n = 3000
    # Naeem et al. 2020, section 3
    missed = math.prod((n - i) / (2 * n - i) for i in range(1, NEIGHBOURS + 1))
    found = prdc(*x)
    assert found.density == pytest.approx(1, abs=0.05)
    assert found.coverage == pytest.approx(1 - missed, abs=0.02)


def test_repeated_items_are_in_the_balls_of_their_equals():
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(4, 128, generator=generator) * 100
    # each in the balls of 10 equals, and k = 5
    assert prdc(points.repeat(10, 1), points.repeat(10, 1)) == (1, 1, 2, 1)
    assert prdc(points.repeat(10, 1), points.repeat(10, 1) + 1) == (0, 0, 0, 0)


class Noisy(Oracle):
    """Draws what test items are made as, with a little more noise."""

    def generate(self, n, generator):
        drawn = super().generate(n, generator)
        return {
            name: (x + 0.5 * torch.rand(x.shape, generator=generator)).clamp(0, 1)
            for name, x in drawn.items()
        }


def test_prdc_reads_the_draws_of_fd_clf_and_as_many_test_items(monkeypatch):
    monkeypatch.setattr(metrics.evaluation.prdc, "COUNT", 120)
    model, setup, seen = Noisy(), make_setup(), []
    found = evaluate(
        model, **setup, metrics=["prdc"], progress=lambda task, done, total: seen.append((task, done, total))
    ).metrics
    draws = model.generate(500, torch.Generator().manual_seed(0))
    rows = probe_indices(205, 120, 0)
    for name in "ab":
        generated = (draws[name][:120] * 255).round().flatten(1) / 255
        expected = slow_prdc(as_float(setup["test"][name][0][rows]).flatten(1), generated, NEIGHBOURS)
        assert len(set(expected) - {0, 1}) >= 3  # hardly any of them as it would be of any draws
        assert [
            found[f"{kind}/{name}"] for kind in ("precision", "recall", "density", "coverage")
        ] == pytest.approx(expected)
        assert (f"neighbours of {name}", 360, 360) in seen


def test_prdc_without_its_needs_says_why():
    few = make_setup(protocol=replace(PROTOCOL, draws=5, joint_draws=5))
    found = evaluate(TinyVAE(), **few, metrics=["prdc"])
    assert said(found)["recall/b"] == "It takes more than 5 test items and draws; of b there are 5."
    found = evaluate(TinyVAE(), **make_setup(spaces=()), metrics=["prdc"])
    assert said(found)["density/a"] == "There are no reference features for a."

    class Priorless(TinyVAE):
        def prior(self, n, generator):
            raise NotDefinedError("It has no prior.")

    found = evaluate(Priorless(), **make_setup(), metrics=["prdc"])
    assert len(found.metrics) == 8
    assert set(said(found).values()) == {"Not defined: It has no prior."}
