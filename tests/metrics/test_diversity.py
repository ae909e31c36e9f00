"""Diversity against loops over pairs of samples, and of an oracle whose diversity is known."""

import math
from itertools import combinations, permutations

import numpy as np
import pytest
import torch
from evaluation_setup import THREE, Oracle, TinyVAE, make_setup, said

from metrics.evaluation.evaluate import evaluate
from metrics.images import as_float
from metrics.probe import probe_indices


def test_diversity_is_the_mean_distance_of_samples_from_one_condition(monkeypatch):
    monkeypatch.setattr("metrics.evaluation.diversity.CONDITIONS", 60)
    model, setup = TinyVAE(THREE), make_setup(THREE)
    found = evaluate(model, **setup, metrics=["diversity"]).metrics
    assert set(found) == {f"diversity/{a}->{b}" for a, b in permutations("abc", 2)}
    chosen = probe_indices(205, 60, 0)
    images, generator, distances = (
        as_float(setup["test"]["a"][0]),
        torch.Generator().manual_seed(0),
        {"b": [], "c": []},
    )
    with torch.no_grad():
        means = model.eval().infer({"a": images[chosen].repeat_interleave(10, 0)})
        latents = means + torch.cat(
            [torch.randn(500, 12, generator=generator), torch.randn(100, 12, generator=generator)]
        )
        for i in range(60):
            b = (model.decode("b", latents[10 * i : 10 * i + 10]) * 255).round().flatten(1) / 255
            c = torch.eye(12)[model.decode("c", latents[10 * i : 10 * i + 10]).argmax(-1)].flatten(1)
            for name, samples in (("b", b.tolist()), ("c", c.tolist())):
                distances[name] += [math.dist(s, t) for s, t in combinations(samples, 2)]
    for name, values in distances.items():
        assert len(values) == 60 * 45
        assert found[f"diversity/a->{name}"] == pytest.approx(np.mean(values), rel=1e-4)


def test_diversity_of_an_oracle_is_that_of_its_forgetting():
    found = evaluate(Oracle(), **make_setup(), metrics=["diversity"]).metrics
    # a sample is of the condition's class or, with probability 0.3, of the next, a template sqrt(2) away
    assert found["diversity/a->b"] == pytest.approx(2 * 0.3 * 0.7 * math.sqrt(2), rel=0.08)


def test_diversity_without_its_needs_says_why():
    assert (
        said(evaluate(Oracle(), **make_setup(spaces=()), metrics=["diversity"]))["diversity/b->a"]
        == "There are no reference features for a."
    )

    class Lost(Oracle):
        def translate(self, inputs, targets, sample=False, generator=None):
            return {
                name: x * (math.inf if name == "b" else 1)
                for name, x in super().translate(inputs, targets, sample, generator).items()
            }

    found = evaluate(Lost(), **make_setup(), metrics=["diversity"])
    assert said(found) == {"diversity/a->b": "The model generated values that are not finite in b."}
    assert found.metrics["diversity/b->a"] > 0
