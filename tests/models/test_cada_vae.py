"""CADA-VAE against its formulas written out item by item."""

import math
from itertools import combinations, permutations

import pytest
import torch
from scipy.linalg import sqrtm
from torch import Tensor

from models.base import Modality
from models.cada_vae import CADAVAE, CADAVAESettings, NegativeL1, wasserstein
from models.errors import InputError
from models.parts.distributions import DiagonalGaussian
from models.settings import resolve

TWO = (Modality("a", (1, 4, 4)), Modality("b", (3, 8, 8)))
THREE = (*TWO, Modality("c", (5, 4), likelihood="categorical", symbols="abcd"))
BOTH = pytest.mark.parametrize("modalities", [TWO, THREE], ids=["two", "three"])


def make_model(modalities: tuple[Modality, ...]) -> CADAVAE:
    torch.manual_seed(0)
    return CADAVAE(modalities, CADAVAESettings(latent_size=6)).double()


def random_batch(modalities: tuple[Modality, ...], items: int) -> dict[str, Tensor]:
    batch = {m.name: torch.rand(items, *m.shape, dtype=torch.float64) for m in modalities}
    if "c" in batch:
        batch["c"] = torch.nn.functional.one_hot(batch["c"].argmax(-1), 4).double()
    return batch


@torch.no_grad()
def slow_terms(model: CADAVAE, batch: dict[str, Tensor], noise: dict[str, Tensor]) -> dict[str, float]:
    """The four parts of the loss, one item and one pair of modalities at a time."""
    parts = dict.fromkeys(("reconstruction", "cross", "kl", "distance"), 0.0)
    items = len(next(iter(batch.values())))
    for item in range(items):
        mean, sigma, latent = {}, {}, {}
        for name in model.modalities:
            mean[name], logvar = model.encoders[name](batch[name][item : item + 1])[0].chunk(2)
            sigma[name] = logvar.div(2).exp()
            latent[name] = mean[name] + sigma[name] * noise[name][item]
            for mu, s in zip(mean[name].tolist(), sigma[name].tolist(), strict=True):
                parts["kl"] += 0.5 * (mu**2 + s**2 - 1) - math.log(s)
        for a, b in combinations(model.modalities, 2):
            parts["distance"] += math.sqrt(
                float(((mean[a] - mean[b]) ** 2).sum() + ((sigma[a] - sigma[b]) ** 2).sum())
            )
        for source, target in [(name, name) for name in model.modalities] + list(
            permutations(model.modalities, 2)
        ):
            x, decoded = batch[target][item], model.decoders[target](latent[source][None])[0]
            cost = -(x * decoded.log()).sum() if target == "c" else (x - decoded).abs().sum()
            parts["reconstruction" if source == target else "cross"] += float(cost)
    return {name: part / items for name, part in parts.items()}


@BOTH
@pytest.mark.parametrize(
    ("progress", "beta", "gamma", "delta"),
    [
        (0.0, 0.0, 0.0, 0.0),
        (0.1, 0.25 * 0.1 / 0.93, 0.0, 8.13 * 0.04 / 0.16),
        (0.5, 0.25 * 0.5 / 0.93, 2.37 * 0.29 / 0.54, 8.13),
        (1.0, 0.25, 2.37, 8.13),
    ],
)
def test_loss_is_the_sum_over_items_and_pairs(
    modalities: tuple[Modality, ...], progress: float, beta: float, gamma: float, delta: float
) -> None:
    model = make_model(modalities)
    batch = random_batch(modalities, 5)
    torch.manual_seed(1)
    loss = model.loss(batch, torch.tensor(progress, dtype=torch.float64))
    torch.manual_seed(1)
    noise = {m.name: torch.randn(5, 6, dtype=torch.float64) for m in modalities}
    slow = slow_terms(model, batch, noise)
    expected = slow["reconstruction"] + beta * slow["kl"] + gamma * slow["cross"] + delta * slow["distance"]
    assert loss.total.item() == pytest.approx(expected, rel=1e-6)
    for part in ("reconstruction", "cross"):
        assert sum(loss.terms[f"{part}/{m.name}"].item() for m in modalities) == pytest.approx(
            slow[part], rel=1e-9
        )
    assert loss.terms["kl"].item() == pytest.approx(slow["kl"], rel=1e-9)
    assert loss.terms["distance"].item() == pytest.approx(slow["distance"], rel=1e-6)


@pytest.mark.parametrize(
    ("start", "end", "final", "half"),
    [(0.0, 0.93, 0.25, 0.465), (0.21, 0.75, 2.37, 0.48), (0.06, 0.22, 8.13, 0.14)],
    ids=["beta", "cross", "distance"],
)
def test_warm_ups_are_the_published_ones(start: float, end: float, final: float, half: float) -> None:
    """Zero up to the start, half of the value half-way, the value at the end and from there on."""
    name = {0.25: "beta", 2.37: "cross", 8.13: "distance"}[final]
    settings = CADAVAESettings()
    assert (
        getattr(settings, f"{name}_start"),
        getattr(settings, f"{name}_end"),
        getattr(settings, name),
    ) == (start, end, final)


def test_warm_up_that_ends_before_it_starts_is_refused() -> None:
    with pytest.raises(InputError, match=r"cross_start=0\.8 and cross_end=0\.75 of cada-vae"):
        resolve(CADAVAESettings, {"cross_start": "0.8"}, owner="cada-vae")


def test_wasserstein_is_the_closed_form_for_gaussians() -> None:
    """W2^2 = |mu_a - mu_b|^2 + Tr(A + B - 2 (A^1/2 B A^1/2)^1/2), covariances A, B (Dowson, Landau 1982)."""
    torch.manual_seed(0)
    a, b = (
        DiagonalGaussian(torch.randn(7, 4, dtype=torch.float64), torch.randn(7, 4, dtype=torch.float64))
        for _ in range(2)
    )
    expected = []
    for i in range(7):
        cov_a, cov_b = a.logvar[i].exp().diag().numpy(), b.logvar[i].exp().diag().numpy()
        root = sqrtm(cov_a)
        expected.append(
            math.sqrt(
                float((a.mean[i] - b.mean[i]).square().sum())
                + (cov_a + cov_b - 2 * sqrtm(root @ cov_b @ root)).trace().real
            )
        )
    torch.testing.assert_close(
        wasserstein(a, b), torch.tensor(expected, dtype=torch.float64), rtol=1e-6, atol=0
    )


def test_gradient_is_finite_where_two_posteriors_coincide() -> None:
    twins = (Modality("a", (1, 4, 4)), Modality("b", (1, 4, 4)))
    model = make_model(twins)
    model.encoders["b"].load_state_dict(model.encoders["a"].state_dict())
    x = torch.rand(5, 1, 4, 4, dtype=torch.float64)
    loss = model.loss({"a": x, "b": x}, torch.tensor(1.0))
    assert loss.terms["distance"].item() < 1e-3
    loss.total.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@BOTH
def test_every_network_is_called_once(modalities: tuple[Modality, ...]) -> None:
    model = make_model(modalities)
    calls: list[tuple[str, int]] = []
    for kind in ("encoders", "decoders"):
        for name, network in getattr(model, kind).items():
            network.register_forward_hook(
                lambda _module, inputs, _output, key=f"{kind}/{name}": calls.append((key, len(inputs[0])))
            )
    model.loss(random_batch(modalities, 5), torch.tensor(0.5))
    expected = [
        (f"{kind}/{m.name}", items)
        for m in modalities
        for kind, items in (("encoders", 5), ("decoders", 5 * len(modalities)))
    ]
    assert sorted(calls) == sorted(expected)


def test_l1_sums_an_item_and_keeps_leading_dimensions() -> None:
    torch.manual_seed(0)
    x, mean = torch.rand(4, 3, 2, 2), torch.rand(6, 4, 3, 2, 2)
    expected = torch.tensor(
        [
            [
                -sum(abs(p - q) for p, q in zip(x[i].flatten(), mean[s, i].flatten(), strict=True))
                for i in range(4)
            ]
            for s in range(6)
        ]
    )
    torch.testing.assert_close(NegativeL1()(x, mean), expected)


def test_latent_of_several_inputs_is_the_mean_of_their_means_and_a_draw_is_one_of_their_draws() -> None:
    model = make_model(THREE)
    batch = random_batch(THREE, 5)
    single = [model.infer({name: x}) for name, x in batch.items()]
    torch.testing.assert_close(model.infer(batch), (single[0] + single[1] + single[2]) / 3)
    generator = torch.Generator().manual_seed(0)
    draws = [model.infer({name: x}, sample=True, generator=generator) for name, x in batch.items()]
    drawn = model.infer(batch, sample=True, generator=torch.Generator().manual_seed(0))
    whole = (torch.stack(draws) == drawn).all(-1)  # (M, B)
    assert whole.sum(0).tolist() == [1] * 5
