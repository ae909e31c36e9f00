"""The importance weights of MultiVae's models, against those of ours and integrals over the latent."""

import math

import pytest
import torch
from multivae_models import like, make, spread
from multivae_twin import THREE, random_batch
from torch.distributions import Laplace, Normal

from models.base import Modality, NotDefinedError
from models.mmvae import MMVAE, MMVAESettings
from models.mopoe import MoPoE, MoPoESettings
from models.mvae import MVAE, MVAESettings

SMALL = (
    Modality("a", (1, 2, 2), weight=5.0),
    Modality("b", (3,)),
    Modality("c", (1, 3), "categorical", symbols="xyz"),
)
SIDE = torch.linspace(-15, 15, 376)  # 0.08 apart


@pytest.mark.parametrize(
    ("native", "settings", "name", "options"),
    [
        (MVAE, MVAESettings, "multivae-mvae", {}),
        (MoPoE, MoPoESettings, "multivae-mopoe", {}),
        (
            MMVAE,
            MMVAESettings,
            "multivae-mmvae",
            {"K": 1, "prior_and_posterior_dist": "normal", "learn_prior": False},
        ),
    ],
)
@torch.no_grad()
def test_log_weights_are_those_of_ours(native, settings, name, options):
    """Both take their draws from the generator in one order; neither heeds the weights of THREE."""
    model = spread(native(THREE, settings(latent_size=5)))
    batch = random_batch(THREE, 4)
    mine, other = (
        each.log_weights(batch, 50, torch.Generator().manual_seed(1))
        for each in (model, like(model, name, **options))
    )
    assert other.shape == (50, 4)
    torch.testing.assert_close(other, mine, rtol=1e-6, atol=0)


# --- integrals ----------------------------------------------------------------------------------------------


def make_density(name, modalities, **settings):
    """The adapted model `name` with decoders far from constant and wide posteriors: weights vary little."""
    model = make(name, modalities, latent_size=2, **settings)
    with torch.no_grad():
        for m in modalities:
            model.peer.decoders[m.name].network[0].weight.mul_(2)
            # the prior is one more expert in the products of these two
            wide = 2 if name in ("multivae-mvae", "multivae-mopoe") else 1
            model.peer.encoders[m.name].network[-2].bias[2:] = wide
    return model


def integrated(model, batch, prior):
    """(B,): log p(x) as a sum over a grid of latents; `prior` is the distribution of either dimension."""
    grid = torch.cartesian_prod(SIDE, SIDE)
    terms = prior.log_prob(grid).sum(-1).double().unsqueeze(1)
    for name, x in batch.items():
        means = (model.decode(name, part).unsqueeze(1).expand(-1, *x.shape) for part in grid.split(20_000))
        terms = terms + torch.cat([model.likelihoods[name](x, part) for part in means])  # (G, B)
    return terms.logsumexp(0) + 2 * math.log(float(SIDE[1] - SIDE[0]))


STANDARD = Normal(0, 1)
SPREAD = torch.tensor([0.7, -0.3])  # of a prior that has been learned


@pytest.mark.parametrize(
    ("name", "settings", "prior"),
    [
        ("multivae-jmvae", {"likelihood": "bernoulli"}, STANDARD),
        ("multivae-telbo", {"likelihood": "gaussian"}, STANDARD),
        ("multivae-jnf", {}, STANDARD),
        ("multivae-mvae", {}, STANDARD),
        ("multivae-mopoe", {}, STANDARD),
        ("multivae-mvtcae", {}, STANDARD),
        ("multivae-crmvae", {}, STANDARD),
        (
            "multivae-mmvae",
            {"prior_and_posterior_dist": "laplace_with_softmax"},
            Laplace(0, SPREAD.softmax(0) * 2),
        ),
        ("multivae-mmvae", {"prior_and_posterior_dist": "normal"}, Normal(0, (SPREAD / 2).exp())),
    ],
)
@torch.no_grad()
def test_log_weights_average_to_the_integral_over_the_latent(name, settings, prior):
    modalities = SMALL[:2] if name in ("multivae-telbo", "multivae-jnf") else SMALL  # they take no more
    model = make_density(name, modalities, **settings)
    if name == "multivae-mmvae":
        model.peer.prior_log_var.copy_(SPREAD)
    generator = torch.Generator().manual_seed(0)
    batch = {
        "a": torch.rand(2, 1, 2, 2, generator=generator).round(),
        "b": torch.rand(2, 3, generator=generator),
    }
    if len(modalities) == 3:
        batch["c"] = torch.eye(3)[[2, 0]].unsqueeze(1)
    weights = (
        model.log_weights(batch, 40_000, torch.Generator().manual_seed(1)).double()
        - integrated(model, batch, prior)
    ).exp()
    error = weights.std(0) / math.sqrt(len(weights))
    assert (error < 0.01).all()
    assert (
        (weights.mean(0) - 1).abs() < 4 * error + 0.002
    ).all()  # 0.002: the grid's own error at the peak of Laplace priors


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("multivae-cmvae", "CMVAE (MultiVae)"),
        ("multivae-dmvae", "DMVAE (MultiVae)"),
        ("multivae-mmvaeplus", "MMVAE+ (MultiVae)"),
        ("multivae-nexus", "NEXUS (MultiVae)"),
    ],
)
def test_models_of_several_latents_have_none(name, title):
    model = make(name, THREE)
    with pytest.raises(NotDefinedError) as raised:
        model.log_weights({}, 1, torch.Generator())
    assert (
        str(raised.value)
        == f"{title} has more than one latent: its density over all of them is not computed."
    )
