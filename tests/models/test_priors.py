"""Priors against grids, closed forms and scikit-learn; the models that take them against their defaults."""

import copy
import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from sklearn.mixture import GaussianMixture

from models.base import Modality
from models.conformance import CHECKS, THREE, TWO
from models.conformance.tools import make_example
from models.errors import InputError
from models.parts.distributions import DiagonalGaussian
from models.parts.priors import (
    PRIORS,
    FlowPrior,
    LaplacePrior,
    MixturePrior,
    PriorSettings,
    StandardNormal,
)
from models.parts.shared_prior import SharedPriorModel
from models.registry import MODELS

LEARNED = [name for name in PRIORS if name != "gaussian"]
TAKERS = ("cada-vae", "cnf-mvae", "dmvae", "mmvae", "mopoe", "mvae")
ASKED = (
    "loss",
    "starts",
    "gradients",
    "incomplete",
    "generate",
    "log_weights",
    "saving",
)  # checks where a prior matters


def taking(model, prior, **settings):
    """The registry's entry of a model whose default is another prior, of few components."""
    entry = MODELS.get(model)
    chosen = {"prior": prior, "prior_components": 3, "prior_starts": 2} | settings
    return replace(entry, settings=partial(entry.settings, **chosen))


def learned(prior):
    """`prior` as if it had learned: its parameters moved away from where they begin."""
    torch.manual_seed(5)
    with torch.no_grad():
        for name, parameter in prior.named_parameters():
            parameter.add_((0.1 if name.startswith("flow") else 0.7) * torch.randn_like(parameter))
    return prior


def example(model, prior, modalities, **settings):
    """A model of two latent dimensions with a prior that has learned, and a batch."""
    made, batch = make_example(taking(model, prior, latent_size=2, **settings), modalities)
    if prior != "vampprior":
        learned(made.latent_prior)
    return made, batch


def test_every_model_with_the_setting_has_the_prior():
    takers = {entry.name for entry in MODELS if issubclass(entry.settings, PriorSettings)}
    assert takers >= {*TAKERS, "cnf-mvae-mixture"}
    for name in takers:
        made = MODELS.get(name).model(TWO, MODELS.get(name).settings(prior="flow"))
        assert isinstance(made, SharedPriorModel)
        assert isinstance(made.latent_prior, FlowPrior)


@pytest.mark.parametrize("modalities", [TWO, THREE], ids=["two", "three"])
@pytest.mark.parametrize("check", ASKED)
@pytest.mark.parametrize("prior", LEARNED)
@pytest.mark.parametrize("model", TAKERS)
def test_the_contract_holds_with_every_prior(model, prior, check, modalities):
    if check == "incomplete" and prior == "vampprior":
        pytest.skip("a VampPrior is made of the encoders of all modalities and trains them all")
    CHECKS[check](taking(model, prior), modalities)


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("model", TAKERS)
@torch.no_grad()
def test_densities_integrate_to_one_and_draws_follow_them(model, prior):
    """In two dimensions, by a grid; moments and a quadrant of draws agree with the grid's."""
    made, _ = example(model, prior, THREE)
    side = torch.linspace(-14, 14, 561)
    grid = torch.cartesian_prod(side, side)
    mass = torch.cat([made.log_prior(part) for part in grid.split(50_000)]).double().exp()
    mass = mass * float(side[1] - side[0]) ** 2
    assert mass.sum().item() == pytest.approx(1, abs=5e-3)
    draws = made.prior(40_000, torch.Generator().manual_seed(0))[:, :2]  # without private latents
    quadrant = lambda z: ((z[:, :1] > 0.3) & (z[:, 1:] < 0.2)).float()  # noqa: E731
    for of in (torch.sin, torch.cos, quadrant):  # bounded: the tails of a flow are heavy
        expected = (mass[:, None] * of(grid)).sum(0)
        error = of(draws).std(0) / math.sqrt(len(draws))
        assert ((of(draws).mean(0) - expected).abs() < 4.5 * error + 0.01).all()


@pytest.mark.parametrize("model", TAKERS)
def test_a_mixture_of_one_standard_component_is_the_standard_prior(model):
    """The same model with the same noise: log q - log p has the mean of the closed form."""
    names, items = [m.name for m in TWO], 4
    losses = {}
    for prior in ("gaussian", "mixture"):
        made, batch = make_example(taking(model, prior, prior_components=1, latent_size=2), TWO)
        standard, _ = make_example(taking(model, "gaussian", latent_size=2), TWO)
        made.load_state_dict(standard.state_dict(), strict=False)
        if prior == "mixture":
            assert made.latent_prior.log_prob(torch.ones(2)).item() == pytest.approx(
                StandardNormal(2).log_prob(torch.ones(2)).item(), abs=1e-6
            )
        many = {name: batch[name][:items].repeat(2000, *[1] * (batch[name].dim() - 1)) for name in names}
        torch.manual_seed(3)
        with torch.no_grad():
            losses[prior] = made.loss(many, torch.tensor(1.0)).total.item()
    assert losses["mixture"] == pytest.approx(losses["gaussian"], rel=1e-4, abs=0.05)


@pytest.mark.parametrize(
    "prior", [MixturePrior(3, 4), FlowPrior(3), LaplacePrior(3)], ids=lambda p: type(p).__name__
)
def test_gradients_against_finite_differences(prior):
    prior = learned(prior).double()
    z = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(prior.log_prob, (z,))
    parameters = list(prior.parameters())
    loss = prior.log_prob(z.detach()).sum()
    for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
        for index in (0, parameter.numel() - 1):
            values = []
            for step in (1e-6, -1e-6):
                with torch.no_grad():
                    parameter.view(-1)[index] += step
                    values.append(prior.log_prob(z).sum().item())
                    parameter.view(-1)[index] -= step
            slope = (values[0] - values[1]) / 2e-6
            assert gradient.reshape(-1)[index].item() == pytest.approx(slope, rel=1e-4, abs=1e-6)


def test_a_mixture_does_not_grow():
    """E|z|^2 = L, whatever is learned; the same means and deviations in another unit are the same mixture."""
    prior = learned(MixturePrior(3, 4))
    draws = prior.sample(100_000, torch.Generator().manual_seed(0))
    assert draws.square().mean().item() == pytest.approx(1, rel=0.02)
    larger = copy.deepcopy(prior)
    with torch.no_grad():
        larger.means.mul_(7)
        larger.log_scales.add_(math.log(7))
    z = torch.randn(10, 3)
    torch.testing.assert_close(larger.log_prob(z), prior.log_prob(z))


def test_a_started_mixture_is_the_one_that_was_fitted():
    """Of data at another scale, with the density that scikit-learn has; a second start forgets the first."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.tensor([[4.0, 0, 0], [0, 4, 0], [0, 0, -4]])
    which = torch.randint(3, (3000,), generator=generator)
    latents = 3 + centres[which] + 0.3 * torch.randn(3000, 3, generator=generator)
    prior = MixturePrior(3, 3)
    prior.start(latents, {})
    reference = GaussianMixture(
        3, covariance_type="diag", reg_covar=1e-3 * float(latents.square().mean()), random_state=0
    ).fit(latents.double().numpy())
    with torch.no_grad():
        density = prior.log_prob(latents).double().numpy()
        np.testing.assert_allclose(density, reference.score_samples(latents.double().numpy()), atol=2e-3)
        squares = prior.sample(50_000, generator).square().mean()
    assert squares.item() == pytest.approx(latents.square().mean().item(), rel=0.02)
    components, log_weights = prior.components()
    found = components.mean[torch.cdist(3 + centres, components.mean).argmin(1)]
    torch.testing.assert_close(found, 3 + centres, atol=0.05, rtol=0)
    assert log_weights.exp().min() > 0.3
    again = copy.deepcopy(prior)
    again.start(0.1 * latents, {})
    torch.testing.assert_close(
        again.components()[0].mean, 0.1 * prior.components()[0].mean, atol=1e-3, rtol=0
    )


@pytest.mark.parametrize(("tau", "aligning"), [(4.0, 120), (0.5, 30)])
def test_a_weak_contrast_is_strong_until_the_mixture_starts(tau, aligning):
    """lambda is 30 max(1, tau) at least, and lambda alone from the first start on."""
    weak = taking("cnf-mvae-mixture", "mixture", contrast_weight=5.0, temperature=tau, prior_starts=4)
    model, batch = make_example(weak, TWO)
    found = {}
    for progress in (0.0, 0.19, 0.2, 0.9):
        torch.manual_seed(3)
        loss = model.loss(batch, torch.tensor(progress, dtype=torch.float64))
        found[progress] = loss.total.item()
        contrast = loss.terms["contrast"].item()
    assert found[0.0] == found[0.19]
    assert found[0.2] == found[0.9]
    assert found[0.0] - found[0.2] == pytest.approx((aligning - 5) * contrast, rel=1e-4)


@pytest.mark.parametrize(
    ("settings", "weight"),
    [
        ({}, 30.0),  # the defaults
        ({"contrast_weight": 40.0, "temperature": 0.5}, 40.0),
        ({"contrast_weight": 5.0, "prior": "gaussian"}, 5.0),  # which starts nowhere
    ],
)
def test_a_strong_contrast_is_left_alone(settings, weight):
    entry = MODELS.get("cnf-mvae-mixture")
    model = entry.model(TWO, entry.settings(**settings))
    assert [model.contrast_weight(torch.tensor(progress)) for progress in (0.0, 0.5)] == [weight, weight]


def test_a_mixture_of_more_components_than_latents_says_what_to_do():
    with pytest.raises(InputError, match="5 components cannot start from 4 latents: choose fewer"):
        MixturePrior(2, 5).start(torch.randn(4, 2), {})


def test_a_mixture_is_one_gaussian_before_its_start():
    prior = MixturePrior(3, 4)
    z = torch.randn(20, 3)
    torch.testing.assert_close(prior.log_prob(z), StandardNormal(3).log_prob(z))
    optimizer = torch.optim.Adam(prior.parameters(), 0.1)
    for _ in range(5):
        optimizer.zero_grad()
        (-prior.log_prob(2 + z)).mean().backward()
        optimizer.step()
    assert (prior.means == prior.means[0]).all()
    assert (prior.means[0] > 0).all()


def test_a_vampprior_starts_at_train_items_and_is_their_mixture_of_posteriors():
    made, batch = make_example(taking("mmvae", "vampprior", latent_size=2), TWO)
    made.latent_prior.start(torch.empty(0), batch)
    items = made.latent_prior.items()
    for name, x in items.items():
        torch.testing.assert_close(x, 0.05 + 0.9 * batch[name][:3])
    z = torch.randn(4, 2)
    with torch.no_grad():
        experts = made.experts(items)  # (2, 3, 2)
        expected = torch.stack(
            [
                DiagonalGaussian(experts.mean[m, k], experts.logvar[m, k]).log_prob(z)
                for m in range(2)
                for k in range(3)
            ]
        ).logsumexp(0) - math.log(6)
        torch.testing.assert_close(made.log_prior(z), expected)


def test_posteriors_of_cnf_mvae_in_the_meta_space_integrate_to_one():
    made, batch = make_example(taking("cnf-mvae", "vampprior", latent_size=2, initial_noise=0.5), TWO)
    side = torch.linspace(-6, 6, 401)
    with torch.no_grad():
        grid = torch.cartesian_prod(side, side)
        density = made.log_posteriors({n: x[:2] for n, x in batch.items()}, grid).double().exp()
    assert density.shape == (2, len(grid), 2)
    mass = density.sum(1) * float(side[1] - side[0]) ** 2
    torch.testing.assert_close(mass, torch.ones_like(mass), atol=2e-3, rtol=0)


@pytest.mark.parametrize("model", TAKERS)
def test_stages_of_a_mixture_divide_the_training_and_see_its_whole_progress(model, monkeypatch):
    made, batch = make_example(taking(model, "mixture", prior_starts=3), TWO)
    stages = made.stages()
    assert [stage.share for stage in stages] == pytest.approx([0.25] * 4)
    assert [stage.start is not None for stage in stages] == [False, True, True, True]
    seen = []
    monkeypatch.setattr(made, "loss", lambda batch, progress: seen.append(progress))
    for stage in stages:
        stage.loss(batch, torch.tensor(0.0))
        stage.loss(batch, torch.tensor(0.5))
    assert seen == pytest.approx([number / 8 for number in range(8)])


@pytest.mark.parametrize("modalities", [(Modality("a", (3,)), Modality("b", (2,)))])
def test_a_prior_starts_from_one_draw_of_every_item_alone(modalities, monkeypatch):
    made, _ = make_example(taking("mvae", "mixture", latent_size=2), modalities)
    batches = [{m.name: torch.rand(4, *m.shape) for m in modalities} for _ in range(40)]
    monkeypatch.setattr(made.latent_prior, "start", lambda latents, items: found.update(l=latents, i=items))
    found = {}
    made.start_prior(lambda number: batches[number])
    assert found["l"].shape == (2 * 4 * 40, 2)
    torch.testing.assert_close(found["i"]["b"], torch.cat([batch["b"] for batch in batches]))


def test_a_model_without_posterior_densities_has_no_vampprior():
    entry = MODELS.get("mvae")
    model = entry.model(TWO, entry.settings(prior="vampprior"))
    with pytest.raises(InputError, match=r"MVAE has no posterior densities, .* choose another prior"):
        SharedPriorModel.log_posteriors(model, {}, torch.zeros(2, 40))


def test_a_vampprior_of_symbols_and_counts_starts_near_the_items():
    """Most symbols do not occur: what keeps them from 0 adds little to what an item holds."""
    signs = "".join(map(chr, range(0x4E00, 0x4E00 + 200)))
    modalities = (
        Modality("bag", (200,), likelihood="multinomial", words=60, symbols=signs),
        Modality("counts", (10,), likelihood="poisson", words=1_000),
        Modality("text", (4, 50), likelihood="categorical", symbols=signs[:50]),
    )
    made, _ = make_example(taking("mvae", "vampprior", latent_size=2), modalities)
    words = torch.randint(200, (5, 40))
    batch = {
        "bag": torch.zeros(5, 200).scatter_add_(1, words, torch.ones(5, 40)) / 60,
        "counts": torch.randint(5, (5, 10)) / 1_000,
        "text": torch.nn.functional.one_hot(torch.randint(50, (5, 4)), 50).float(),
    }
    made.latent_prior.start(torch.empty(0), batch)
    items = made.latent_prior.items()
    assert (60 * items["bag"].sum(1)).tolist() == pytest.approx([43] * 3, abs=0.1)  # 40 and 5 % of 60
    torch.testing.assert_close(1_000 * items["counts"], 1_000 * batch["counts"][:3], atol=0.06, rtol=0)
    assert items["text"].argmax(-1).equal(batch["text"][:3].argmax(-1))
    assert (items["text"].max(-1).values > 0.94).all()


def test_a_vampprior_needs_items_of_every_modality():
    made, batch = make_example(taking("mvae", "vampprior", latent_size=2), TWO)
    lacking = list(batch)[1]
    del batch[lacking]
    with pytest.raises(InputError, match=f"the first batches have none of {lacking}"):
        made.latent_prior.start(torch.empty(0), batch)


def test_a_mixture_does_not_start_from_a_training_that_diverged():
    latents = torch.randn(100, 2)
    latents[3, 0] = torch.nan
    with pytest.raises(InputError, match="not finite: the training has diverged"):
        MixturePrior(2, 3).start(latents, {})


def test_a_flow_needs_two_dimensions():
    entry = MODELS.get("mvae")
    with pytest.raises(InputError, match="latent_size of 2 or more, not 1"):
        entry.model(TWO, entry.settings(prior="flow", latent_size=1))
