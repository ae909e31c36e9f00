"""Noisy two-view MNIST (Wang et al. 2015): rotated digits, and other digits of the same class under noise.

The class is all that the two have in common: neither the angle nor the noise, nor the hand that wrote.
"""

import math
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from mmbench.data.base import DataSettings, MultimodalData, register_dataset
from mmbench.data.mnist_svhn import read_mnist
from mmbench.data.splits import Images, assemble
from models.about import cite
from models.base import Modality

__all__ = ["MODALITIES", "add_noise", "load_noisy_mnist", "rotate"]

MODALITIES = (Modality("rotated", (1, 28, 28)), Modality("noisy", (1, 28, 28)))
ANGLE = math.pi / 4  # the largest, to both sides
TRAIN_SEED, TEST_SEED = 0, 1
CHUNK = 10_000  # images that are turned at a time


@register_dataset(
    "noisy-mnist",
    source="LeCun et al. 1998; Wang, Arora, Livescu and Bilmes 2015",
    default_preset="cpu",
    needs_data_dir=True,
    description="rotated MNIST digits with other digits of the same class under noise, from --data-dir or a "
    "download",
    licence="MNIST is CC BY-SA 3.0.",
    bibtex=cite("lecun1998mnist", "wang2015dccae"),
)
def load_noisy_mnist(data_dir: Path | None, settings: DataSettings) -> MultimodalData:
    """Two views 1x28x28 of MNIST in `data_dir`.

    Both are made of all images: partners of a pair are drawn from those of the class. The published split of
    the train images is 50,000 and 10,000; here as many are held out as of any data set.

    Raises:
        InputError: for files that are missing and cannot be downloaded, or that are not as they should be.
    """
    assert data_dir is not None  # `load_data` has seen to it
    (train, test), notes = read_mnist(data_dir)
    parts = {
        name: (
            Images(make(train.items, TRAIN_SEED), train.labels),
            Images(make(test.items, TEST_SEED), test.labels),
        )
        for name, make in (("rotated", rotate), ("noisy", add_noise))
    }
    return assemble("noisy-mnist", MODALITIES, parts, settings, notes)


def rotate(images: Tensor, seed: int) -> Tensor:
    """Images (N, 1, H, W) uint8, each turned by an angle from U(-45, 45) degrees, bilinear, over black."""
    generator = torch.Generator().manual_seed(seed)
    angles = ANGLE * (2 * torch.rand(len(images), generator=generator) - 1)
    turned = []
    for part, angle in zip(images.split(CHUNK), angles.split(CHUNK), strict=True):
        cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
        maps = torch.stack([cos, -sin, zero, sin, cos, zero], 1).view(-1, 2, 3)
        grid = functional.affine_grid(maps, list(part.shape), align_corners=False)
        turned.append(functional.grid_sample(part.float(), grid, align_corners=False).round().byte())
    return torch.cat(turned)


def add_noise(images: Tensor, seed: int) -> Tensor:
    """Images (N, 1, H, W) uint8 with noise from U[0, 1] added to every pixel of [0, 1], clipped at 1."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randint(256, images.shape, generator=generator, dtype=torch.int16)
    return (images + noise).clamp_max(255).byte()
