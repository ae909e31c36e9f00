"""mnist-svhn, alone and with text: what is made of the files."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from mnist_svhn_files import SHAPES, hashes, make_arrays

from mmbench.data import DATASETS, load_data
from mmbench.data.arrays import LabelledArrays
from mmbench.data.base import DataSettings, MultimodalData
from mmbench.data.mnist_svhn import coverage_note
from mmbench.data.text import make_texts
from models.errors import InputError

REAL = os.environ.get("MMBENCH_DATA")


def test_arrays(folder: Path) -> None:
    data = load_data("mnist-svhn", folder, DataSettings(pairs_per_image=3))
    assert [m.name for m in data.modalities] == list(data.train.items) == ["mnist", "svhn"]
    assert data.modalities[0].weight == pytest.approx(3072 / 784)
    for split, n in (
        (data.train, 30),
        (data.validation, 10),
        (data.test, 20),
    ):  # one of each class is held out
        assert {name: (x.dtype, *x.shape) for name, x in split.items.items()} == {
            "mnist": (torch.uint8, n, 1, 28, 28),
            "svhn": (torch.uint8, n, 3, 32, 32),
        }
        assert split.pairs.shape == (3 * 2 * n, 2)
        for name, labels in split.labels.items():
            assert torch.bincount(labels).tolist() == [n // 10] * 10, name

    raw = make_arrays("svhn", "test")
    assert np.array_equal(data.test.items["svhn"].permute(0, 2, 3, 1).numpy(), raw["images"])
    assert np.array_equal(data.test.labels["svhn"].numpy(), raw["labels"])


def test_the_hold_out_is_a_partition_of_the_train_part(folder: Path) -> None:
    data = load_data("mnist-svhn", folder)
    for name in SHAPES:
        raw = make_arrays(name, "train")
        whole = sorted(
            (image.tobytes(), int(label)) for image, label in zip(raw["images"], raw["labels"], strict=True)
        )
        assert whole == sorted(contents(data, "train", name) + contents(data, "validation", name))
        assert len({image for image, _ in whole}) == len(whole)


def contents(data: MultimodalData, split: str, name: str) -> list[tuple[bytes, int]]:
    """Images as bytes, channels last, with their labels."""
    of = getattr(data, split)
    return [
        (x.permute(1, 2, 0).numpy().tobytes(), int(y))
        for x, y in zip(of.items[name], of.labels[name], strict=True)
    ]


def test_provenance(folder: Path) -> None:
    first = load_data("mnist-svhn", folder).provenance
    assert first["modalities"]["svhn"]["train"]["images"] == 30
    assert first["pairs"] == {"train": 600, "validation": 200, "test": 400}
    assert first["settings"] == {"pairs_per_image": 10, "pairing_seed": 0}
    assert any(
        note.startswith("SVHN: 60 of 99,289 official crops (40 of 73,257 train, 20 of 26,032 test)")
        for note in first["notes"]
    )

    changed = make_arrays("svhn", "test")
    changed["images"][3, 2, 1, 0] ^= 1
    np.savez(folder / "svhn_test.npz", **changed)
    second = load_data("mnist-svhn", folder).provenance
    hashes = [
        {(m, part): of[part]["sha256"] for m, of in p["modalities"].items() for part in of}
        for p in (first, second)
    ]
    assert [key for key in hashes[0] if hashes[0][key] != hashes[1][key]] == [("svhn", "test")]


def test_with_text(folder: Path) -> None:
    """The images, splits and notes of mnist-svhn, and words of the same class."""
    two, three = load_data("mnist-svhn", folder), load_data("mnist-svhn-text", folder)
    assert [m.name for m in three.modalities] == ["mnist", "svhn", "text"]
    assert three.modalities[:2] == two.modalities
    assert {name: hashes(three)[name] for name in SHAPES} == hashes(two)
    assert torch.equal(three.test.items["text"], make_texts()[1].items)
    assert three.provenance["notes"][:-1] == two.provenance["notes"]
    assert three.provenance["notes"][-1].startswith("Text: ")
    for split in (three.train, three.validation, three.test):
        classes = torch.stack(
            [labels[column] for labels, column in zip(split.labels.values(), split.pairs.t(), strict=True)]
        )
        assert (classes == classes[0]).all()
    entry = DATASETS.get("mnist-svhn-text")
    assert (entry.default_preset, entry.needs_data_dir) == ("paper", True)


@pytest.mark.parametrize(
    ("parts", "counts", "expected"),
    [
        (None, (73_257, 26_032), None),
        (
            ([0] * 5, [1] * 3),
            (5, 3),
            "SVHN: 8 of 99,289 official crops (5 of 73,257 train, 3 of 26,032 test): not comparable",
        ),
        (
            ([0, 0, 1, 1, 1], [1, 0, 1]),
            (5, 3),
            "SVHN: 8 of 99,289 official crops (3 train, 5 test), re-split by photo into 5 / 3: not",
        ),
        (
            ([0] * 5, [1, 1, 0]),
            (5, 3),
            "SVHN: 8 of 99,289 official crops (6 train, 2 test), re-split by photo into 5 / 3: not",
        ),
    ],
)
def test_coverage_note(
    parts: tuple[list[int], list[int]] | None, counts: tuple[int, int], expected: str | None
) -> None:
    train, test = (
        LabelledArrays(
            np.empty((n, 0)), np.empty(n), None if parts is None else np.array(parts[i], dtype=np.uint8)
        )
        for i, n in enumerate(counts)
    )
    note = coverage_note("svhn", train, test)
    assert note is None if expected is None else note is not None and note.startswith(expected)


def test_registry() -> None:
    entry = DATASETS.get("mnist-svhn")
    assert (entry.default_preset, entry.needs_data_dir) == ("paper", True)
    with pytest.raises(
        InputError, match=re.escape("Unknown data set 'mnist-svnh': did you mean 'mnist-svhn'?")
    ):
        load_data("mnist-svnh")


@pytest.mark.skipif(
    REAL is None or not Path(REAL, "svhn_train.npz").exists(),
    reason="MMBENCH_DATA does not name a folder with the real arrays",
)
def test_real_images() -> None:
    data = load_data("mnist-svhn", REAL)
    counts = {
        name: [
            data.provenance["modalities"][name][split]["images"] for split in ("train", "validation", "test")
        ]
        for name in SHAPES
    }
    assert counts["mnist"] == [57_000, 3_000, 10_000]
    train, validation, test = counts["svhn"]
    share = 0.1 if train + validation < 20_000 else 0.05
    assert abs(validation - share * (train + validation)) <= 5
    assert data.provenance["pairs"]["test"] == 10 * (10_000 + test)
    assert "re-split by photo" in " ".join(data.provenance["notes"])
    assert {name: hashes(load_data("mnist-svhn-text", REAL))[name] for name in SHAPES} == hashes(data)
