"""Adapted models, as tests of MultiVae make them."""

import pytest
import torch

from mmbench.adapters.multivae import COLLECTION
from models.parts.gaussian import GaussianMVAE
from models.registry import MODELS

NAMES = [entry.name for entry in MODELS if entry.collection == COLLECTION and not entry.unsupported]


def make(name, modalities, **settings):
    """The adapted model `name` in evaluation mode, always with the same weights."""
    pytest.importorskip("multivae", reason="needs MultiVae: pip install multivae==1.0.3")
    entry = MODELS.get(name)
    torch.manual_seed(0)
    return entry.model(modalities, entry.settings(**settings)).eval()


def like(native: GaussianMVAE, name, **settings):
    """The adapted model `name` in float64 with the networks of `native`."""
    adapted = make(
        name, list(native.modalities.values()), latent_size=native.settings.latent_size, **settings
    ).double()
    for mine, other in ((native.encoders, adapted.peer.encoders), (native.decoders, adapted.peer.decoders)):
        for modality in native.modalities:
            other[modality].network = mine[modality]
    return adapted


def spread(native):
    """`native` in float64, with posteriors far from the prior and from each other."""
    with torch.no_grad():
        for encoder in native.encoders.values():
            encoder[-2].bias.normal_()
    return native.double()
