"""The losses of the adapted models are those of MultiVae's own classes, made as its users make them."""

import numpy as np
import pytest
import torch
from multivae_models import NAMES, make
from multivae_twin import THREE, TWO, random_batch

from models.registry import MODELS

PRIVATE = {"private_size": 3}
WARMUP = ({"warmup": 0.2}, {"warmup": 20})  # a share of 100 epochs

SAME = {
    "multivae-cmvae": {
        "number_of_clusters": 4,
        "K": 3,
        "prior_and_posterior_dist": "normal_with_softplus",
        "beta": 2.0,
        "loss": "iwae_looser",
    },
    "multivae-crmvae": {"beta": 2.0},
    "multivae-dmvae": {"beta": 2.0},
    "multivae-jmvae": {"alpha": 0.3, "beta": 2.0},
    "multivae-jnf": {"beta": 2.0},
    "multivae-mmvae": {"K": 3, "learn_prior": True, "loss": "dreg_looser"},
    "multivae-mmvaeplus": {
        "K": 3,
        "prior_and_posterior_dist": "normal",
        "learn_shared_prior": True,
        "beta": 2.0,
    },
    "multivae-mopoe": {"beta": 2.0},
    "multivae-mvae": {"beta": 2.0},
    "multivae-mvtcae": {"alpha": 0.3, "beta": 2.0},
    "multivae-nexus": {"msg_dim": 4, "dropout_rate": 0.0, "top_beta": 2.0},
    "multivae-telbo": {},
}
"""Options that have one name in both, most of them not at their defaults."""

OTHER = {
    "multivae-cmvae": (PRIVATE, {"modalities_specific_dim": 3}),
    "multivae-dmvae": (PRIVATE, {"modalities_specific_dim": {"a": 3, "b": 3, "c": 3}}),
    "multivae-jmvae": WARMUP,
    "multivae-jnf": WARMUP,
    "multivae-mmvaeplus": (PRIVATE, {"modalities_specific_dim": 3}),
    "multivae-mvae": WARMUP,
    "multivae-nexus": (WARMUP[0], {**WARMUP[1], "modalities_specific_dim": {"a": 5, "b": 5, "c": 5}}),
    "multivae-telbo": WARMUP,
}
"""Options that have not: ours and MultiVae's."""

SUMS = {"multivae-cmvae", "multivae-crmvae", "multivae-mmvae", "multivae-mmvaeplus"}  # over the batch


def make_adapted(name, modalities, **settings):
    """A model in training mode, its posteriors so far from the prior that KL terms are not small."""
    adapted = make(name, modalities, latent_size=5, **settings).train()
    with torch.no_grad():
        for encoder in adapted.peer.encoders.values():
            encoder.network[-2].bias.normal_()
        if hasattr(adapted.peer, "joint_encoder"):
            list(adapted.peer.joint_encoder.parameters())[-1].normal_()
    return adapted


def make_reference(adapted, modalities, **options):
    """MultiVae's class with its own likelihoods and the weights of `adapted`."""
    import multivae.models

    config = getattr(multivae.models, f"{adapted.kind}Config")(
        n_modalities=len(modalities),
        latent_dim=5,
        input_dims={m.name: m.shape for m in modalities},
        uses_likelihood_rescaling=True,
        rescale_factors={m.name: m.weight for m in modalities},
        decoders_dist={m.name: "laplace" for m in modalities},
        decoder_dist_params={m.name: {"scale": 0.75} for m in modalities},
        **options,
    )
    reference = getattr(multivae.models, adapted.kind)(config, **adapted.parts())
    reference.load_state_dict(adapted.peer.state_dict())
    return reference


def without_noise(aggregate):
    """Take the numbers that Nexus draws for its dropout, which at a rate of 0 change nothing."""

    def call(*arguments):
        with torch.random.fork_rng():
            return aggregate(*arguments)

    return call


@pytest.mark.parametrize(
    ("progress", "epoch", "ratio", "stage"),
    [(0.055, 6, 0.5, 0), (0.6, 61, 0.0, -1)],
    ids=["warm-up", "after"],
)
@pytest.mark.parametrize("name", NAMES)
def test_losses_are_those_of_multivae(name, progress, epoch, ratio, stage, monkeypatch):
    """In epoch 6, during warm-up or in the first of two stages, and in epoch 61, after that."""
    modalities = THREE if MODELS.get(name).takes(3) else TWO
    ours, theirs = OTHER.get(name, ({}, {}))
    adapted = make_adapted(name, modalities, **SAME[name], **ours)
    reference = make_reference(adapted, modalities, **SAME[name], **theirs).train()
    for peer in (adapted.peer, reference):
        if name == "multivae-nexus":
            monkeypatch.setattr(
                peer, "_aggregate_during_training", without_noise(peer._aggregate_during_training)
            )
    from multivae.data.datasets import MultimodalBaseDataset

    batch = {modality: x.float() for modality, x in random_batch(modalities, 8).items()}
    losses = []
    for call in (
        lambda: adapted.stages()[stage].loss(batch, progress).total,
        lambda: (
            reference(MultimodalBaseDataset(batch), epoch=epoch, batch_ratio=ratio).loss
            / (8 if name in SUMS else 1)
        ),
    ):
        torch.manual_seed(1)
        np.random.seed(1)
        losses.append(call())
    # MMVAE's importance weights carry rounding of 2e-6, 1e-8 in float64
    torch.testing.assert_close(*losses, rtol=5e-6, atol=0)
