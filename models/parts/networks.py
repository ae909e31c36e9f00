"""Encoders and decoders, the same for every model of a comparison: those of Shi et al. 2019 for MNIST-SVHN.

Images whose sides divide by 8, or are 32 or more, get the convolutional pair, everything else the fully
connected one. Vectors enter it in standard deviations from their mean, Poisson counts as logarithms. A data
set or a file of models may bring a pair of its own (`models.parts.own_networks`). Under
autocast the layers compute in bfloat16; what leaves a network, or enters its final sigmoid, is float32 again.
Weights and images of convolutions lie in memory channels last, which is what they are computed in (measured:
5 to 15 % of a training step).
"""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.base import Modality
from models.parts.convolutions import Double, Halve, channels_last
from models.parts.own_networks import NETWORKS

__all__ = ["make_decoder", "make_encoder"]

HIDDEN = 400  # units of the fully connected pair
CHANNELS = (32, 64, 128)  # of the convolutional pair, each layer halving (doubling) the side
STRIDE = 8  # of all its layers together
LARGE = 32  # pixels of a side from which on images are padded to sides that STRIDE divides


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


class Standardise(nn.Module):
    """Values of a vector in [0, 1] to standard deviations from their mean, which 0.5 stands for."""

    def __init__(self, spread: float):
        super().__init__()
        self.spread = spread

    def forward(self, x: Tensor) -> Tensor:
        return (x - 0.5) / self.spread


class InRange(nn.Module):
    """Back from standard deviations: near the mean 0.5 + spread x, everywhere between 0 and 1."""

    def __init__(self, spread: float):
        super().__init__()
        self.spread = spread

    def forward(self, x: Tensor) -> Tensor:
        return (4 * self.spread * x).sigmoid()


class LogCounts(nn.Module):
    """Counts n, given divided by the largest one, to log(1 + n): most of them are far below the largest."""

    def __init__(self, words: int):
        super().__init__()
        self.words = words

    def forward(self, x: Tensor) -> Tensor:
        return (x * self.words).log1p()


class Pad(nn.Module):
    """Images (B, C, H, W) to sides that STRIDE divides, with zeros below and at the right."""

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        return functional.pad(x, (0, -width % STRIDE, 0, -height % STRIDE))


class Crop(nn.Module):
    """What `Pad` has padded back to (B, C, height, width)."""

    def __init__(self, height: int, width: int):
        super().__init__()
        self.height, self.width = height, width

    def forward(self, x: Tensor) -> Tensor:
        return x[..., : self.height, : self.width]


def is_convolutional(shape: tuple[int, ...]) -> bool:
    """Whether items of this shape get the convolutional pair."""
    return len(shape) == 3 and (_divides(shape) or min(shape[1:]) >= LARGE)


def _divides(shape: tuple[int, ...]) -> bool:
    return shape[1] % STRIDE == 0 and shape[2] % STRIDE == 0


def make_encoder(modality: Modality, outputs: int) -> nn.Module:
    """A network from (B, *shape) to (B, outputs)."""
    if modality.networks:
        return NETWORKS.get(modality.networks).encoder(modality, outputs)
    shape = modality.shape
    if not is_convolutional(shape):
        return nn.Sequential(
            *_entrance(modality),
            nn.Flatten(),
            nn.Linear(math.prod(shape), HIDDEN),
            nn.ReLU(inplace=True),
            nn.Linear(HIDDEN, outputs),
            Float32(),
        )
    height, width = (-(-side // STRIDE) for side in shape[1:])
    layers: list[nn.Module] = [] if _divides(shape) else [Pad()]
    for before, after in pairwise((shape[0], *CHANNELS)):
        layers += [Halve(before, after), nn.ReLU(inplace=True)]
    layers += [Flatten(), nn.Linear(CHANNELS[-1] * height * width, outputs), Float32()]
    return nn.Sequential(*layers).to(memory_format=torch.channels_last)


def make_decoder(modality: Modality, latent: int) -> nn.Module:
    """A network from (B, latent) to means (B, *shape) in [0, 1].

    Those of texts and counts of symbols add up to 1 over the last axis.
    """
    if modality.networks:
        return NETWORKS.get(modality.networks).decoder(modality, latent)
    shape = modality.shape
    if not is_convolutional(shape):
        return nn.Sequential(
            nn.Linear(latent, HIDDEN),
            nn.ReLU(inplace=True),
            nn.Linear(HIDDEN, math.prod(shape)),
            nn.Unflatten(1, shape),
            Float32(),
            _exit(modality),
        )
    low = (CHANNELS[-1], *(-(-side // STRIDE) for side in shape[1:]))
    layers: list[nn.Module] = [nn.Linear(latent, math.prod(low)), nn.ReLU(inplace=True), Unflatten(1, low)]
    for before, after in pairwise((*CHANNELS[::-1], shape[0])):
        layers += [Double(before, after), nn.ReLU(inplace=True)]
    layers = layers[:-1] + ([] if _divides(shape) else [Crop(*shape[1:])])
    return nn.Sequential(*layers, Float32(), _exit(modality)).to(memory_format=torch.channels_last)


def _entrance(modality: Modality) -> list[nn.Module]:
    """What brings the items of a kind into the range that layers are made for; nothing of most."""
    if modality.kind == "vector":
        return [Standardise(modality.spread)]
    return [LogCounts(modality.words)] if modality.likelihood == "poisson" else []


def _exit(modality: Modality) -> nn.Module:
    """From the last layer to means."""
    if modality.kind == "vector":
        return InRange(modality.spread)
    return nn.Softmax(dim=-1) if modality.symbolic else nn.Sigmoid()


def decode_flat(decoder: nn.Module, latent: Tensor) -> Tensor:
    """Apply `decoder` to (*leading, L) in one call: (*leading, *shape)."""
    return decoder(latent.flatten(0, -2)).unflatten(0, latent.shape[:-1])
