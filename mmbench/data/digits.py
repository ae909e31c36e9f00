"""The embedded data set: handwritten digits with rendered street digits of the same class.

No files, no network.
"""

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from mmbench.data.base import DataSettings, MultimodalData, register_dataset
from mmbench.data.pairing import take_per_class
from mmbench.data.splits import Images, assemble
from mmbench.data.street import render_digits
from models.about import cite
from models.base import Modality

__all__ = ["MODALITIES", "load_digits", "make_digits"]

MODALITIES = (Modality("handwritten", (1, 28, 28), weight=3072 / 784), Modality("street", (3, 32, 32)))
HANDWRITTEN_TEST = 50  # images of each digit; the 1,297 others are for training
STREET_TRAIN, STREET_TEST = 10_000, 2_000
SPLIT_SEED, TRAIN_SEED, TEST_SEED = 0, 1, 2
BOX = 20  # pixels that a handwritten digit fills, in the middle of 28, as in MNIST


@register_dataset(
    "digits",
    source="UCI optical recognition of handwritten digits (Alpaydin and Kaynak 1998), rendered street digits",
    default_preset="quick",
    description="handwritten digits with rendered street digits of the same class; embedded, needs no files",
    licence="The handwritten digits are CC BY 4.0. The street digits are rendered here from free fonts.",
    shareable=True,
    bibtex=cite("alpaydin1998digits"),
)
def load_digits(data_dir: Path | None, settings: DataSettings) -> MultimodalData:
    """Handwritten digits 1x28x28 and rendered street digits 3x32x32; `data_dir` is not used."""
    return assemble("digits", MODALITIES, make_digits(), settings)


def make_digits() -> dict[str, tuple[Images, Images]]:
    """Modality name -> train and test images."""
    return {
        "handwritten": _handwritten(),
        "street": (_street(STREET_TRAIN, TRAIN_SEED), _street(STREET_TEST, TEST_SEED)),
    }


def _handwritten() -> tuple[Images, Images]:
    """scikit-learn's 1,797 digits, split at random with as many test images of each digit."""
    from sklearn import datasets

    bundled = datasets.load_digits()
    images = Images(_enlarge(torch.from_numpy(bundled.images)), torch.from_numpy(bundled.target).long())
    train, test = take_per_class(images.labels, torch.full((10,), HANDWRITTEN_TEST), SPLIT_SEED)
    return images.at(train), images.at(test)


def _enlarge(images: Tensor) -> Tensor:
    """From (N, 8, 8) counts of 0 to 16 to (N, 1, 28, 28) uint8: bicubic to BOX x BOX, black around it."""
    large = functional.interpolate(
        images[:, None].double() / 16, size=(BOX, BOX), mode="bicubic", align_corners=False
    )
    margin = (28 - BOX) // 2
    return functional.pad((large.clamp(0, 1) * 255).round().to(torch.uint8), (margin,) * 4)


def _street(n: int, seed: int) -> Images:
    """`n` renderings, as many of each digit."""
    labels = torch.arange(n) % 10
    return Images(render_digits(labels, seed), labels)
