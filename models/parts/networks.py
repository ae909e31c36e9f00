"""Encoders and decoders, the same for every model of a comparison: those of Shi et al. 2019 for MNIST-SVHN.

Images whose sides divide by 8 get the convolutional pair, everything else the fully connected one. Under
autocast the layers compute in bfloat16; what leaves a network, or enters its final sigmoid, is float32 again.
Weights and images of convolutions lie in memory channels last, which is what they are computed in (measured:
5 to 15 % of a training step).
"""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from models.base import Modality
from models.parts.convolutions import Double, Halve, channels_last

__all__ = ["make_decoder", "make_encoder"]

HIDDEN = 400  # units of the fully connected pair
CHANNELS = (32, 64, 128)  # of the convolutional pair, each layer halving (doubling) the side


class Float32(nn.Module):
    """Back from autocast's bfloat16, too coarse for log-variances, likelihoods and means near 0 or 1."""

    def forward(self, x: Tensor) -> Tensor:
        return x.float() if x.dtype == torch.bfloat16 else x


class Flatten(nn.Flatten):
    """From images; their gradient lies in memory as the layers before it compute: channels last."""

    def forward(self, input: Tensor) -> Tensor:
        if input.requires_grad:
            input.register_hook(channels_last)
        return super().forward(input)


class Unflatten(nn.Unflatten):
    """To images that lie in memory as the layers after it compute: channels last."""

    def forward(self, input: Tensor) -> Tensor:
        return channels_last(super().forward(input))


def is_convolutional(shape: tuple[int, ...]) -> bool:
    """Whether items of this shape get the convolutional pair."""
    return len(shape) == 3 and shape[1] % 8 == 0 and shape[2] % 8 == 0


def make_encoder(modality: Modality, outputs: int) -> nn.Module:
    """A network from (B, *shape) to (B, outputs)."""
    numel = math.prod(modality.shape)
    if not is_convolutional(modality.shape):
        return nn.Sequential(
            nn.Flatten(),
            nn.Linear(numel, HIDDEN),
            nn.ReLU(inplace=True),
            nn.Linear(HIDDEN, outputs),
            Float32(),
        )
    channels, height, width = modality.shape
    layers: list[nn.Module] = []
    for before, after in pairwise((channels, *CHANNELS)):
        layers += [Halve(before, after), nn.ReLU(inplace=True)]
    layers += [Flatten(), nn.Linear(CHANNELS[-1] * height * width // 64, outputs), Float32()]
    return nn.Sequential(*layers).to(memory_format=torch.channels_last)


def make_decoder(modality: Modality, latent: int) -> nn.Module:
    """A network from (B, latent) to means (B, *shape) in [0, 1].

    Those of texts and counts add up to 1 over the last axis.
    """
    shape = modality.shape
    mean = nn.Softmax(dim=-1) if modality.symbolic else nn.Sigmoid()
    if not is_convolutional(shape):
        return nn.Sequential(
            nn.Linear(latent, HIDDEN),
            nn.ReLU(inplace=True),
            nn.Linear(HIDDEN, math.prod(shape)),
            nn.Unflatten(1, shape),
            Float32(),
            mean,
        )
    channels, height, width = shape
    low = (CHANNELS[-1], height // 8, width // 8)
    layers: list[nn.Module] = [nn.Linear(latent, math.prod(low)), nn.ReLU(inplace=True), Unflatten(1, low)]
    for before, after in pairwise((*CHANNELS[::-1], channels)):
        layers += [Double(before, after), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers[:-1], Float32(), mean).to(memory_format=torch.channels_last)


def decode_flat(decoder: nn.Module, latent: Tensor) -> Tensor:
    """Apply `decoder` to (*leading, L) in one call: (*leading, *shape)."""
    return decoder(latent.flatten(0, -2)).unflatten(0, latent.shape[:-1])
