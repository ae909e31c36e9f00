"""The sampler fitted after training: known mixtures, and models whose prior and latents are apart."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from evaluation_setup import THREE, TWO, Oracle, TinyVAE, make_setup, read, said, templates

from metrics.evaluation.evaluate import evaluate
from metrics.sampler import MAX_ITERATIONS, Mixture, SamplerError, draw, fit_mixture

WEIGHTS = (0.2, 0.3, 0.5)
MEANS = ((0.0, 0.0), (8.0, 0.0), (0.0, 8.0))
FACTORS = (((1.0, 0.0), (0.5, 0.5)), ((0.5, 0.0), (0.0, 2.0)), ((1.5, 0.0), (-1.0, 0.5)))
KNOWN = Mixture(*(torch.tensor(x, dtype=torch.float64) for x in (WEIGHTS, MEANS, FACTORS)))
NAMES = ("fitted_coherence", "fitted_coherence/chance", "fitted_coherence/entropy")


def known_draws(n, seed=0):
    """Draws from KNOWN, one by one, with NumPy."""
    random = np.random.default_rng(seed)
    rows = [random.choice(3, p=WEIGHTS) for _ in range(n)]
    return torch.from_numpy(
        np.stack([np.array(MEANS[k]) + np.array(FACTORS[k]) @ random.standard_normal(2) for k in rows])
    ), torch.tensor(rows)


def test_a_known_mixture_is_found():
    found = fit_mixture(known_draws(6000)[0], 3, seed=0)
    order = [int((found.means - mean).norm(dim=1).argmin()) for mean in KNOWN.means]
    assert sorted(order) == [0, 1, 2]
    torch.testing.assert_close(found.weights[order], KNOWN.weights, atol=0.03, rtol=0)
    torch.testing.assert_close(found.means[order], KNOWN.means, atol=0.15, rtol=0)
    covariances = [factors @ factors.mT for factors in (found.factors[order], KNOWN.factors)]
    torch.testing.assert_close(*covariances, atol=0.3, rtol=0)


def test_draws_are_those_of_the_mixture():
    drawn = draw(KNOWN, 60_000, torch.Generator().manual_seed(0)).double()
    assert drawn.shape == (60_000, 2)
    nearest = (drawn[:, None] - KNOWN.means).norm(dim=2).argmin(1)
    reference, rows = known_draws(20_000)
    for k in range(3):
        part, expected = (
            drawn[nearest == k],
            reference[(reference[:, None] - KNOWN.means).norm(dim=2).argmin(1) == k],
        )
        assert len(part) / 60_000 == pytest.approx(len(expected) / 20_000, abs=0.02)
        torch.testing.assert_close(part.mean(0), expected.mean(0), atol=0.1, rtol=0)
        torch.testing.assert_close(part.T.cov(), expected.T.cov(), atol=0.2, rtol=0)
    assert torch.bincount(rows).double().div(20_000).tolist() == pytest.approx(WEIGHTS, abs=0.02)


def test_fits_and_draws_are_repeatable_and_disturb_nothing():
    latents, state, numpy_state = known_draws(500)[0], torch.get_rng_state(), np.random.get_state()[1].copy()
    first, second = fit_mixture(latents, 4, seed=2**63 - 1), fit_mixture(latents, 4, seed=2**63 - 1)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    drawn = [draw(first, 50, torch.Generator().manual_seed(seed)) for seed in (5, 5, 6)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert torch.equal(state, torch.get_rng_state())
    assert (numpy_state == np.random.get_state()[1]).all()


def test_latents_that_are_all_the_same_are_drawn_again():
    mixture = fit_mixture(torch.full((50, 3), 2.0), 3, seed=0)
    assert (draw(mixture, 20, torch.Generator().manual_seed(0)) - 2).abs().max() < 0.01


@pytest.mark.parametrize(
    ("latents", "reason"),
    [
        (torch.tensor([[1.0], [math.nan], [2.0]]), "not finite"),
        (torch.tensor([[1.0], [math.inf], [2.0]]), "not finite"),
        (torch.zeros(2, 4), "2 latents of train images, fewer than the 3 components"),
        (
            1e30
            * torch.randn(40, 4, generator=torch.Generator().manual_seed(0)).repeat(2, 1)[:, [0, 0, 1, 1]],
            "no covariance",
        ),
    ],
)
def test_a_sampler_says_why_there_is_none(latents, reason):
    with pytest.raises(SamplerError, match=reason):
        fit_mixture(latents, 3, seed=0)


def test_a_mixture_without_convergence_is_none(monkeypatch):
    monkeypatch.setattr("metrics.sampler.MAX_ITERATIONS", 1)
    with pytest.raises(SamplerError, match="did not converge in 1 iterations"):
        fit_mixture(known_draws(300)[0], 3, seed=0)
    assert MAX_ITERATIONS == 1000


class Islands(TinyVAE):
    """Latents of class c lie about 5 e_c; where the prior is, `b` shows class 0 whatever `a` shows."""

    def infer(self, inputs, sample=False, generator=None):
        x = next(iter(inputs.values())).flatten(1)
        return 5 * templates(read(x), (12,)) + 0.1 * x[:, :12]

    def decode(self, name, latent):
        classes = latent[:, :10].argmax(1)
        if name == "b":
            classes = torch.where(latent.amax(1) > 4, classes, 0)
        return templates(classes, self.modalities[name].shape)


def test_a_sampler_finds_the_latents_that_a_bad_prior_misses():
    setup = make_setup(spaces=())
    setup["protocol"] = replace(setup["protocol"], sampler_components=10, sampler_images=200)
    found = evaluate(Islands(), **setup, metrics=["coherence", "sampler"]).metrics
    assert found["joint_coherence"] < 0.2
    assert found["fitted_coherence"] > 0.8
    assert found["fitted_coherence/chance"] == pytest.approx(0.1, abs=0.03)
    assert found["fitted_coherence/entropy"] > 2


@pytest.mark.parametrize(("images", "count"), [(30, 30), (200, 80)])
def test_every_modality_gives_as_many_latents_each_of_an_image_alone(images, count):
    inferred = []

    class Counting(TinyVAE):
        def infer(self, inputs, sample=False, generator=None):
            assert not sample
            inferred.extend((name, x) for name, x in inputs.items())
            assert len(inputs) == 1
            return super().infer(inputs, sample, generator)

    setup = make_setup(THREE, spaces=())
    setup["protocol"] = replace(setup["protocol"], sampler_images=images)
    train = setup["train"] | {"b": tuple(x[:80] for x in setup["train"]["b"])}
    evaluate(Counting(THREE), **setup | {"train": train}, metrics=["sampler"])
    for name, (of_train, _) in train.items():
        encoded = torch.cat([x for other, x in inferred if other == name])
        assert len(encoded) == count + 40  # the conditions of figures come last
        rows = torch.randperm(len(of_train), generator=torch.Generator().manual_seed(0))[:count]
        assert torch.equal(encoded[:count], of_train[rows] / 255)


def test_fitted_coherence_is_the_loop():
    model, setup = TinyVAE(TWO).eval(), make_setup(spaces=())
    found = evaluate(model, **setup, metrics=["sampler"]).metrics
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        rows = torch.randperm(300, generator=torch.Generator().manual_seed(0))[:60]
        latents = torch.cat([model.infer({name: setup["train"][name][0][rows] / 255}) for name in "ab"])
        mixture = fit_mixture(latents, 3, seed=0)
        drawn = torch.cat([draw(mixture, 500, generator) for _ in range(2)])[:600]
        votes = [read(model.decode(name, drawn)) for name in "ab"]
    assert found["fitted_coherence"] == pytest.approx(
        sum(bool(a == b) for a, b in zip(*votes, strict=True)) / 600
    )
    assert set(found) == set(NAMES)


def test_a_model_without_a_shared_latent_has_no_sampler():
    found = evaluate(Oracle(), **make_setup(spaces=()), metrics=["sampler"])
    assert found.metrics == dict.fromkeys(NAMES, None)
    assert said(found) == dict.fromkeys(
        NAMES,
        "Not defined: the model has no single latent that all modalities are decoded from, to which a "
        "sampler could be fitted.",
    )


def test_latents_that_are_not_finite_leave_the_cells_empty_with_a_reason():
    class Lost(TinyVAE):
        def infer(self, inputs, sample=False, generator=None):
            return super().infer(inputs, sample, generator) / 0

    found = evaluate(Lost(), **make_setup(spaces=()), metrics=["sampler"])
    assert found.metrics == dict.fromkeys(NAMES, None)
    assert set(said(found).values()) == {"The latents of train images hold values that are not finite."}
