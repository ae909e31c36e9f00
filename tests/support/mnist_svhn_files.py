"""MNIST and SVHN of a few images each, as files."""

import numpy as np

from mmbench.data.base import MultimodalData

SHAPES = {"mnist": (28, 28), "svhn": (32, 32, 3)}
SIZES = {"train": 40, "test": 20}
Arrays = dict[str, np.ndarray]


def make_arrays(name: str, part: str) -> Arrays:
    n = SIZES[part]
    random = np.random.default_rng([len(name), n])
    return {
        "images": random.integers(0, 256, (n, *SHAPES[name]), dtype=np.uint8),
        "labels": random.permutation(n).astype(np.uint8) % 10,
    }


def hashes(data: MultimodalData) -> dict[str, object]:
    return data.provenance["modalities"]
