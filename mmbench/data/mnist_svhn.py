"""MNIST (LeCun et al. 1998) with SVHN (Netzer et al. 2011, not for commercial use), from a folder.

Each of the two is read from arrays (`mnist_train.npz`, `mnist_test.npz`, `svhn_train.npz`, `svhn_test.npz`,
see `mmbench.data.arrays`) or, where there are none, from torchvision's own files (`mmbench.data.official`),
which torchvision downloads if they are missing too.
"""

from pathlib import Path

import numpy as np

from mmbench.data.arrays import LabelledArrays, read_arrays, to_images
from mmbench.data.base import DataSettings, MultimodalData, register_dataset
from mmbench.data.official import OFFICIAL, read_official
from mmbench.data.splits import Images, assemble
from models.about import cite
from models.base import Modality
from models.errors import InputError

__all__ = ["MODALITIES", "coverage_note", "load_mnist_svhn", "read_digits", "read_mnist"]

MODALITIES = (Modality("mnist", (1, 28, 28), weight=3072 / 784), Modality("svhn", (3, 32, 32)))


@register_dataset(
    "mnist-svhn",
    source="LeCun et al. 1998; Netzer et al. 2011",
    default_preset="paper",
    needs_data_dir=True,
    description="MNIST digits with street view house numbers of the same class, "
    "from --data-dir or a download",
    licence="MNIST is CC BY-SA 3.0, SVHN is for non-commercial use only.",
    bibtex=cite("lecun1998mnist", "netzer2011svhn", "shi2019mmvae"),
)
def load_mnist_svhn(data_dir: Path | None, settings: DataSettings) -> MultimodalData:
    """MNIST 1x28x28 and SVHN 3x32x32 from `data_dir`.

    Raises:
        InputError: for files that are missing and cannot be downloaded, or that are not as they should be.
    """
    assert data_dir is not None  # `load_data` has seen to it
    parts, notes = read_digits(data_dir)
    return assemble("mnist-svhn", MODALITIES, parts, settings, notes)


def read_digits(folder: Path) -> tuple[dict[str, tuple[Images, Images]], list[str]]:
    """Modality name -> train and test images, and the sentences that belong under the tables.

    Raises:
        InputError: as `load_mnist_svhn`.
    """
    found = {modality.name: _read_images(modality.name, folder) for modality in MODALITIES}
    return {name: parts for name, (parts, _) in found.items()}, [
        note for _, notes in found.values() for note in notes
    ]


def read_mnist(folder: Path) -> tuple[tuple[Images, Images], list[str]]:
    """MNIST's train and test images, and the sentences that belong under the tables.

    Raises:
        InputError: as `load_mnist_svhn`.
    """
    return _read_images("mnist", folder)


def _read_images(name: str, folder: Path) -> tuple[tuple[Images, Images], list[str]]:
    """Images of one modality, and a sentence where they are not all that there are."""
    train, test = _read(name, folder)
    note = coverage_note(name, train, test)
    return (to_images(train), to_images(test)), [note] if note else []


def _read(name: str, folder: Path) -> tuple[LabelledArrays, LabelledArrays]:
    """The train and the test part of one modality."""
    train, test = folder / f"{name}_train.npz", folder / f"{name}_test.npz"
    if not train.exists() and not test.exists():
        return read_official(name, folder)
    for path, other in ((train, test), (test, train)):
        if not path.exists():
            raise InputError(f"{folder} holds {other.name} but no {path.name}: put both there.")
    return read_arrays(train, OFFICIAL[name].shape), read_arrays(test, OFFICIAL[name].shape)


def coverage_note(name: str, train: LabelledArrays, test: LabelledArrays) -> str | None:
    """A sentence for under the tables; None for the whole official data set in its official split."""
    official, counts = OFFICIAL[name], (len(train.labels), len(test.labels))
    share = f"{name.upper()}: {sum(counts):,} of {official.train + official.test:,} official {official.noun}"
    warning = f"not comparable to results on the whole of {name.upper()}."
    if (
        train.official_part is not None
        and test.official_part is not None
        and (train.official_part.any() or not test.official_part.all())
    ):
        from_train, from_test = np.bincount(
            np.concatenate([train.official_part, test.official_part]), minlength=2
        )
        parts = f"({from_train:,} train, {from_test:,} test)"
        return f"{share} {parts}, re-split by photo into {counts[0]:,} / {counts[1]:,}: {warning}"
    if counts != (official.train, official.test):
        sizes = f"({counts[0]:,} of {official.train:,} train, {counts[1]:,} of {official.test:,} test)"
        return f"{share} {sizes}: {warning}"
    return None
