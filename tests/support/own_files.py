"""Data files as users have them: odd kinds, sizes and gaps, each with something to learn."""

import numpy as np

__all__ = ["ODD", "make_file"]


def _images(y, *shape, rng, step=25):
    noise = rng.normal(60, 20, (len(y), *shape))
    return np.clip(noise + step * y.reshape(-1, *[1] * len(shape)), 0, 255).astype(np.uint8)


def _four(rng):
    """Images, colour images, vectors and counts of 7 classes; some rows lack the last two."""
    y = np.arange(210) % 7
    lacking = rng.random(210) < 0.2
    return {
        "grey": _images(y, 12, 12, rng=rng),
        "colour": _images(y, 16, 16, 3, rng=rng),
        "vector": rng.normal(size=(210, 6)) + y[:, None] * np.arange(6) * 0.3,
        "counts": rng.poisson(3 + y[:, None], (210, 9)),
        "labels": y,
        "vector_missing": np.flatnonzero(rng.random(210) < 0.15),
        "counts_mask": ~lacking,
    }


def _two_classes(rng):
    """Two classes and 12 test items."""
    arrays = {}
    for part, count in (("train", 60), ("test", 12)):
        y = np.arange(count) % 2
        arrays |= {
            f"a_{part}": _images(y, 8, 8, rng=rng),
            f"b_{part}": rng.normal(size=(count, 4)) + y[:, None],
        }
        arrays[f"labels_{part}"] = y
    return arrays


def _unlabelled(rng):
    """Rows that belong together, without classes."""
    z = rng.normal(size=(200, 3))
    return {
        "wide": z @ rng.normal(size=(3, 10)) + 0.1 * rng.normal(size=(200, 10)),
        "square": np.clip(127 + 40 * (z @ rng.normal(size=(3, 64))).reshape(-1, 8, 8), 0, 255).astype(
            np.uint8
        ),
        "counts": rng.poisson(np.exp(0.5 * z @ rng.normal(size=(3, 5)))),
    }


def _many_classes(rng):
    """300 classes of five rows each."""
    y = np.arange(1500) % 300
    return {
        "vector": rng.normal(size=(1500, 12)) + 3 * rng.normal(size=(300, 12))[y],
        "image": _images(rng.integers(0, 4, 300)[y], 10, 10, rng=rng),
        "labels": y,
    }


def _small(rng):
    """Images of 1 x 7 x 5 pixels and of four channels, one-hot sequences, and classes that have names."""
    y = np.arange(120) % 3
    places = (y[:, None] + np.arange(4)) % 5
    places[rng.random(120) < 0.3] = rng.integers(0, 5, 4)
    return {
        "tiny": _images(y, 1, 7, 5, rng=rng, step=60),
        "sequence": np.eye(5, dtype=np.uint8)[places],
        "channels": rng.random((120, 4, 9, 11), dtype=np.float32) * 0.5 + 0.2 * y.reshape(-1, 1, 1, 1),
        "labels": np.array(["cat", "dog", "owl"])[y],
    }


def _vectors(count):
    def make(rng):
        y = np.arange(160) % 4
        vectors = {f"m{i}": rng.normal(size=(160, 4 + i)) + (1 + 0.1 * i) * y[:, None] for i in range(count)}
        return vectors | {"labels": y}

    return make


ODD = {
    "four-modalities": _four,
    "two-classes": _two_classes,
    "unlabelled": _unlabelled,
    "many-classes": _many_classes,
    "small": _small,
    "five": _vectors(5),
    "ten": _vectors(10),
}


def make_file(folder, name, **changes):
    """The .npz called `name` of ODD in a folder; `changes` replace arrays, or leave them out where None."""
    arrays = ODD[name](np.random.default_rng(0)) | changes
    path = folder / f"{name}.npz"
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
    return path
