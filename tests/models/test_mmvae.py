"""MMVAE against MultiVae 1.0.3 and against its gradient estimator written out sample by sample."""

import math
from typing import Any

import pytest
import torch
from multivae_twin import THREE, TWO, gradients, make_twin, random_batch, twin_output
from torch import Tensor, nn
from torch.distributions import Distribution, Laplace, Normal

from models.base import Modality
from models.mmvae import MMVAE, MMVAESettings
from models.parts.distributions import DiagonalGaussian, DiagonalLaplace

# with 6 items, K * B * L divides by 16: torch draws blocks of 16, so M draws of (K, B, L) are one of
# (M, K, B, L)
LATENT = 8
TINY = (Modality("a", (1, 2, 2), weight=2.0), Modality("b", (2, 2), likelihood="categorical", symbols="ab"))


def make_model(modalities: tuple[Modality, ...], latent_size: int = LATENT, **settings: Any) -> MMVAE:
    """A model in float64 with posteriors far from the prior and each other, and a prior that has learned."""
    torch.manual_seed(0)
    model = MMVAE(modalities, MMVAESettings(latent_size=latent_size, **settings)).double()
    with torch.no_grad():
        for encoder in model.encoders.values():
            encoder[-2].bias.normal_()
        for prior in (p for name, p in model.named_parameters() if name == "prior_spread"):
            prior.normal_()
    return model


@pytest.mark.parametrize("samples", [1, 5])
@pytest.mark.parametrize(
    ("posterior", "reference"), [("gaussian", "normal"), ("laplace", "laplace_with_softmax")]
)
@pytest.mark.parametrize("modalities", [TWO, THREE], ids=["two", "three"])
def test_loss_and_gradients_are_those_of_multivae(
    modalities: tuple[Modality, ...], posterior: str, reference: str, samples: int
) -> None:
    """Differences: MultiVae sums over the batch, we average; and its DReG loss has the value sum_k v_k log
    w_k, while ours is the bound itself.

    Hence our value is that of its plain bound, our gradient that of its DReG loss, both divided by B.
    """
    model = make_model(modalities, posterior=posterior, samples=samples)
    parameters = list(model.parameters())
    batch = random_batch(modalities, 6)
    torch.manual_seed(1)
    ours = model.loss(batch, torch.tensor(0.5)).total
    theirs = {}
    for objective in ("iwae_looser", "dreg_looser"):
        twin = make_twin(
            "MMVAE",
            model,
            K=samples,
            prior_and_posterior_dist=reference,
            learn_prior=posterior == "laplace",
            loss=objective,
        )
        if posterior == "laplace":
            twin.prior_log_var = model.prior_spread
        torch.manual_seed(1)
        theirs[objective] = twin_output(twin, batch).loss / 6
    torch.testing.assert_close(ours, theirs["iwae_looser"], rtol=1e-6, atol=0)
    if samples == 1:
        torch.testing.assert_close(ours, theirs["dreg_looser"], rtol=1e-6, atol=0)
    for mine, other in zip(
        gradients(ours, parameters), gradients(theirs["dreg_looser"], parameters), strict=True
    ):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-6 * float(other.abs().max()))


def expert(posterior: str, mean: Tensor, raw: Tensor) -> Normal | Laplace:
    """q(z given x) from the two halves of an encoder's output."""
    return (
        Normal(mean, torch.exp(0.5 * raw))
        if posterior == "gaussian"
        else Laplace(mean, raw.softmax(-1) * len(raw) + 1e-6)
    )


def draw(q: Normal | Laplace, noise: Tensor) -> Tensor:
    """The latent that `q` makes of standard normal, or of uniform, noise."""
    return q.loc + q.scale * (noise if isinstance(q, Normal) else -noise.sign() * torch.log1p(-noise.abs()))


def log_weight(
    model: MMVAE, batch: dict[str, Tensor], item: int, z: Tensor, experts: list[Normal | Laplace]
) -> Tensor:
    """log p(z) + sum_n s_n log p(x_n given z) - log (1/M) sum_n q_n(z) of one item and one latent (L,)."""
    if model.settings.posterior == "gaussian":
        prior: Distribution = Normal(torch.zeros_like(z), 1.0)
    else:
        prior = Laplace(torch.zeros_like(z), model.prior_spread.softmax(-1) * len(z) + 1e-6)
    log_w = prior.log_prob(z).sum()
    for name, modality in model.modalities.items():
        x, mean = batch[name][item], model.decoders[name](z[None])[0]
        if modality.likelihood == "categorical":
            log_w = log_w + modality.weight * mean[x.bool()].log().sum()
        else:
            log_w = log_w + modality.weight * Laplace(mean, 0.75).log_prob(x).sum()
    return log_w - torch.stack([q.log_prob(z).sum() for q in experts]).exp().mean().log()


def estimators_by_hand(
    model: MMVAE, batch: dict[str, Tensor], noise: Tensor
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """The looser bound from `noise` (M, K, B, L), one latent at a time; its DReG gradient; its plain
    gradient.

    DReG: sum_k v_k dlog w_k/dtheta + sum_k v_k^2 (dlog w_k/dz) (dz/dphi). Plain: the derivative of the bound,
    through q as well.
    """
    parameters, posterior = list(model.parameters()), model.settings.posterior
    experts, samples, items = noise.shape[:3]
    bound = torch.zeros((), dtype=torch.float64)
    dreg = [torch.zeros_like(p) for p in parameters]
    for item in range(items):
        heads = [model.encoders[name](batch[name][item : item + 1])[0].chunk(2) for name in model.modalities]
        attached = [expert(posterior, mean, raw) for mean, raw in heads]
        detached = [expert(posterior, mean.detach(), raw.detach()) for mean, raw in heads]
        for m in range(experts):
            latents = [draw(attached[m], noise[m, k, item]) for k in range(samples)]
            weights = torch.stack([log_weight(model, batch, item, z, attached) for z in latents])
            bound = bound + weights.exp().mean().log() / (experts * items)
            for z, v in zip(latents, weights.detach().softmax(0), strict=True):
                leaf = z.detach().requires_grad_()
                *direct, by_latent = torch.autograd.grad(
                    log_weight(model, batch, item, leaf, detached),
                    [*parameters, leaf],
                    allow_unused=True,
                    materialize_grads=True,
                )
                through = torch.autograd.grad(
                    z, parameters, by_latent, retain_graph=True, allow_unused=True, materialize_grads=True
                )
                for total, of_decoder, of_encoder in zip(dreg, direct, through, strict=True):
                    total += (v * of_decoder + v**2 * of_encoder) / (experts * items)
    return bound, dreg, gradients(bound, parameters)


def difference(mine: list[Tensor], other: list[Tensor]) -> float:
    """Largest difference, relative to the largest entry of its tensor."""
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(mine, other, strict=True))


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("posterior", ["gaussian", "laplace"])
def test_gradient_is_the_doubly_reparameterised_one(posterior: str, samples: int) -> None:
    """Written out by hand; it differs from plain IWAE's for the encoders, not for decoders and prior."""
    model = make_model(TINY, latent_size=2, posterior=posterior, samples=samples)
    names = [name for name, _ in model.named_parameters()]
    batch = random_batch(TINY, 3)
    batch["b"] = nn.functional.one_hot(torch.tensor([[0, 1], [1, 1], [0, 0]]), 2).double()
    torch.manual_seed(1)
    loss = model.loss(batch, torch.tensor(0.5)).total
    torch.manual_seed(1)
    noise = torch.empty(2, samples, 3, 2, dtype=torch.float64)
    noise = (
        noise.normal_() if posterior == "gaussian" else noise.uniform_(torch.finfo(torch.float64).eps - 1, 1)
    )
    bound, dreg, iwae = estimators_by_hand(model, batch, noise)
    torch.testing.assert_close(loss, -bound)
    mine = [-g for g in gradients(loss, list(model.parameters()))]
    assert difference(mine, dreg) < 1e-6  # the likelihood keeps the logarithm of its scale in float32
    of_encoder = [name.startswith("encoders.") for name in names]
    assert any(of_encoder)
    for gradient, plain, encoder in zip(mine, iwae, of_encoder, strict=True):
        assert (difference([gradient], [plain]) > 0.05) == encoder


@pytest.mark.parametrize("samples", [1, 4])
@pytest.mark.parametrize("modalities", [TWO, THREE], ids=["two", "three"])
def test_every_network_is_called_once(modalities: tuple[Modality, ...], samples: int) -> None:
    model = make_model(modalities, samples=samples)
    calls: list[tuple[str, int]] = []
    for kind in ("encoders", "decoders"):
        for name, network in getattr(model, kind).items():
            network.register_forward_hook(
                lambda _module, inputs, _output, key=f"{kind}/{name}": calls.append((key, len(inputs[0])))
            )
    model.loss(random_batch(modalities, 6), torch.tensor(0.5))
    names = [m.name for m in modalities]
    latents = len(modalities) * samples * 6
    assert sorted(calls) == sorted(
        [(f"encoders/{name}", 6) for name in names] + [(f"decoders/{name}", latents) for name in names]
    )


def test_loss_can_be_taken_without_gradients() -> None:
    model = make_model(TWO, samples=3)
    batch = random_batch(TWO, 6)
    torch.manual_seed(1)
    with torch.inference_mode():
        value = model.loss(batch, torch.tensor(0.5)).total
    torch.manual_seed(1)
    assert torch.equal(value, model.loss(batch, torch.tensor(0.5)).total)


def test_more_samples_tighten_the_bound() -> None:
    """Burda et al. 2016, theorem 1: the bound grows with K."""
    batch = random_batch(TWO, 16)
    bounds = []
    for samples in (1, 10, 100):
        torch.manual_seed(1)
        bounds.append(-make_model(TWO, samples=samples).loss(batch, torch.tensor(0.5)).total.item())
    assert bounds[0] < bounds[1] < bounds[2]


def test_terms_make_up_the_bound_of_one_sample() -> None:
    model = make_model(THREE)
    loss = model.loss(random_batch(THREE, 6), torch.tensor(0.5))
    weighted = sum(m.weight * loss.terms[f"reconstruction/{m.name}"] for m in THREE)
    torch.testing.assert_close(loss.total.detach(), weighted + loss.terms["kl"])


def test_several_inputs_are_averaged_or_one_of_them_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model(THREE)
    centres = torch.tensor([-100.0, 0.0, 400.0]).view(3, 1, 1).expand(3, 3000, LATENT)
    monkeypatch.setattr(model, "experts", lambda inputs: DiagonalGaussian(centres, torch.zeros_like(centres)))
    torch.testing.assert_close(model.infer({}), torch.full((3000, LATENT), 100.0))
    draws = model.infer({}, sample=True, generator=torch.Generator().manual_seed(0))
    assert torch.equal(draws, model.infer({}, sample=True, generator=torch.Generator().manual_seed(0)))
    nearest = (draws.unsqueeze(0) - centres).abs().argmin(0)
    assert (nearest == nearest[:, :1]).all()  # all dimensions of an item come from one expert
    assert torch.bincount(nearest[:, 0], minlength=3).tolist() == pytest.approx([1000, 1000, 1000], abs=100)
    noise = draws - centres[nearest[:, 0], torch.arange(3000)]
    assert float(noise.mean()) == pytest.approx(0, abs=0.05)
    assert float(noise.std()) == pytest.approx(1, abs=0.05)


def test_laplace_is_that_of_torch() -> None:
    torch.manual_seed(0)
    q = DiagonalLaplace(torch.randn(4, 5, dtype=torch.float64), torch.randn(4, 5, dtype=torch.float64))
    torch.testing.assert_close(
        q.scale().sum(-1), torch.full((4,), 5.0, dtype=torch.float64), rtol=1e-5, atol=0
    )
    z = torch.randn(6, 4, 5, dtype=torch.float64)
    reference = Laplace(q.mean, q.scale())
    torch.testing.assert_close(q.log_prob(z), reference.log_prob(z).sum(-1))
    torch.manual_seed(1)
    drawn = q.rsample()
    torch.manual_seed(1)
    torch.testing.assert_close(drawn, reference.rsample())


@pytest.mark.parametrize("posterior", ["gaussian", "laplace"])
def test_prior_draws_follow_the_prior(posterior: str) -> None:
    """E|z| is sqrt(2 / pi) under N(0, 1) and b under Laplace(0, b)."""
    model = make_model(TWO, posterior=posterior)
    with torch.no_grad():
        z = model.prior(100_000, torch.Generator().manual_seed(0))
        expected = (
            model.prior_spread.softmax(-1) * LATENT
            if posterior == "laplace"
            else torch.full_like(model.prior_spread, math.sqrt(2 / math.pi))
        )
    torch.testing.assert_close(z.abs().mean(0), expected, rtol=0.02, atol=0)
    assert float(z.mean()) == pytest.approx(0, abs=0.01)
