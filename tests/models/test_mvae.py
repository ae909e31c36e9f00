"""MVAE against MultiVae 1.0.3, its objective item by item, and marginals of a linear-Gaussian model."""

from itertools import combinations

import pytest
import torch
from multivae_twin import THREE, TWO, gradients, make_twin, random_batch, twin_output
from torch import Tensor, nn
from torch.distributions import Laplace, MultivariateNormal, Normal, kl_divergence

from models.base import Modality
from models.mvae import MVAE, MVAESettings

# with 4 items, B * L divides by 16: torch draws blocks of 16, so 1 + M draws of (B, L) are one of
# (1 + M, B, L)
LATENT = 8
MIXED = (
    Modality("a", (1, 2, 2), weight=2.0),
    Modality("b", (3, 8, 8)),
    Modality("c", (2, 3), likelihood="categorical", weight=5.0, symbols="abc"),
)


def make_model(modalities: tuple[Modality, ...]) -> MVAE:
    """In float64, with encoders whose posteriors are far from the prior and from each other."""
    torch.manual_seed(0)
    model = MVAE(modalities, MVAESettings(latent_size=LATENT)).double()
    with torch.no_grad():
        for encoder in model.encoders.values():
            encoder[-2].bias.normal_()
    return model


@pytest.mark.parametrize(("epoch", "ratio"), [(1, 0.0), (4, 0.5), (10, 0.0), (25, 0.0)])
@pytest.mark.parametrize("modalities", [TWO, THREE], ids=["two", "three"])
def test_loss_and_gradients_are_those_of_multivae(
    modalities: tuple[Modality, ...], epoch: int, ratio: float
) -> None:
    """MultiVae warms up over 10 of 25 epochs, as we over 0.4 of training.

    In its tenth it jumps from 0.9 to 1, where ours still rises.
    """
    model = make_model(modalities)
    twin = make_twin("MVAE", model, warmup=10, k=0)
    batch = random_batch(modalities, 4)
    progress = (epoch - 1 + ratio) / 25 if epoch < 10 else epoch / 25
    torch.manual_seed(1)
    ours = model.loss(batch, torch.tensor(progress)).total
    torch.manual_seed(1)
    theirs = twin_output(twin, batch, epoch=epoch, batch_ratio=ratio).loss
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=0)
    parameters = list(model.parameters())
    for mine, other in zip(gradients(ours, parameters), gradients(theirs, parameters), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-6 * float(other.abs().max()))


def product(experts: list[Normal]) -> Normal:
    """The product of experts and prior by completing squares: exponents -(z - mu)^2 / 2 sigma^2 add up."""
    quadratic = 1 + sum(1 / e.variance for e in experts)
    linear = sum(e.mean / e.variance for e in experts)
    return Normal(linear / quadratic, quadratic**-0.5)


def log_likelihood(modality: Modality, x: Tensor, mean: Tensor) -> Tensor:
    return (
        mean[x.bool()].log().sum()
        if modality.likelihood == "categorical"
        else Laplace(mean, 0.75).log_prob(x).sum()
    )


def mixed_batch(items: int) -> dict[str, Tensor]:
    batch = random_batch(MIXED, items)
    batch["c"] = nn.functional.one_hot(batch["c"].argmax(-1), 3).double()
    return batch


def test_loss_is_the_sum_of_elbos_of_the_full_set_and_each_single_modality() -> None:
    """One item, one subset and one modality at a time, with text among the modalities."""
    model, batch = make_model(MIXED), mixed_batch(4)
    torch.manual_seed(1)
    loss = model.loss(batch, torch.tensor(0.1))  # a quarter of the warm-up
    torch.manual_seed(1)
    noise = torch.randn(4, 4, LATENT, dtype=torch.float64)
    subsets = [["a", "b", "c"], ["a"], ["b"], ["c"]]
    expected = torch.zeros((), dtype=torch.float64)
    for item in range(4):
        experts = {name: model.posteriors({name: batch[name][item : item + 1]})[name] for name in batch}
        for s, subset in enumerate(subsets):
            q = product(
                [Normal(experts[name].mean[0], (0.5 * experts[name].logvar[0]).exp()) for name in subset]
            )
            z = q.mean + q.stddev * noise[s, item]
            for name in subset:
                modality = model.modalities[name]
                expected = (
                    expected
                    - modality.weight
                    * log_likelihood(modality, batch[name][item], model.decode(name, z[None])[0])
                    / 4
                )
            expected = expected + 0.25 * kl_divergence(q, Normal(0.0, 1.0)).sum() / 4
    torch.testing.assert_close(loss.total, expected)
    terms = loss.terms
    weighted = sum(m.weight * (terms[f"reconstruction/{m.name}"] + terms[f"single/{m.name}"]) for m in MIXED)
    torch.testing.assert_close(weighted + 0.25 * (terms["kl"] + terms["kl_single"]), loss.total.detach())


def test_infer_multiplies_any_subset_by_the_prior() -> None:
    model, batch = make_model(MIXED), mixed_batch(3)
    experts = {name: Normal(q.mean, (0.5 * q.logvar).exp()) for name, q in model.posteriors(batch).items()}
    for size in (1, 2, 3):
        for subset in combinations(batch, size):
            q = product([experts[name] for name in subset])
            inputs = {name: batch[name] for name in subset}
            torch.testing.assert_close(model.infer(inputs), q.mean)
            noise = torch.randn(3, LATENT, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
            drawn = model.infer(inputs, sample=True, generator=torch.Generator().manual_seed(2))
            torch.testing.assert_close(drawn, q.mean + q.stddev * noise)


class LinearExpert(nn.Module):
    """What x = W z + noise of scale s says of z: a diagonal Gaussian, as the columns of W are orthogonal."""

    def __init__(self, weight: Tensor, scale: float):
        super().__init__()
        self.weight, self.precision = weight, weight.square().sum(0) / scale**2
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        mean = x @ self.weight / (self.precision * self.scale**2)
        return torch.cat([mean, -self.precision.log().expand_as(mean)], dim=-1)


def test_loss_of_exact_experts_is_the_exact_log_likelihood() -> None:
    """With experts p(x_m given z) / const, products are the posteriors of their subsets: bounds are tight."""
    torch.manual_seed(0)
    scale, items = 0.5, 100_000
    modalities = (Modality("a", (3,)), Modality("b", (4,)))
    weights = {
        m.name: torch.linalg.qr(torch.randn(m.shape[0], 2, dtype=torch.float64))[0] * torch.tensor([1.5, 0.6])
        for m in modalities
    }
    model = MVAE(
        modalities, MVAESettings(latent_size=2, likelihood="gaussian", likelihood_scale=scale)
    ).double()
    for name, weight in weights.items():
        model.encoders[name] = LinearExpert(weight, scale)
        model.decoders[name] = nn.Linear(2, len(weight), bias=False, dtype=torch.float64)
        model.decoders[name].weight.data = weight
    x = {m.name: torch.randn(m.shape, dtype=torch.float64) for m in modalities}
    exact = torch.zeros((), dtype=torch.float64)
    for subset in (["a", "b"], ["a"], ["b"]):
        w = torch.cat([weights[name] for name in subset])
        covariance = w @ w.T + scale**2 * torch.eye(len(w), dtype=torch.float64)
        exact -= MultivariateNormal(torch.zeros(len(w), dtype=torch.float64), covariance).log_prob(
            torch.cat([x[name] for name in subset])
        )
    with torch.no_grad():
        loss = model.loss(
            {name: value.expand(items, -1) for name, value in x.items()}, torch.tensor(1.0)
        ).total
    torch.testing.assert_close(loss, exact, rtol=0, atol=0.02)  # the standard error is below 0.01


@pytest.mark.parametrize(
    ("annealing", "progress", "weight"),
    [(0.4, 0.0, 0.0), (0.4, 0.1, 0.5), (0.4, 0.4, 2.0), (0.4, 1.0, 2.0), (0.0, 0.0, 2.0), (1.0, 0.5, 1.0)],
)
def test_weight_of_the_kl_terms(annealing: float, progress: float, weight: float) -> None:
    model = MVAE(TWO, MVAESettings(latent_size=2, beta=2.0, annealing=annealing))
    assert model.kl_weight(torch.tensor(progress)) == pytest.approx(weight)
