"""The embedded data set with five modalities: handwritten digits on five regions of two photos.

PolyMNIST's recipe with what scikit-learn ships: its digits, and its photos china.jpg (danielbuechele) and
flower.jpg (vultilion), both CC BY 2.0 (https://creativecommons.org/licenses/by/2.0/). No files, no network.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mmbench.data.base import DataSettings, MultimodalData, register_dataset
from mmbench.data.digits import make_digits
from mmbench.data.poly import modalities_of, on_photos
from mmbench.data.splits import assemble
from models.about import cite

__all__ = ["REGIONS", "Region", "load_poly_digits", "read_region"]


class Region(NamedTuple):
    """A part of a photo that scikit-learn ships, in pixels from its upper left corner."""

    photo: str
    top: int
    bottom: int
    left: int
    right: int


REGIONS = (
    Region("china.jpg", 90, 350, 70, 330),  # a pagoda
    Region("china.jpg", 0, 240, 350, 540),  # sky and water
    Region("china.jpg", 250, 427, 330, 640),  # trees
    Region("flower.jpg", 95, 345, 180, 430),  # petals
    Region("flower.jpg", 0, 427, 0, 165),  # leaves
)
ENLARGED = 3  # times: a crop then shows as little detail as one of the published, larger photos
MODALITIES = modalities_of(len(REGIONS))
NOTE = (
    "Backgrounds: regions of scikit-learn's photos china.jpg (danielbuechele) and flower.jpg (vultilion), "
    "both CC BY 2.0; train and test items show crops of the same ones."
)


@register_dataset(
    "poly-digits",
    source="UCI optical recognition of handwritten digits (Alpaydin and Kaynak 1998), photos china.jpg by "
    "danielbuechele and flower.jpg by vultilion (CC BY 2.0), recipe of Sutter et al. 2021",
    default_preset="quick",
    description="handwritten digits on crops of photos, five modalities as in PolyMNIST; embedded, needs no "
    "files",
    licence="The handwritten digits are CC BY 4.0. The photos china.jpg (danielbuechele) and flower.jpg "
    "(vultilion) are CC BY 2.0.",
    shareable=True,
    bibtex=cite("alpaydin1998digits", "sutter2021mopoe"),
    budgets={"quick": {"steps": 800, "batch_size": 128}},  # all models in half an hour on two cores
)
def load_poly_digits(data_dir: Path | None, settings: DataSettings) -> MultimodalData:
    """Five modalities 3x28x28; `data_dir` is not used."""
    photos = {m.name: read_region(region) for m, region in zip(MODALITIES, REGIONS, strict=True)}
    train, test = make_digits()["handwritten"]
    return assemble("poly-digits", MODALITIES, on_photos(photos, train, test), settings, [NOTE])


def read_region(region: Region) -> Tensor:
    """(3, H, W) uint8, enlarged."""
    from PIL import Image
    from sklearn.datasets import load_sample_image

    photo = load_sample_image(region.photo)[region.top : region.bottom, region.left : region.right]
    height, width, _ = photo.shape
    enlarged = Image.fromarray(photo).resize((ENLARGED * width, ENLARGED * height), Image.Resampling.BICUBIC)
    return torch.tensor(np.asarray(enlarged)).permute(2, 0, 1)
