"""MoPoE and the Gaussians beneath it against MultiVae 1.0.3, torch.distributions and a density on a grid."""

import pytest
import torch
from multivae_twin import THREE, TWO, gradients, make_twin, random_batch, twin_output
from torch.distributions import Normal, kl_divergence

from models.base import Modality
from models.mopoe import MoPoE, MoPoESettings
from models.parts.distributions import DiagonalGaussian
from models.parts.gaussian import product_of_experts


def make_model(modalities: tuple[Modality, ...]) -> MoPoE:
    """In float64, with encoders whose posteriors are far from the prior and from each other."""
    torch.manual_seed(0)
    model = MoPoE(modalities, MoPoESettings(latent_size=5)).double()
    with torch.no_grad():
        for encoder in model.encoders.values():
            encoder[-2].bias.normal_()
    return model


def random_gaussian(*shape: int) -> DiagonalGaussian:
    return DiagonalGaussian(
        torch.randn(*shape, dtype=torch.float64), torch.randn(*shape, dtype=torch.float64)
    )


@pytest.mark.parametrize(
    ("modalities", "items"), [(TWO, 3), (TWO, 8), (TWO, 11), (THREE, 7), (THREE, 16), (THREE, 20)]
)
def test_loss_is_that_of_multivae(modalities: tuple[Modality, ...], items: int) -> None:
    """Value and gradients, but for the 1e-8 that MultiVae adds to every expert's variance."""
    model = make_model(modalities)
    twin = make_twin("MoPoE", model, beta=2.5)
    batch = random_batch(modalities, items)
    torch.manual_seed(1)
    ours = model.loss(batch, torch.tensor(0.5))
    torch.manual_seed(1)
    theirs = twin_output(twin, batch)
    torch.testing.assert_close(ours.total, theirs.loss, rtol=1e-6, atol=0)
    torch.testing.assert_close(
        ours.terms["kl"], theirs.metrics["joint_divergence"], rtol=1e-6, atol=0, check_dtype=False
    )
    parameters = list(model.parameters())
    for mine, other in zip(
        gradients(ours.total, parameters), gradients(theirs.loss, parameters), strict=True
    ):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-6 * float(other.abs().max()))


@pytest.mark.parametrize("modalities", [TWO, THREE], ids=["two", "three"])
def test_slices_are_those_of_multivae(modalities: tuple[Modality, ...]) -> None:
    """But in batches smaller than the number of subsets, where MultiVae gives all items to the last one."""
    twin = make_twin("MoPoE", make_model(modalities))
    count = 2 ** len(modalities) - 1
    for items in range(1, 5 * count):
        subset = torch.arange(count, dtype=torch.float64).view(-1, 1, 1).expand(-1, items, 2)
        without_spread = DiagonalGaussian(subset, torch.full_like(subset, -torch.inf))
        ours = MoPoE._sample_by_slices(without_spread)[:, 0]
        theirs, _ = twin.deterministic_mixture_component_selection(
            subset, subset, torch.full((count,), 1 / count)
        )
        expected = theirs[:, 0] if items >= count else torch.arange(items, dtype=torch.float64)
        assert ours.tolist() == expected.tolist(), items


def test_infer_is_the_product_of_what_is_given() -> None:
    """The prior's expert multiplies the full set only."""
    model = make_model(THREE)
    batch = random_batch(THREE, 4)
    q = {name: Normal(p.mean, torch.exp(0.5 * p.logvar)) for name, p in model.posteriors(batch).items()}
    torch.testing.assert_close(model.infer({"b": batch["b"]}), q["b"].mean)
    precision = {name: p.stddev**-2 for name, p in q.items()}
    pair = (q["a"].mean * precision["a"] + q["c"].mean * precision["c"]) / (precision["a"] + precision["c"])
    torch.testing.assert_close(model.infer({"a": batch["a"], "c": batch["c"]}), pair)
    full = sum(q[name].mean * precision[name] for name in q) / (1 + sum(precision.values()))
    torch.testing.assert_close(model.infer(batch), full)


def test_the_proposal_of_importance_weights_is_the_mixture_over_subsets() -> None:
    model = make_model(THREE)
    batch = random_batch(THREE, 4)
    proposal = model.proposal(batch)
    subsets = ("a", "b", "c", "ab", "ac", "bc", "abc")
    for found, names in zip(zip(*proposal, strict=True), subsets, strict=True):
        expected = model.posterior({name: batch[name] for name in names})
        torch.testing.assert_close(torch.stack(found), torch.stack(list(expected)))


@pytest.mark.parametrize("prior_expert", [False, True])
@pytest.mark.parametrize("count", [1, 2, 4])
def test_product_of_experts_is_the_product_of_densities(count: int, prior_expert: bool) -> None:
    torch.manual_seed(count)
    experts = [random_gaussian(1) for _ in range(count)]
    product = product_of_experts(experts, prior_expert)
    grid = torch.linspace(-20, 20, 400_001, dtype=torch.float64)
    log_density = sum(Normal(e.mean, torch.exp(0.5 * e.logvar)).log_prob(grid) for e in experts)
    if prior_expert:
        log_density = log_density + Normal(0.0, 1.0).log_prob(grid)
    weight = log_density.softmax(0)
    mean = (weight * grid).sum()
    variance = (weight * (grid - mean) ** 2).sum()
    torch.testing.assert_close(product.mean[0], mean, rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(product.logvar[0].exp(), variance, rtol=1e-8, atol=0)


def test_gaussian_densities_are_those_of_torch() -> None:
    torch.manual_seed(0)
    q = random_gaussian(3, 5)
    reference = Normal(q.mean, torch.exp(0.5 * q.logvar))
    torch.testing.assert_close(
        q.kl(), kl_divergence(reference, Normal(torch.zeros_like(q.mean), 1.0)).sum(-1)
    )
    z = torch.randn(4, 3, 5, dtype=torch.float64)
    torch.testing.assert_close(q.log_prob(z), reference.log_prob(z).sum(-1))


def test_gaussian_draws_have_its_moments() -> None:
    q = DiagonalGaussian(
        torch.tensor([1.0, -3.0]).expand(200_000, 2), torch.tensor([0.0, 2.0]).expand(200_000, 2)
    )
    z = q.rsample(torch.Generator().manual_seed(0))
    torch.testing.assert_close(z.mean(0), torch.tensor([1.0, -3.0]), rtol=0, atol=0.03)
    torch.testing.assert_close(
        z.var(0), torch.tensor([1.0, 2.0]).exp() ** torch.tensor([0.0, 1.0]), rtol=0.02, atol=0
    )
    assert torch.equal(z, q.rsample(torch.Generator().manual_seed(0)))
