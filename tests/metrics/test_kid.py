"""KID against loops over pairs, against its expectation, and in one pass over a model."""

import math

import pytest
import torch
from evaluation_setup import PROTOCOL, THREE, Oracle, TinyVAE, make_setup, said

from metrics.evaluation import kid as module
from metrics.evaluation.evaluate import evaluate
from metrics.evaluation.kid import kid, squared_mmd
from metrics.images import as_float
from metrics.probe import probe_indices
from models.base import NotDefinedError


def kernel(x, y):
    return (sum(a * b for a, b in zip(x, y, strict=True)) / len(x) + 1) ** 3


def slow_mmd(real, generated):
    real, generated = real.tolist(), generated.tolist()
    m, n = len(real), len(generated)
    of_real = sum(kernel(a, b) for i, a in enumerate(real) for j, b in enumerate(real) if i != j)
    of_generated = sum(
        kernel(a, b) for i, a in enumerate(generated) for j, b in enumerate(generated) if i != j
    )
    between = sum(kernel(a, b) for a in real for b in generated)
    return of_real / (m * (m - 1)) + of_generated / (n * (n - 1)) - 2 * between / (m * n)


def features(n, d, seed, shift=0.0):
    return shift + torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("m", "d", "shift"), [(2, 1, 0.0), (15, 3, 0.5), (20, 7, -1.0)])
def test_the_estimate_is_the_loop_over_pairs(m, d, shift):
    real, generated = features(m, d, 1), features(m, d, 2, shift)
    assert squared_mmd(real, generated) == pytest.approx(slow_mmd(real, generated), rel=1e-9)


def test_it_is_unbiased():
    """Of one distribution the mean over many small samples is zero."""
    estimates = [squared_mmd(features(5, 2, 2 * i), features(5, 2, 2 * i + 1)) for i in range(1000)]
    spread = torch.tensor(estimates).std().item() / math.sqrt(len(estimates))
    assert abs(sum(estimates) / len(estimates)) < 3 * spread
    assert min(estimates) < 0


def test_it_is_the_mean_over_random_subsets(monkeypatch):
    monkeypatch.setattr(module, "SUBSETS", 4)
    monkeypatch.setattr(module, "SIZE", 6)
    real, generated, seen = features(20, 3, 1), features(11, 3, 2, 0.3), []
    generator, expected = torch.Generator().manual_seed(7), []
    for _ in range(4):
        rows = [torch.randperm(n, generator=generator)[:6] for n in (20, 11)]
        expected.append(slow_mmd(real[rows[0]], generated[rows[1]]))
    found = kid(real, generated, 7, lambda done, total: seen.append((done, total)))
    assert found == pytest.approx(sum(expected) / 4, rel=1e-9)
    assert seen == [(done, 4) for done in (1, 2, 3, 4)]
    assert len(set(expected)) == 4


def test_subsets_are_no_larger_than_either_side():
    real, generated = features(30, 3, 1), features(12, 3, 2, 0.3)
    assert kid(real[:12], generated) == pytest.approx(squared_mmd(real[:12], generated), rel=1e-9)
    assert kid(real, generated) == pytest.approx(slow_mmd(real, generated), abs=0.2)


def test_a_pass_reads_the_draws_of_fd_clf_and_random_test_items(monkeypatch):
    monkeypatch.setattr(module, "COUNT", 150)
    monkeypatch.setattr(module, "SUBSETS", 3)
    model, setup = TinyVAE(THREE), make_setup(THREE)
    found = evaluate(model, **setup, metrics=["kid"])
    assert set(found.metrics) == {"kid/a", "kid/b", "kid/c"}
    with torch.no_grad():
        draws = model.eval().generate(500, torch.Generator().manual_seed(0))
    rows = probe_indices(205, 150, 0)
    for name in "ab":
        generated = (draws[name][:150] * 255).round().flatten(1) / 255
        real = as_float(setup["test"][name][0][rows]).flatten(1)
        assert found.metrics[f"kid/{name}"] == pytest.approx(kid(real, generated), rel=1e-5)
        assert found.metrics[f"kid/{name}"] > 0.01


def test_good_draws_are_nearer_than_bad_ones():
    setup = make_setup()
    good, bad = (evaluate(model, **setup, metrics=["kid"]).metrics for model in (Oracle(), TinyVAE()))
    assert all(good[name] < bad[name] for name in good)


def test_without_its_needs_it_says_why():
    assert said(evaluate(TinyVAE(), **make_setup(spaces=()), metrics=["kid"]))["kid/a"] == (
        "There are no reference features for a."
    )

    class Priorless(TinyVAE):
        def prior(self, n, generator):
            raise NotDefinedError("It has no prior.")

    assert set(said(evaluate(Priorless(), **make_setup(), metrics=["kid"])).values()) == {
        "Not defined: It has no prior."
    }
    setup = make_setup(protocol=PROTOCOL)
    setup["test"] = {name: (images[:1], labels[:1]) for name, (images, labels) in setup["test"].items()}
    assert said(evaluate(TinyVAE(), **setup, metrics=["kid"]))["kid/b"] == (
        "It takes two test items or more; of b there is one."
    )
