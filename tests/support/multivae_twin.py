"""MultiVae's models around the networks of ours: the same weights, another implementation of the loss."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from models.base import Batch, Modality
from models.parts.gaussian import GaussianMVAE

TWO = (Modality("a", (1, 4, 4), weight=12.0), Modality("b", (3, 8, 8)))
THREE = (*TWO, Modality("c", (2, 4, 4), weight=6.0))
"""Weights are largest numel / numel."""


def random_batch(modalities: tuple[Modality, ...], items: int) -> dict[str, Tensor]:
    """`items` items of float64 noise in [0, 1]."""
    return {m.name: torch.rand(items, *m.shape, dtype=torch.float64) for m in modalities}


def make_twin(kind: str, model: GaussianMVAE, **config: object) -> Any:
    """MultiVae's model `kind` with the encoders, decoders, likelihood and weights of `model`.

    Skips the test where MultiVae is not installed.
    """
    multivae = pytest.importorskip(
        "multivae.models", reason="needs MultiVae, the reference implementation: pip install multivae==1.0.3"
    )
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn.base_architectures import BaseDecoder, BaseEncoder

    class Encoder(BaseEncoder):
        def __init__(self, network: nn.Module):
            super().__init__()
            self.network = network

        def forward(self, x: Tensor) -> ModelOutput:
            mean, second = self.network(x).chunk(2, dim=-1)
            return ModelOutput(embedding=mean, log_covariance=second)

    class Decoder(BaseDecoder):
        def __init__(self, network: nn.Module):
            super().__init__()
            self.network = network

        def forward(self, z: Tensor) -> ModelOutput:
            return ModelOutput(reconstruction=self.network(z))

    settings, modalities = model.settings, model.modalities
    configuration = getattr(multivae, f"{kind}Config")(
        n_modalities=len(modalities),
        latent_dim=settings.latent_size,
        input_dims={name: m.shape for name, m in modalities.items()},
        uses_likelihood_rescaling=True,
        rescale_factors={name: m.weight for name, m in modalities.items()},
        decoders_dist=dict.fromkeys(modalities, settings.likelihood),
        decoder_dist_params={name: {"scale": settings.likelihood_scale} for name in modalities},
        **config,
    )
    encoders = {name: Encoder(network) for name, network in model.encoders.items()}
    decoders = {name: Decoder(network) for name, network in model.decoders.items()}
    return getattr(multivae, kind)(configuration, encoders, decoders).double()


def twin_output(twin: Any, batch: Batch, **schedule: Any) -> Any:
    """MultiVae's forward pass on a batch of complete items; `schedule` is its epoch and batch_ratio."""
    from multivae.data.datasets import MultimodalBaseDataset

    return twin(MultimodalBaseDataset(dict(batch)), **schedule)


def gradients(loss: Tensor, parameters: list[nn.Parameter]) -> list[Tensor]:
    """d loss / d parameter, zeros where a parameter has no part in the loss."""
    return list(torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True))
