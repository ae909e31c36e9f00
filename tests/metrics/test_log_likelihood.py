"""The importance-weighted log-likelihood against integrals over the latent and a marginal known on paper."""

import math

import numpy as np
import pytest
import torch
from evaluation_setup import TWO, make_setup, said

from metrics.evaluation.evaluate import evaluate
from metrics.evaluation.likelihood import log_likelihoods
from metrics.images import as_float
from metrics.probe import probe_indices
from models.base import Modality
from models.errors import InputError
from models.registry import MODELS


def settings_of(name, latent, **chosen):
    return MODELS.get(name).settings(latent_size=latent, **chosen)


NOISY = {"likelihood_scale": 0.5, "initial_noise": 1.0}
DENSITIES = [
    ("mvae", 1, {"likelihood": "bernoulli"}),
    ("mopoe", 1, {"likelihood": "laplace"}),
    ("mmvae", 1, {"likelihood": "gaussian"}),
    ("mmvae", 1, {"posterior": "laplace"}),
    ("cnf-mvae", 2, NOISY),
    ("mvae", 1, {"likelihood": "bernoulli", "prior": "mixture"}),
    ("mopoe", 1, {"likelihood": "laplace", "prior": "mixture"}),
    ("mmvae", 1, {"posterior": "laplace", "prior": "vampprior", "prior_components": 3}),
    ("mmvae", 2, {"prior": "flow"}),
    ("cnf-mvae", 2, NOISY | {"prior": "laplace", "initial_noise": 2.0}),
    ("cnf-mvae", 2, NOISY | {"prior": "mixture", "prior_components": 3}),
    ("cnf-mvae", 2, NOISY | {"prior": "vampprior", "prior_components": 3}),
    ("cnf-mvae", 2, NOISY | {"prior": "flow", "initial_noise": 2.0}),
]
HEAVY = ("laplace", "flow")  # tails, where Gaussian proposals seldom are: weights vary more


def make_density(name, latent, chosen, modalities):
    """A model with random weights whose decoders are far from constant.

    Its proposals are wide, so that importance weights vary little.
    """
    torch.manual_seed(3)
    model = MODELS.get(name).model(modalities, settings_of(name, latent, **chosen)).eval()
    with torch.no_grad():
        for m in modalities:
            model.decoders[m.name][0].weight.mul_(2)
            if name != "cnf-mvae":
                model.encoders[m.name][-2].bias[latent:] = 3 if "prior" in chosen else 1
        if name == "cnf-mvae":
            for network in (network for flow in model.flows.values() for network in flow.networks):
                network[-1].weight.mul_(10)
        for parameter in model.latent_prior.parameters():  # as if it had been learned
            parameter.add_((0.03 if chosen["prior"] == "flow" else 0.2) * torch.randn_like(parameter))
    return model


@torch.no_grad()
def integrated(model, batch, latent):
    """(B,): log p(x) as a sum over a grid of latents."""
    side = torch.linspace(-20, 20, 4_001) if latent == 1 else torch.linspace(-5, 5, 151)
    grid = torch.cartesian_prod(*[side] * latent).view(-1, latent)
    terms = (
        model.log_prior(grid)
        if hasattr(model, "log_prior")
        else torch.distributions.Normal(0, 1).log_prob(grid).sum(-1)
    )
    terms = terms.double().unsqueeze(1)
    for name, x in batch.items():
        means = model.decode(name, grid).unsqueeze(1).expand(-1, *x.shape)
        terms = terms + model.likelihoods[name](x, means)  # (G, B)
    return terms.logsumexp(0) + latent * math.log(float(side[1] - side[0]))


@pytest.mark.parametrize(("name", "latent", "chosen"), DENSITIES)
@pytest.mark.parametrize("count", [2, 3])
@torch.no_grad()
def test_log_weights_average_to_the_integral_over_the_latent(name, latent, chosen, count):
    small = (
        Modality("a", (1, 2, 2), weight=5.0),
        Modality("b", (3,)),
        Modality("c", (1, 3), "categorical", symbols="xyz"),
    )[:count]
    model = make_density(name, latent, chosen, small)
    generator = torch.Generator().manual_seed(0)
    batch = {
        "a": torch.rand(2, 1, 2, 2, generator=generator).round(),
        "b": torch.rand(2, 3, generator=generator),
    }
    if count == 3:
        batch["c"] = torch.eye(3)[[2, 0]].unsqueeze(1)
    expected = integrated(model, batch, latent)
    log_weights = model.log_weights(batch, 20_000, torch.Generator().manual_seed(1)).double()
    weights = (log_weights - expected).exp()
    error = weights.std(0) / math.sqrt(len(weights))
    accuracy = 0.1 if chosen.get("prior") in HEAVY else 0.01
    assert (error < accuracy).all()
    assert ((weights.mean(0) - 1).abs() < 4 * error).all()
    found = log_likelihoods(model, batch, 20_000, torch.Generator().manual_seed(1))
    torch.testing.assert_close(found, expected, rtol=0, atol=2 * accuracy)
    pairs = log_weights.view(2, -1, 2).logsumexp(0) - math.log(2)
    assert (log_weights.mean(0) < pairs.mean(0)).all()  # a lower bound that rises with the number of samples
    assert (pairs.mean(0) < expected).all()


@torch.no_grad()
def test_log_likelihood_of_a_linear_gaussian_model_is_its_marginal():
    """x_m = W_m z + b_m + s eps: x is N(b, W W^T + s^2 I).

    The posterior is N(S W^T (x - b) / s^2, S) with S^-1 = I + W^T W / s^2.
    """
    sizes, scale = {"a": 4, "b": 3}, 1.2
    model = MODELS.get("mvae").model(
        [Modality(name, (n,)) for name, n in sizes.items()],
        settings_of("mvae", 2, likelihood="gaussian", likelihood_scale=scale),
    )
    torch.manual_seed(0)
    model.decoders.update({name: torch.nn.Linear(2, n) for name, n in sizes.items()})
    for name in sizes:
        model.encoders[name][-2].bias[2:] = (
            2  # wide experts, so that the proposal is no narrower than the posterior
        )
    x = {name: 0.5 * torch.randn(6, n) for name, n in sizes.items()}
    weight = torch.cat([model.decoders[name].weight for name in sizes]).double()
    offset = torch.cat([model.decoders[name].bias for name in sizes]).double()
    marginal = torch.distributions.MultivariateNormal(offset, weight @ weight.T + scale**2 * torch.eye(7))
    expected = marginal.log_prob(torch.cat([x[name] for name in sizes], 1).double())
    found = log_likelihoods(model, x, 40_000, torch.Generator().manual_seed(1))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-2)


def test_log_likelihood_is_the_mean_over_test_tuples(monkeypatch):
    monkeypatch.setattr("metrics.evaluation.likelihood.TUPLES", 45)
    model, setup = make_density("mmvae", 3, {}, TWO), make_setup()
    found = evaluate(model, **setup, metrics=["log_likelihood"])
    rows = setup["tuples"]["a"][probe_indices(205, 45, 0)]
    generator, values = torch.Generator().manual_seed(0), []
    with torch.no_grad():
        for part in rows.split(20):
            batch = {name: as_float(setup["test"][name][0][part[:, m]]) for m, name in enumerate("ab")}
            values += [
                w.exp().mean().log().item() for w in (model.log_weights(batch, 100, generator).double()).T
            ]
    assert found.metrics == {"log_likelihood": pytest.approx(np.mean(values))}
    with pytest.raises(InputError, match="need tuples of test images"):
        evaluate(model, **setup | {"tuples": None}, metrics=["log_likelihood"])


def test_models_without_a_joint_density_say_so():
    setup = make_setup()
    for name, sentence in (
        ("cada-vae", "CADA-VAE measures reconstructions by their L1 distance, which is no density."),
        ("mdae", "MDAE has no joint density of latents and observations that it evaluates."),
        ("avae", "AVAE has no joint density of latents and observations that it evaluates."),
    ):
        model = MODELS.get(name).model(TWO, settings_of(name, 4))
        assert said(evaluate(model, **setup, metrics=["log_likelihood"])) == {
            "log_likelihood": f"Not defined: {sentence}"
        }
    model = make_density("mopoe", 4, {}, TWO)
    with torch.no_grad():
        model.decoders["a"][0].bias.fill_(math.nan)
    assert said(evaluate(model, **setup, metrics=["log_likelihood"])) == {
        "log_likelihood": "The densities of the model are not finite."
    }
