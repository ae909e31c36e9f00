"""CNF-MVAE against a linear-Gaussian model with a known marginal, autograd's Jacobian and explicit loops."""

import math

import pytest
import torch
from torch import nn

from models.base import Modality
from models.cnf_mvae import CNFMVAE, CNFMVAESettings
from models.conformance import THREE, TWO
from models.parts.contrast import info_nce, products
from models.parts.flows import CouplingFlow


class Affine(nn.Module):
    """f(z) = a z + t, with its log-determinant."""

    def __init__(self, a, t):
        super().__init__()
        self.a, self.t = a, t

    def forward(self, z):
        return self.a * z + self.t, torch.full(
            z.shape[:-1], z.shape[-1] * math.log(abs(self.a)), dtype=z.dtype
        )

    def inverse(self, u):
        return (u - self.t) / self.a


class Linear(nn.Module):
    """x -> x W^T + b, shaped like the modality."""

    def __init__(self, weight, bias, shape):
        super().__init__()
        self.weight, self.bias, self.shape = weight, bias, shape

    def forward(self, x):
        return (x.flatten(1) @ self.weight.T + self.bias).unflatten(1, self.shape)


@pytest.fixture
def linear_gaussian():
    """A model of one linear-Gaussian modality with the exact posterior, data, and log p(x) of each item.

    Dec(z) = W z + b with W^T W = c I, f(z) = a z + t: then x ~ N(b - W t / a, s2^2 I + W W^T / a^2), and the
    posterior is N(e, s1^2 I) with s1^2 = 1 / (a^2 + c / s2^2), e = s1^2 (W^T (x - b) / s2^2 - a t).
    With a = 1 a wrong sign of the log-determinant would pass.
    """
    torch.manual_seed(0)
    dims, size, a, c, s2 = 6, 3, 1.7, 2.3, 0.6
    weight = torch.linalg.qr(torch.randn(dims, size, dtype=torch.float64))[0] * math.sqrt(c)
    bias, t = torch.randn(dims, dtype=torch.float64), torch.randn(size, dtype=torch.float64)
    s1 = 1 / math.sqrt(a**2 + c / s2**2)
    modalities = (Modality("a", (1, 2, 3)), Modality("b", (1, 2, 3)))
    model = CNFMVAE(modalities, CNFMVAESettings(latent_size=size, likelihood_scale=s2)).double()
    model.flows["a"] = Affine(a, t)
    model.decoders["a"] = Linear(weight, bias, (1, 2, 3))
    model.encoders["a"] = Linear(
        s1**2 * weight.T / s2**2, -(s1**2) * (weight.T @ bias / s2**2 + a * t), (size,)
    )
    model.log_s1["a"].data.fill_(math.log(s1))
    model.likelihoods["a"].log_scale = torch.tensor(math.log(s2), dtype=torch.float64)
    marginal = torch.distributions.MultivariateNormal(
        bias - weight @ t / a, s2**2 * torch.eye(dims, dtype=torch.float64) + weight @ weight.T / a**2
    )
    x = marginal.sample((50,)).unflatten(1, (1, 2, 3))
    return model, x, marginal.log_prob(x.flatten(1))


def test_loss_is_the_marginal_likelihood_for_every_eps(linear_gaussian):
    model, x, log_marginal = linear_gaussian
    for item in range(len(x)):
        for seed in range(3):
            torch.manual_seed(seed)
            loss, _, _ = model.modality_loss("a", x[item : item + 1])
            assert loss.item() == pytest.approx(-log_marginal[item].item(), abs=1e-10)


@pytest.mark.parametrize("change", ["encoder", "s1"])
def test_any_other_posterior_raises_the_loss(linear_gaussian, change):
    model, x, log_marginal = linear_gaussian
    x, best = x.repeat(200, 1, 1, 1), -log_marginal.mean().item()
    for delta in (-0.3, 0.3):
        if change == "encoder":
            moved = Linear(model.encoders["a"].weight, model.encoders["a"].bias + delta, (3,))
            original, model.encoders["a"] = model.encoders["a"], moved
            loss = model.modality_loss("a", x)[0].item()
            model.encoders["a"] = original
        else:
            model.log_s1["a"].data += delta
            loss = model.modality_loss("a", x)[0].item()
            model.log_s1["a"].data -= delta
        assert loss > best + 0.05


@pytest.mark.parametrize(("size", "layers"), [(4, 0), (2, 1), (5, 3), (8, 5)])
def test_flow_against_autograd(size, layers):
    torch.manual_seed(1)
    flow = CouplingFlow(size, layers, hidden=16).double()
    for parameter in flow.parameters():
        parameter.data.normal_(std=0.4)
    z = torch.randn(7, size, dtype=torch.float64)
    u, logdet = flow(z)
    for item in range(len(z)):
        jacobian = torch.autograd.functional.jacobian(lambda one: flow(one[None])[0][0], z[item])
        assert logdet[item].item() == pytest.approx(
            torch.linalg.slogdet(jacobian).logabsdet.item(), abs=1e-10
        )
    if layers > 1:
        assert (u != z).all(), "some dimension is never moved"


def test_flow_inverts_in_single_precision():
    torch.manual_seed(2)
    flow = CouplingFlow(40, 5, 128)
    for network in flow.networks:
        network[-1].weight.data.mul_(10)  # as far from the identity as a default layer
    z = 2 * torch.randn(256, 40)
    torch.testing.assert_close(flow.inverse(flow(z)[0]), z, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(flow(flow.inverse(z))[0], z, atol=1e-5, rtol=1e-5)


def loop_nce(a, b, temperature):
    """Equations 12-14 item by item."""
    total = 0.0
    for i in range(len(a)):
        forward = [math.exp((a[i] @ b[j]).item() / temperature) for j in range(len(b))]
        backward = [math.exp((b[i] @ a[j]).item() / temperature) for j in range(len(a))]
        total += -math.log(forward[i] / sum(forward)) - math.log(backward[i] / sum(backward))
    return total / (2 * len(a))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 7.0])
def test_info_nce_against_a_double_loop(temperature):
    torch.manual_seed(3)
    a, b = torch.randn(2, 9, 4, dtype=torch.float64)
    found = info_nce(products(a, b) / temperature).item()
    assert found == pytest.approx(loop_nce(a, b, temperature), rel=1e-12)


def test_info_nce_of_equal_embeddings_is_chance():
    same = torch.ones(12, 3)
    assert info_nce(products(same, same)).item() == pytest.approx(math.log(12), rel=1e-6)


@pytest.mark.parametrize("modalities", [TWO, THREE], ids=["two", "three"])
@pytest.mark.parametrize("contrast_on", ["sample", "mean"])
def test_total_is_the_sum_over_modalities_and_unordered_pairs(modalities, contrast_on):
    torch.manual_seed(4)
    model = CNFMVAE(
        modalities,
        CNFMVAESettings(latent_size=6, temperature=3.0, contrast_weight=2.5, contrast_on=contrast_on),
    ).double()
    batch = {m.name: torch.rand(5, *m.shape, dtype=torch.float64) for m in modalities}
    torch.manual_seed(5)
    loss = model.loss(batch, torch.tensor(0.0))
    torch.manual_seed(5)
    parts = {name: model.modality_loss(name, batch[name]) for name in batch}
    names = list(batch)
    contrast = 0.0
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            contrast += loop_nce(parts[a][1], parts[b][1], 3.0)
    expected = sum(part[0].item() for part in parts.values()) + 2.5 * contrast
    assert loss.total.item() == pytest.approx(expected, rel=1e-10)
    assert loss.terms["contrast_chance"].item() == pytest.approx(math.log(5))


def test_contrast_on_the_mean_sees_no_noise():
    model = CNFMVAE(TWO, CNFMVAESettings(contrast_on="mean"))
    x = torch.rand(4, *TWO[0].shape)
    assert torch.equal(model.modality_loss("a", x)[1], model.modality_loss("a", x)[1])
    noisy = CNFMVAE(TWO, CNFMVAESettings(contrast_on="sample"))
    assert not torch.equal(noisy.modality_loss("a", x)[1], noisy.modality_loss("a", x)[1])


def test_a_trained_scale_ends_at_the_root_mean_square_error():
    """D log s2 + |error|^2 / (2 s2^2) is least at s2^2 = |error|^2 / D.

    Without the first term s2 would grow for ever.
    """
    torch.manual_seed(6)
    model = CNFMVAE(TWO, CNFMVAESettings(train_likelihood_scale=True)).double()
    likelihood = model.likelihoods["a"]
    x, mean = torch.rand(2, 8, *TWO[0].shape, dtype=torch.float64)
    optimizer = torch.optim.LBFGS(likelihood.parameters(), max_iter=50)

    def closure():
        optimizer.zero_grad()
        cost = -likelihood(x, mean).mean()
        cost.backward()
        return cost

    optimizer.step(closure)
    assert likelihood.log_scale.exp().item() == pytest.approx(
        (x - mean).square().mean().sqrt().item(), rel=1e-4
    )


def test_several_inputs_give_the_mean_of_their_meta_latents():
    torch.manual_seed(7)
    model = CNFMVAE(THREE, CNFMVAESettings())
    batch = {m.name: torch.rand(3, *m.shape) for m in THREE}
    each = torch.stack([model.infer({name: x}) for name, x in batch.items()])
    torch.testing.assert_close(model.infer(batch), each.mean(0))
