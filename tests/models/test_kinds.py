"""Vectors and counts: likelihoods against scipy, networks by kind and shape, subsets that are drawn."""

import numpy as np
import pytest
import torch
from scipy import stats

from models.base import Modality
from models.mopoe import MOST, MoPoE, MoPoESettings
from models.parts.distributions import DiagonalGaussian
from models.parts.gaussian import product_of_experts
from models.parts.likelihoods import make_likelihood
from models.parts.networks import Crop, Pad, is_convolutional, make_decoder, make_encoder

VECTOR = Modality("v", (5,), "gaussian", spread=0.125, low=(0.0,) * 5, high=(8.0,) * 5)
COUNTS = Modality("c", (4,), "poisson", words=50)


def test_poisson_counts():
    counts = torch.tensor([[0, 1, 7, 50], [3, 0, 0, 20]])
    rates = torch.tensor([[0.5, 1.0, 9.0, 40.0], [2.0, 0.1, 3.0, 25.0]])
    found = make_likelihood(COUNTS, "laplace")(counts / 50, rates / 50)
    expected = stats.poisson.logpmf(counts.numpy(), rates.numpy()).sum(1)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_rate_of_zero_has_a_finite_density():
    likelihood = make_likelihood(COUNTS, "laplace")
    assert likelihood(torch.ones(1, 4), torch.zeros(1, 4)).isfinite().all()


def test_the_scale_of_a_vector_is_in_its_standard_deviations():
    x, mean = torch.rand(6, 5), torch.rand(6, 5)
    found = make_likelihood(VECTOR, "laplace", scale=0.75)(x, mean)
    expected = stats.norm.logpdf(x, mean, 0.75 * 0.125).sum(1)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize(("modality", "first"), [(VECTOR, 0.5), (COUNTS, 0.0)], ids=["the mean", "no count"])
def test_what_networks_read_as_zero(modality, first):
    entrance = make_encoder(modality, 3)[0]
    assert torch.equal(entrance(torch.full((2, *modality.shape), first)), torch.zeros(2, *modality.shape))
    one = entrance(torch.full((2, *modality.shape), 0.5 + 0.125 if modality is VECTOR else 1.0))
    assert one[0, 0].item() == pytest.approx(1.0 if modality is VECTOR else np.log(51), rel=1e-5)


def test_means_of_vectors_reach_what_was_seen():
    """At the mean the output moves by a standard deviation per unit, and nothing leaves [0, 1]."""
    last = make_decoder(VECTOR, 2)[-1]
    x = torch.tensor([0.0, 0.01, -50.0, 50.0], requires_grad=True)
    means = last(x)
    assert means[0].item() == 0.5
    assert torch.autograd.grad(means[0], x)[0][0].item() == pytest.approx(0.125)
    assert means.min() >= 0
    assert means.max() <= 1


@pytest.mark.parametrize("shape", [(1, 7, 5), (2, 9, 9), (3, 50, 75), (4, 33, 32), (1, 32, 32), (5, 8, 16)])
def test_images_of_any_size_have_networks(shape):
    modality = Modality("x", shape)
    encoder, decoder = make_encoder(modality, 6), make_decoder(modality, 6)
    means = decoder(encoder(torch.rand(3, *shape)))
    assert means.shape == (3, *shape)
    means.square().sum().backward()
    assert all(
        p.grad is not None and p.grad.isfinite().all() for net in (encoder, decoder) for p in net.parameters()
    )
    assert is_convolutional(shape) == (min(shape[1:]) >= 32 or not (shape[1] % 8 or shape[2] % 8))


def test_padding_is_undone():
    x = torch.rand(2, 3, 33, 50)
    padded = Pad()(x)
    assert padded.shape == (2, 3, 40, 56)
    assert torch.equal(Crop(33, 50)(padded), x)
    assert padded[..., 33:, :].abs().sum() == padded[..., 50:].abs().sum() == 0


def test_modalities_that_make_no_sense():
    for wrong in ({"likelihood": "poisson"}, {"likelihood": "gaussian", "spread": 0.0}):
        with pytest.raises(ValueError, match=r"poisson modality|spread"):
            Modality("x", (3,), **wrong)


@pytest.fixture(scope="module")
def seven():
    """MoPoE of one modality more than has all its subsets taken, and posteriors."""
    modalities = [Modality(f"m{i}", (3,), "gaussian") for i in range(MOST + 1)]
    torch.manual_seed(0)
    model = MoPoE(modalities, MoPoESettings(latent_size=2))
    return model, {m.name: DiagonalGaussian(torch.randn(4, 2), torch.randn(4, 2)) for m in modalities}


def test_drawn_subsets_are_products_of_some(seven):
    """Every one of them is one of the 127 products, the full set with the prior in it."""
    model, posteriors = seven
    assert "63 of the 127 subsets" in model.remark
    experts = list(posteriors.values())
    every = [
        product_of_experts(chosen, prior_expert=len(chosen) == 7)
        for code in range(1, 2**7)
        for chosen in [[e for i, e in enumerate(experts) if code >> i & 1]]
    ]
    torch.manual_seed(1)
    drawn = model._subset_posteriors(posteriors)
    assert drawn.mean.shape == (63, 4, 2)
    known = torch.stack([torch.cat([e.mean, e.logvar], -1) for e in every]).flatten(1)
    found = torch.cat([drawn.mean, drawn.logvar], -1).flatten(1)
    nearest = torch.cdist(found.double(), known.double()).min(1)
    assert nearest.values.max() < 1e-4
    assert len(nearest.indices.unique()) > 30  # of 127, 63 draws with replacement


def test_drawn_subsets_are_those_of_the_mixture_on_average(seven):
    model, posteriors = seven
    experts = list(posteriors.values())
    every = torch.stack(
        [
            product_of_experts(chosen, prior_expert=len(chosen) == 7).kl().mean()
            for code in range(1, 2**7)
            for chosen in [[e for i, e in enumerate(experts) if code >> i & 1]]
        ]
    )
    torch.manual_seed(2)
    draws = torch.stack([model.kl(model._subset_posteriors(posteriors)).mean() for _ in range(200)])
    error = every.std() / (63 * 200) ** 0.5
    assert abs(draws.mean() - every.mean()) < 4 * error


def test_its_loss_has_gradients(seven):
    model, _ = seven
    loss = model.loss({name: torch.rand(8, 3) for name in model.modalities}, 0.0)
    loss.total.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.encoders.parameters())
