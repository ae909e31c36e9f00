"""PolyMNIST: what the loader makes of photos and of published folders, and what it says of bad ones."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mmbench.data import MultimodalData, load_data
from mmbench.data.base import DataSettings
from mmbench.data.poly import on_photo
from mmbench.data.polymnist import read_photos
from models.errors import InputError

ONCE = DataSettings(pairs_per_image=1)
NAMES = [f"m{index}" for index in range(5)]


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """MNIST of noise, and six photos of which the first five by name are used."""
    for part, n in (("train", 60), ("test", 20)):
        images = noise(n, 28, 28, seed=n)
        np.savez(tmp_path / f"mnist_{part}.npz", images=images, labels=np.arange(n) % 10)
    (tmp_path / "polymnist").mkdir()
    for index, name in enumerate(("f", "b", "d", "a", "c", "e")):
        Image.fromarray(noise(40 + index, 50, 3, seed=index)).save(tmp_path / "polymnist" / f"{name}.png")
    (tmp_path / "polymnist" / "README.txt").write_text("not a photo")
    return tmp_path


def publish(folder: Path) -> dict[str, np.ndarray]:
    """Images in the published layout: those of item i of part p and modality m are [p][m, i]."""
    made = {"train": noise(5, 30, 28, 28, 3, seed=1), "test": noise(5, 20, 28, 28, 3, seed=2)}
    for part, images in made.items():
        for name, of in zip(NAMES, images, strict=True):
            (folder / part / name).mkdir(parents=True)
            for i, pixels in enumerate(of):
                Image.fromarray(pixels).save(folder / part / name / f"{i}.{i % 10}.png")
    return made


def test_by_recipe_every_modality_has_a_photo_in_the_order_of_names(folder: Path) -> None:
    data = load_data("polymnist", folder, ONCE)
    digits = torch.from_numpy(np.load(folder / "mnist_test.npz")["images"])[:, None]
    for index, (name, file) in enumerate(zip(NAMES, "abcde", strict=True)):
        path = folder / "polymnist" / f"{file}.png"
        photo = torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1)
        assert torch.equal(data.test.items[name], on_photo(digits, photo, 2 * index + 1))
        assert data.provenance["photos"][name] == {
            "file": path.name,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
    (note,) = [note for note in data.provenance["notes"] if "PolyMNIST by recipe" in note]
    assert data.provenance["photos"]["m0"]["sha256"][:8] in note
    assert "f.png" not in note


def check_splits(data: MultimodalData) -> None:
    """Classes agree in every tuple, and modalities hold out the same rows."""
    for split in (data.train, data.validation, data.test):
        classes = torch.stack([split.labels[name][split.pairs[:, i]] for i, name in enumerate(NAMES)])
        assert (classes == classes[0]).all()
        assert all(torch.equal(split.labels[name], split.labels["m0"]) for name in NAMES)


def test_the_published_folders_are_read_as_they_are(folder: Path) -> None:
    made = publish(folder / "polymnist")  # before the photos beside them
    data = load_data("polymnist", folder, ONCE)
    check_splits(data)
    for name, of in zip(NAMES, made["test"], strict=True):
        assert torch.equal(data.test.items[name], torch.from_numpy(of).permute(0, 3, 1, 2))
        assert torch.equal(data.test.labels[name], torch.arange(20) % 10)
    assert "photos" not in data.provenance
    (note,) = data.provenance["notes"]
    assert note.startswith("PolyMNIST: 30 of 60,000 train and 20 of 10,000 test images of each modality")


def test_the_folder_itself_may_hold_the_published_images(tmp_path: Path) -> None:
    publish(tmp_path)
    check_splits(load_data("polymnist", tmp_path, ONCE))


def test_seeds_of_pairing_change_tuples_alone(folder: Path) -> None:
    first, again, other = (load_data("polymnist", folder, DataSettings(3, seed)) for seed in (0, 0, 1))
    check_splits(first)
    assert first.provenance == again.provenance
    assert torch.equal(first.train.pairs, again.train.pairs)
    assert first.provenance["modalities"] == other.provenance["modalities"]
    assert not torch.equal(first.train.pairs, other.train.pairs)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("polymnist/a.png", b"no picture", r"a.png cannot be read \(.*\): copy it again"),
        ("polymnist/a.png", None, r"a.png is \(9, 50\): expected 28 pixels or more"),
        ("polymnist/train/m3/7.7.png", b"no picture", r"7.7.png cannot be read"),
        ("polymnist/train/m3/7.7.png", None, r"7.7.png is \(9, 50, 3\): expected an image of \(28, 28, 3\)"),
    ],
)
def test_pictures_that_cannot_be_used_are_named(
    folder: Path, file: str, content: bytes | None, message: str
) -> None:
    if "train" in file:
        publish(folder / "polymnist")
    if content is None:
        Image.fromarray(noise(9, 50, 3)).save(folder / file)
    else:
        (folder / file).write_bytes(content)
    with pytest.raises(InputError, match=message):
        load_data("polymnist", folder, ONCE)


def test_an_image_that_a_modality_lacks_is_named(folder: Path) -> None:
    publish(folder / "polymnist")
    (folder / "polymnist/test/m2/13.3.png").unlink()
    with pytest.raises(InputError, match=r"m2 holds other images than .*m0 \(13.3.png is in one of them\)"):
        load_data("polymnist", folder, ONCE)


def test_too_few_photos_are_said_with_a_remedy(folder: Path) -> None:
    for name in "ab":
        (folder / "polymnist" / f"{name}.png").unlink()
    with pytest.raises(InputError, match=r"holds 4 photos .*docs/data-sets.md"):
        read_photos(folder / "polymnist")
    with pytest.raises(InputError, match="holds 0 photos"):
        read_photos(folder / "nothing")
