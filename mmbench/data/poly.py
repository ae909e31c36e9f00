"""Digits on photos: the recipe of PolyMNIST (Sutter et al. 2021).

Every modality has a photo of its own. An item shows a digit on a random crop of that photo: the crop's
colours are inverted where the digit is. So the digit is what modalities have in common, and everything else
differs between them.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from mmbench.data.splits import Images
from models.base import Modality

__all__ = ["SIDE", "modalities_of", "on_photo", "on_photos"]

SIDE = 28
INK = 128  # a digit is where its image is brighter
CHUNK = 5_000  # items made at a time: bounds the memory


def modalities_of(count: int) -> tuple[Modality, ...]:
    """`count` modalities (3, 28, 28), called as in the published folders: m0, m1, ..."""
    return tuple(Modality(f"m{index}", (3, SIDE, SIDE)) for index in range(count))


def on_photos(photos: Mapping[str, Tensor], train: Images, test: Images) -> dict[str, tuple[Images, Images]]:
    """Modality name -> its train and its test items: every digit on a crop of the modality's photo.

    Row i of every modality shows the same writing, so that what is held out by rows is held out of all of
    them; pairs are drawn within the class, and show different ones.

    Args:
        photos: modality name -> (3, H, W) uint8.
        train, test: of digits (N, 1, 28, 28) uint8.
    """
    return {
        name: (
            Images(on_photo(train.items, photo, 2 * index), train.labels),
            Images(on_photo(test.items, photo, 2 * index + 1), test.labels),
        )
        for index, (name, photo) in enumerate(photos.items())
    }


def on_photo(digits: Tensor, photo: Tensor, seed: int) -> Tensor:
    """(N, 3, 28, 28) uint8: each of the digits (N, 1, 28, 28) uint8 on a random crop of a (3, H, W) photo."""
    generator = torch.Generator().manual_seed(seed)
    corners = photo.unfold(1, SIDE, 1).unfold(2, SIDE, 1)  # (3, H - 27, W - 27, 28, 28), a view
    rows, columns = (
        torch.randint(corners.shape[axis], (len(digits),), generator=generator) for axis in (1, 2)
    )
    made = torch.empty(len(digits), 3, SIDE, SIDE, dtype=torch.uint8)
    chunks = (each.split(CHUNK) for each in (digits, rows, columns, made))
    for shown, row, column, out in zip(*chunks, strict=True):
        crops = corners[:, row, column].transpose(0, 1)
        out.copy_(crops ^ (shown > INK).byte().mul_(255))  # 255 - crops where the digit is
    return made
