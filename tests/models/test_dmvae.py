"""DMVAE against its definition item by item, against MultiVae 1.0.3, and its inference and density."""

import math

import pytest
import torch
from multivae_twin import THREE, TWO, random_batch
from torch.distributions import Laplace, Normal, kl_divergence

from models.base import Modality
from models.dmvae import DMVAE, DMVAESettings
from models.named_settings import named_values
from models.registry import MODELS

SHARED, PRIVATE = 5, 3
TINY = (Modality("a", (1, 2, 2), weight=2.0), Modality("b", (3,)))


def make_model(modalities=TWO, latent_size=SHARED, private_size=PRIVATE, **settings):
    """A model in float64 whose posteriors are far from the prior and from each other."""
    torch.manual_seed(0)
    chosen = DMVAESettings(latent_size=latent_size, private_size=private_size, **settings)
    model = DMVAE(modalities, chosen).double()
    with torch.no_grad():
        for encoder in model.encoders.values():
            encoder[-2].bias.normal_()
    return model


def encoded(model, name, x):
    """q_m(z_s) and q_m(z_m) of one item, as distributions of torch."""
    mean, logvar = model.encoders[name](x[None])[0].chunk(2)
    sigma, size = torch.exp(0.5 * logvar), model.settings.latent_size
    return Normal(mean[:size], sigma[:size]), Normal(mean[size:], sigma[size:])


def product(experts):
    """The product of normal distributions and N(0, I)."""
    precision = 1 + sum(q.scale**-2 for q in experts)
    return Normal(sum(q.loc * q.scale**-2 for q in experts) / precision, precision**-0.5)


def by_hand(model, batch):
    """The loss from the noise that follows torch.manual_seed(1), one item and one term at a time."""
    items, names = len(next(iter(batch.values()))), list(batch)
    terms = len(names) + 1 if len(names) > 1 else 1
    torch.manual_seed(1)
    shared_noise = torch.randn(terms, items, model.settings.latent_size, dtype=torch.float64)
    private_noise = {
        name: torch.randn(items, model.settings.private_size, dtype=torch.float64) for name in names
    }
    total = 0.0
    for item in range(items):
        both = {name: encoded(model, name, batch[name][item]) for name in names}
        experts = [both[name][0] for name in names]
        for k, q in enumerate([product(experts), *experts] if terms > 1 else experts):
            z = q.loc + q.scale * shared_noise[k, item]
            total = total + model.settings.beta * kl_divergence(q, standard(z)).sum()
            for name in names:
                own = both[name][1]
                z_m = own.loc + own.scale * private_noise[name][item]
                mean = model.decoders[name](torch.cat([z, z_m])[None])[0]
                weight = model.modalities[name].weight ** model.settings.weight_power
                total = total - weight * Laplace(mean, 0.75).log_prob(batch[name][item]).sum()
                total = total + kl_divergence(own, standard(z_m)).sum()
    return total / items


def standard(like):
    return Normal(torch.zeros_like(like), torch.ones_like(like))


@pytest.mark.parametrize("present", [("a", "b", "c"), ("a", "b"), ("c",)], ids="".join)
def test_loss_is_its_definition(present):
    """Of complete batches of two and of three modalities, and of batches that lack some."""
    model = make_model(THREE, beta=2.0, weight_power=1.5)
    batch = {name: x for name, x in random_batch(THREE, 3).items() if name in present}
    torch.manual_seed(1)
    found = model.loss(batch, torch.tensor(0.5))
    torch.testing.assert_close(found.total, by_hand(model, batch), rtol=1e-7, atol=0)
    assert set(found.terms) == {"kl"} | {
        f"{kind}/{name}" for kind in ("reconstruction", "kl_private") for name in present
    }


def test_gradient_is_that_of_finite_differences():
    model = make_model(TWO, beta=2.0)
    batch = random_batch(TWO, 3)

    def loss():
        torch.manual_seed(1)
        return model.loss(batch, torch.tensor(0.5)).total

    loss().backward()
    torch.manual_seed(2)
    directions = [torch.randn_like(p) for p in model.parameters()]
    slope = sum((p.grad * d).sum() for p, d in zip(model.parameters(), directions, strict=True))
    values, step = [], 1e-6
    for sign in (1, -2):
        with torch.no_grad():
            for p, d in zip(model.parameters(), directions, strict=True):
                p.add_(sign * step * d)
            values.append(loss())
    torch.testing.assert_close((values[0] - values[1]) / (2 * step), slope, rtol=1e-5, atol=0)


@pytest.mark.parametrize("modalities", [TWO, THREE], ids=["two", "three"])
def test_loss_and_gradients_are_those_of_multivae(modalities):
    """Without noise in the posteriors: MultiVae draws a private latent for every term, we one for all."""
    pytest.importorskip("multivae", reason="needs MultiVae: pip install multivae==1.0.3")
    model = make_model(modalities, beta=2.0)
    size = SHARED + PRIVATE
    with torch.no_grad():
        for encoder in model.encoders.values():
            encoder[-2].weight[size:] = 0
            encoder[-2].bias[size:] = -28.0
    entry = MODELS.get("multivae-dmvae")
    settings = entry.settings(latent_size=SHARED, private_size=PRIVATE, beta=2.0)
    twin = entry.model(modalities, settings).double()
    for name in model.modalities:
        twin.peer.encoders[name].network = model.encoders[name]
        twin.peer.decoders[name].network = model.decoders[name]
    batch = random_batch(modalities, 4)
    parameters = list(model.parameters())
    found = []
    for each in (model, twin):
        total = each.loss(batch, torch.tensor(0.5)).total
        found.append((total, torch.autograd.grad(total, parameters)))
    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-6, atol=0)
    for ours, theirs in zip(found[0][1], found[1][1], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4 * float(theirs.abs().max()))


@pytest.mark.parametrize("given", [("a",), ("a", "c"), ("a", "b", "c")], ids="".join)
def test_latents_given_any_subset(given):
    model = make_model(THREE)
    batch = random_batch(THREE, 2)
    posterior = model.posterior({name: batch[name] for name in given})
    for item in range(2):
        both = {name: encoded(model, name, batch[name][item]) for name in given}
        experts = [shared for shared, _ in both.values()]
        shared = product(experts) if len(experts) > 1 else experts[0]
        unseen = standard(torch.zeros(PRIVATE, dtype=torch.float64))
        parts = [shared, *(both[name][1] if name in given else unseen for name in model.modalities)]
        torch.testing.assert_close(posterior.mean[item], torch.cat([q.loc for q in parts]))
        torch.testing.assert_close(
            torch.exp(0.5 * posterior.logvar[item]), torch.cat([q.scale for q in parts])
        )


def test_the_private_latent_of_a_target_is_drawn_from_its_prior():
    """And every decoder reads the shared latent and its own private one, no other."""
    model = make_model(TWO)
    batch = {"a": torch.rand(1, 1, 4, 4, dtype=torch.float64).expand(20_000, -1, -1, -1)}
    draws = model.infer(batch, sample=True, generator=torch.Generator().manual_seed(0)).detach()
    private = draws[:, SHARED + PRIVATE :]
    torch.testing.assert_close(private.mean(0), torch.zeros_like(private[0]), rtol=0, atol=0.03)
    torch.testing.assert_close(private.std(0), torch.ones_like(private[0]), rtol=0, atol=0.03)
    latent = draws[:2].requires_grad_()
    by_latent = torch.autograd.grad(model.decode("b", latent).sum(), latent)[0].abs().sum(0) > 0
    assert by_latent.tolist() == [True] * SHARED + [False] * PRIVATE + [True] * PRIVATE
    assert model.embed(batch).shape == (20_000, SHARED)


def test_latents_of_a_fitted_sampler_have_private_ones_of_the_prior():
    model = make_model(TWO)
    shared = torch.rand(20_000, SHARED)
    latent = model.with_private(shared, torch.Generator().manual_seed(0))
    assert torch.equal(latent[:, :SHARED], shared)
    private = latent[:, SHARED:]
    assert private.shape == (20_000, 2 * PRIVATE)
    torch.testing.assert_close(private.mean(0), torch.zeros(2 * PRIVATE), rtol=0, atol=0.03)
    torch.testing.assert_close(private.std(0), torch.ones(2 * PRIVATE), rtol=0, atol=0.03)


def test_log_weights_are_unbiased():
    """Against the integral over a grid of a shared and two private dimensions.

    Posteriors are wide, as weights of narrow ones have no finite variance.
    """
    model = make_model(TINY, latent_size=1, private_size=1, likelihood="gaussian")
    with torch.no_grad():
        for encoder in model.encoders.values():
            encoder[-2].bias.copy_(torch.tensor([0.3, -0.2, 1.5, 0.5], dtype=torch.float64))
    batch = random_batch(TINY, 2)
    axis = torch.linspace(-6, 6, 61, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis, axis)
    with torch.no_grad():
        found = model.log_weights(batch, 40_000, torch.Generator().manual_seed(0))
        for item in range(2):
            joint = Normal(0.0, 1.0).log_prob(grid).sum(-1)
            for name in model.modalities:
                mean = model.decode(name, grid)
                joint = joint + Normal(mean, 0.75).log_prob(batch[name][item]).flatten(1).sum(-1)
            exact = joint.logsumexp(0) + 3 * math.log(float(axis[1] - axis[0]))
            estimate = found[:, item].logsumexp(0) - math.log(len(found))
            assert float(estimate) == pytest.approx(float(exact), abs=0.03)


def test_published_weights_are_fifty_to_one_on_mnist_and_svhn():
    entry = MODELS.get("dmvae")
    chosen = DMVAESettings(**named_values(entry.named, "published", "dmvae"))
    pair = (Modality("mnist", (1, 28, 28), weight=3072 / 784), Modality("svhn", (3, 32, 32)))
    model = DMVAE(pair, chosen)
    found = [
        float(model.weighted({n: torch.tensor(float(n == name)) for n in model.modalities}))
        for name in ("mnist", "svhn")
    ]
    assert found == pytest.approx([50.0, 1.0], rel=1e-3)
    equal = DMVAE(pair, DMVAESettings(modality_weights="equal", weight_power=2.0))
    assert float(equal.weighted({n: torch.tensor(1.0) for n in equal.modalities})) == 2.0
