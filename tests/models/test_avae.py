"""AVAE: its divergence, both losses item by item, what each stage trains, resuming, drawing, translating."""

from itertools import permutations
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Independent, Laplace, Normal, kl_divergence

from mmbench.data.base import Split
from mmbench.data.batches import Batches
from mmbench.plan.presets import Training
from mmbench.training.checkpoints import Checkpoints
from mmbench.training.trainer import Trainer
from models.avae import AVAE, AVAESettings
from models.base import Modality
from models.parts.distributions import DiagonalGaussian

MIXED = (
    Modality("a", (1, 2, 2), weight=2.0),
    Modality("b", (3, 8, 8)),
    Modality("c", (2, 3), likelihood="categorical", weight=5.0, symbols="abc"),
)
LATENT = 4  # with 4 items, B * L divides by 16, the size of the blocks that torch draws


def make_model() -> AVAE:
    torch.manual_seed(0)
    return AVAE(MIXED, AVAESettings(latent_size=LATENT)).double()


def mixed_batch(items: int) -> dict[str, Tensor]:
    batch = {m.name: torch.rand(items, *m.shape, dtype=torch.float64) for m in MIXED}
    batch["c"] = nn.functional.one_hot(batch["c"].argmax(-1), 3).double()
    return batch


def normal(q: DiagonalGaussian) -> Independent:
    return Independent(Normal(q.mean, (0.5 * q.logvar).exp()), 1)


def test_divergence_is_that_of_torch() -> None:
    torch.manual_seed(0)
    a, b = (
        DiagonalGaussian(torch.randn(3, 5, dtype=torch.float64), torch.randn(3, 5, dtype=torch.float64))
        for _ in range(2)
    )
    torch.testing.assert_close(a.kl_to(b), kl_divergence(normal(a), normal(b)))
    torch.testing.assert_close(
        a.kl_to(DiagonalGaussian(torch.zeros(5).double(), torch.zeros(5).double())), a.kl()
    )
    assert torch.equal(a.kl_to(a), torch.zeros(3, dtype=torch.float64))


def test_first_loss_is_the_sum_of_plain_elbos() -> None:
    """One item at a time; modality weights have no part in it."""
    model, batch = make_model(), mixed_batch(4)
    torch.manual_seed(1)
    total = model.loss(batch, torch.tensor(0.5)).total
    torch.manual_seed(1)
    noise = {name: torch.randn(4, LATENT, dtype=torch.float64) for name in batch}
    expected = torch.zeros((), dtype=torch.float64)
    for name, x in batch.items():
        for item in range(4):
            q = normal(model.posteriors({name: x[item : item + 1]})[name])
            mean = model.decoders[name](q.mean + q.stddev * noise[name][item])[0]
            density = (
                mean[x[item].bool()].log().sum()
                if name == "c"
                else Laplace(mean, 0.75).log_prob(x[item]).sum()
            )
            expected = (
                expected
                + (kl_divergence(q, Independent(Normal(torch.zeros(1, LATENT), 1.0), 1))[0] - density) / 4
            )
    torch.testing.assert_close(total, expected)


def test_second_loss_is_the_divergence_to_the_targets_posterior() -> None:
    model, batch = make_model(), mixed_batch(4)
    torch.manual_seed(1)
    loss = model.association_loss(batch, torch.tensor(0.5))
    torch.manual_seed(1)
    q = {name: normal(posterior) for name, posterior in model.posteriors(batch).items()}
    z = {name: q[name].mean + q[name].stddev * torch.randn(4, LATENT, dtype=torch.float64) for name in batch}
    assert set(loss.terms) == {f"association/{n}->{m}" for n, m in permutations("abc", 2)}
    for n, m in permutations(batch, 2):
        mean, logvar = model.associators[f"{n}->{m}"](z[n]).chunk(2, dim=-1)
        expected = kl_divergence(normal(DiagonalGaussian(mean, logvar)), q[m]).mean()
        torch.testing.assert_close(loss.terms[f"association/{n}->{m}"], expected.detach())
    torch.testing.assert_close(loss.total.detach(), sum(loss.terms.values()))


def test_each_stage_has_gradients_for_its_own_parameters_alone() -> None:
    model, batch = make_model(), mixed_batch(4)
    own = {stage.name: set(stage.parameters) for stage in model.stages()}
    assert own["vaes"].isdisjoint(own["associators"])
    assert own["vaes"] | own["associators"] == set(model.parameters())
    for stage in model.stages():
        model.zero_grad()
        stage.loss(batch, torch.tensor(0.5)).total.backward()
        assert {p for p in model.parameters() if p.grad is not None} == own[stage.name]


def make_trainer(folder: Path, steps: int = 30) -> Trainer:
    """A fresh model on random pairs; its stages meet at step 15."""
    generator = torch.Generator().manual_seed(0)
    items = {
        m.name: torch.randint(256, (40, *m.shape), dtype=torch.uint8, generator=generator) for m in MIXED
    }
    labels = {name: torch.zeros(40) for name in items}
    split = Split(items, labels, torch.randint(40, (100, 3), generator=generator))
    torch.manual_seed(0)
    model = AVAE(MIXED, AVAESettings(latent_size=LATENT))
    return Trainer(
        model,
        Batches(split, MIXED, 8, seed=3),
        Training(steps=steps, learning_rate=1e-2),
        Checkpoints(folder / "checkpoint.pt", "", 3),
    )


def weights(trainer: Trainer) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in trainer.model.state_dict().items()}


def test_the_second_stage_leaves_the_vaes_alone_and_the_first_the_associators(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path)
    start = weights(trainer)
    trainer.watch.stop = lambda: trainer.step == 15
    assert not trainer.run()
    middle = weights(trainer)
    trainer.watch.stop = lambda: False
    assert trainer.run()
    assert {row["stage"] for row in trainer.history} == {"vaes", "associators"}
    for name, end in weights(trainer).items():
        if name.startswith("associators"):
            assert torch.equal(middle[name], start[name]), name
            assert not torch.equal(end, middle[name]), name
        else:
            assert torch.equal(end, middle[name]), name
            assert name.startswith("likelihoods") or not torch.equal(middle[name], start[name]), name


@pytest.mark.parametrize("interruptions", [(15,), (7, 15, 22)], ids=["between", "thrice"])
def test_resume_across_the_stages_is_exact(interruptions: tuple[int, ...], tmp_path: Path) -> None:
    whole = make_trainer(tmp_path / "whole")
    assert whole.run()
    for at in interruptions:
        broken = make_trainer(tmp_path / "broken")
        broken.watch.stop = lambda broken=broken, at=at: broken.step == at
        assert not broken.run()
        torch.randn(17)
    last = make_trainer(tmp_path / "broken")
    assert last.run()
    assert last.history == whole.history
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(last)[name]), name


class Affine(nn.Module):
    """An associator with mean 2 z + `shift` and standard deviation `sigma`."""

    def __init__(self, shift: float, sigma: float):
        super().__init__()
        self.shift, self.logvar = shift, 2 * torch.tensor(sigma, dtype=torch.float64).log()

    def forward(self, z: Tensor) -> Tensor:
        return torch.cat([2 * z + self.shift, self.logvar.expand_as(z)], dim=-1)


def transparent() -> AVAE:
    """Decoders pass the latent on, and associations are known."""
    model = make_model()
    for name in model.modalities:
        model.decoders[name] = nn.Identity()
    for pair, (shift, sigma) in {"a->b": (1.0, 0.5), "a->c": (-1.0, 2.0), "b->c": (3.0, 1.0)}.items():
        model.associators[pair] = Affine(shift, sigma)
    return model


def test_joint_draws_associate_with_a_draw_from_the_first_prior() -> None:
    drawn = transparent().generate(100_000, torch.Generator().manual_seed(0))
    z = drawn["a"].double()
    torch.testing.assert_close(z.mean(0), torch.zeros(LATENT).double(), rtol=0, atol=0.02)
    torch.testing.assert_close(z.T.cov(), torch.eye(LATENT).double(), rtol=0, atol=0.02)
    for name, shift, sigma in (("b", 1.0, 0.5), ("c", -1.0, 2.0)):
        residual = drawn[name].double() - (2 * z + shift)
        torch.testing.assert_close(residual.mean(0), torch.zeros(LATENT).double(), rtol=0, atol=0.03)
        torch.testing.assert_close(residual.std(0), torch.full((LATENT,), sigma).double(), rtol=0.02, atol=0)
        assert torch.cat([residual.T, z.T]).corrcoef().fill_diagonal_(0).abs().max() < 0.02


def test_translation_of_means() -> None:
    """Observed modalities keep their latents; two sources are weighed by their precisions, here 1/4 and 1."""
    model, batch = transparent(), mixed_batch(3)
    own = {name: q.mean for name, q in model.posteriors(batch).items()}
    one = model.translate({"a": batch["a"]}, ["a", "b", "c"])
    torch.testing.assert_close(one["a"], own["a"])
    torch.testing.assert_close(one["b"], 2 * own["a"] + 1)
    torch.testing.assert_close(one["c"], 2 * own["a"] - 1)
    two = model.translate({"a": batch["a"], "b": batch["b"]}, ["c", "b"])
    torch.testing.assert_close(two["b"], own["b"])
    torch.testing.assert_close(two["c"], (0.25 * (2 * own["a"] - 1) + 2 * own["b"] + 3) / 1.25)


def test_translation_samples_source_and_association(monkeypatch: pytest.MonkeyPatch) -> None:
    """z_c = w_a (2 z_a - 1) + w_b (2 z_b + 3) + noise of variance 1 / 1.25, with draws z_a and z_b."""
    model, batch = transparent(), mixed_batch(1)
    posteriors = model.posteriors({name: batch[name] for name in ("a", "b")})
    q = {name: normal(DiagonalGaussian(p.mean[0], p.logvar[0])) for name, p in posteriors.items()}
    repeated = {name: DiagonalGaussian(*(x.expand(100_000, -1) for x in p)) for name, p in posteriors.items()}
    # all of one item, which the encoders need not see so often
    monkeypatch.setattr(model, "posteriors", lambda inputs: repeated)
    drawn = model.translate(batch, ["b", "c"], sample=True, generator=torch.Generator().manual_seed(0))
    mean = (0.25 * (2 * q["a"].mean - 1) + 2 * q["b"].mean + 3) / 1.25
    variance = (0.5 / 1.25) ** 2 * q["a"].variance + (2 / 1.25) ** 2 * q["b"].variance + 1 / 1.25
    torch.testing.assert_close(drawn["c"].mean(0), mean, rtol=0, atol=0.03)
    torch.testing.assert_close(drawn["c"].var(0), variance, rtol=0.03, atol=0)
    torch.testing.assert_close(drawn["b"].var(0), q["b"].variance, rtol=0.03, atol=0)


def test_embedding_puts_the_observed_latents_side_by_side() -> None:
    model, batch = make_model(), mixed_batch(3)
    own = {name: q.mean for name, q in model.posteriors(batch).items()}
    torch.testing.assert_close(
        model.embed({"c": batch["c"], "a": batch["a"]}), torch.cat([own["a"], own["c"]], dim=-1)
    )
    torch.testing.assert_close(model.embed({"b": batch["b"]}), own["b"])
