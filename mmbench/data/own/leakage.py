"""Equal items in the train and the test part of a data file."""

import numpy as np

from mmbench.data.own.arrays import Part

__all__ = ["equal_items", "equal_rows"]

CHUNK = 4_096  # rows whose bytes are looked at at a time


def equal_items(test: Part, train: Part, modality: str) -> np.ndarray:
    """(N,) whether a test row has an item of a modality that a train row has too."""
    return np.isin(_prints(test, modality), _prints(train, modality)) & test.there[modality]


def equal_rows(test: Part, train: Part) -> np.ndarray:
    """(N,) whether a test row equals a train row in all that it has, and has the same modalities."""
    whole = [np.stack([_prints(part, name) for name in part.arrays], 1) for part in (test, train)]
    rows = [np.ascontiguousarray(each).view(f"V{each.shape[1] * 8}")[:, 0] for each in whole]
    return np.isin(rows[0], rows[1])


def _prints(part: Part, modality: str) -> np.ndarray:
    """(N,) a 64-bit fingerprint of every row, 0 where it lacks the modality.

    Random odd multiples of its bytes, summed modulo 2^64: different rows have the same one with a probability
    of about 2^-56.
    """
    array = np.ascontiguousarray(part.arrays[modality]).reshape(len(part), -1)
    width = array.shape[1] * array.dtype.itemsize
    factors = np.random.default_rng(0).integers(0, 2**63, width, dtype=np.uint64) * np.uint64(2) + np.uint64(
        1
    )
    prints = np.zeros(len(part), np.uint64)
    for start in range(0, len(part), CHUNK):
        bytes_ = array[start : start + CHUNK].view(np.uint8).reshape(-1, width)
        prints[start : start + CHUNK] = bytes_.astype(np.uint64) @ factors
    return np.where(part.there[modality], prints | np.uint64(1), np.uint64(0))
