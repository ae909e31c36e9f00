"""Our encoders and decoders as MultiVae's models call them. Imports MultiVae, which takes seconds."""

from collections.abc import Sequence

import torch
from multivae.models.nn.base_architectures import BaseJointEncoder, BaseMultilatentEncoder
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn.base_architectures import BaseDecoder
from torch import Tensor, nn

from models.base import Batch, Modality
from models.parts.networks import HIDDEN, Float32, make_encoder

__all__ = ["Decoder", "Encoder", "JointEncoder"]

LARGEST = 30.0
"""Bound of log-variances on either side: MultiVae multiplies variances and precisions, which overflow beyond
it (exp(30) is 1e13).
"""


class Encoder(BaseMultilatentEncoder):
    """(B, *shape) to means and log-variances of a shared latent and of a private one.

    Args:
        network: (B, *shape) to (B, 2 (shared + private)).
        shared: dimensions of the shared latent; most models give the private one 0 dimensions.
    """

    def __init__(self, network: nn.Module, shared: int):
        super().__init__()
        self.network, self.shared = network, shared

    def forward(self, x: Tensor) -> ModelOutput:
        mean, logvar = _halves(self.network(x))
        shared, private = slice(self.shared), slice(self.shared, None)
        return ModelOutput(
            embedding=mean[:, shared],
            log_covariance=logvar[:, shared],
            style_embedding=mean[:, private],
            style_log_covariance=logvar[:, private],
        )


class Decoder(BaseDecoder):
    """(B, L) to means (B, *shape)."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, z: Tensor) -> ModelOutput:
        return ModelOutput(reconstruction=self.network(z))


class JointEncoder(BaseJointEncoder):
    """All modalities to a mean and a log-variance, both (B, L).

    Every modality has an encoder to hidden units; one linear layer reads those of all modalities.
    """

    def __init__(self, modalities: Sequence[Modality], latent: int):
        super().__init__()
        self.trunks = nn.ModuleDict({m.name: make_encoder(m, HIDDEN) for m in modalities})
        self.head = nn.Sequential(nn.ReLU(), nn.Linear(len(modalities) * HIDDEN, 2 * latent), Float32())

    def forward(self, x: Batch) -> ModelOutput:
        hidden = torch.cat([trunk(x[name]) for name, trunk in self.trunks.items()], dim=-1)
        mean, logvar = _halves(self.head(hidden))
        return ModelOutput(embedding=mean, log_covariance=logvar)


def _halves(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and log-variance, both (B, L), of (B, 2 L)."""
    mean, logvar = x.chunk(2, dim=-1)
    return mean, logvar.clamp(-LARGEST, LARGEST)
