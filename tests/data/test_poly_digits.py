"""Digits on photos: the recipe, pixel for pixel, and the embedded data set."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmbench.data import DATASETS, MultimodalData, load_data
from mmbench.data.base import DataSettings
from mmbench.data.digits import make_digits
from mmbench.data.pairing import hold_out
from mmbench.data.poly import INK, on_photo, on_photos
from mmbench.data.poly_digits import REGIONS, read_region
from mmbench.data.splits import HOLD_OUT_SEED, Images
from mmbench.plan.overrides import make_configs
from models.registry import MODELS

SEEDS = st.integers(0, 2**32)


@pytest.fixture(scope="module")
def data() -> MultimodalData:
    return load_data("poly-digits", "nowhere", DataSettings(pairs_per_image=2))  # reads no folder


def noise(*shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))


@given(seed=SEEDS)
def test_an_item_is_a_crop_inverted_where_the_digit_is(seed: int) -> None:
    """A photo whose pixels say where they are tells the crop's corner; every pixel then has one value."""
    rows, columns = torch.meshgrid(torch.arange(60), torch.arange(50), indexing="ij")
    photo = torch.stack([rows, columns, rows + columns]).byte()
    digits = noise(30, 1, 28, 28)
    items = on_photo(digits, photo, seed)
    assert (items.shape, items.dtype) == ((30, 3, 28, 28), torch.uint8)
    crops = torch.where(digits > INK, 255 - items, items)
    for crop in crops:
        top, left = int(crop[0, 0, 0]), int(crop[1, 0, 0])
        assert torch.equal(crop, photo[:, top : top + 28, left : left + 28])
    assert len({(int(crop[0, 0, 0]), int(crop[1, 0, 0])) for crop in crops}) > 20  # of 33 * 23 corners


@given(seed=SEEDS)
def test_items_are_a_function_of_digits_photo_and_seed(seed: int) -> None:
    digits, photo = noise(20, 1, 28, 28), noise(3, 90, 80)
    first = on_photo(digits, photo, seed)
    torch.manual_seed(7)
    assert torch.equal(first, on_photo(digits, photo, seed))
    assert not torch.equal(first, on_photo(digits, photo, seed + 1))


def test_all_corners_of_a_photo_are_used() -> None:
    photo = noise(3, 29, 30)
    items = on_photo(torch.zeros(300, 1, 28, 28, dtype=torch.uint8), photo, 0)
    assert len({item.numpy().tobytes() for item in items}) == 2 * 3


def test_modalities_and_parts_have_crops_of_their_own() -> None:
    """The same digits and the same photo in two modalities and two parts: no two look alike."""
    digits, photo = (
        Images(torch.zeros(50, 1, 28, 28, dtype=torch.uint8), torch.arange(50) % 10),
        noise(3, 90, 80),
    )
    made = on_photos({"a": photo, "b": photo}, digits, digits)
    found = [part.items for parts in made.values() for part in parts]
    assert not any(torch.equal(found[i], found[j]) for i in range(4) for j in range(i))


def test_the_data_set(data: MultimodalData) -> None:
    assert [m.name for m in data.modalities] == ["m0", "m1", "m2", "m3", "m4"]
    assert {m.shape for m in data.modalities} == {(3, 28, 28)}
    assert {len(data.test.labels[name]) for name in data.test.items} == {500}
    assert {len(data.train.labels[name]) + len(data.validation.labels[name]) for name in data.test.items} == {
        1297
    }
    assert sum("CC BY 2.0" in note for note in data.provenance["notes"]) == 1
    entry = DATASETS.get("poly-digits")
    assert (entry.default_preset, entry.needs_data_dir) == ("quick", False)


def test_what_is_held_out_is_held_out_of_all_modalities(data: MultimodalData) -> None:
    """The same writings are left for training in every modality, and none of them is in another split."""
    train, test = make_digits()["handwritten"]
    written = {image.numpy().tobytes() for image in train.items}
    assert not written & {image.numpy().tobytes() for image in test.items}
    kept, held = hold_out(train.labels, HOLD_OUT_SEED)
    photos = {m.name: read_region(region) for m, region in zip(data.modalities, REGIONS, strict=True)}
    for name, (all_items, test_items) in on_photos(photos, train, test).items():
        assert torch.equal(data.train.items[name], all_items.items[kept])
        assert torch.equal(data.validation.items[name], all_items.items[held])
        assert torch.equal(data.test.items[name], test_items.items)


def test_partners_are_of_one_class_and_of_different_writings(data: MultimodalData) -> None:
    for split in (data.train, data.validation, data.test):
        classes = torch.stack([split.labels[name][split.pairs[:, i]] for i, name in enumerate(split.items)])
        assert (classes == classes[0]).all()
    for first in range(5):
        for second in range(first):
            same = (data.train.pairs[:, first] == data.train.pairs[:, second]).double().mean()
            assert same < 0.03, "a class has some 117 writings: partners are drawn from all of them"


def test_the_pairing_seed_changes_pairs_alone(data: MultimodalData) -> None:
    other = load_data("poly-digits", None, DataSettings(pairs_per_image=2, pairing_seed=1))
    assert not torch.equal(data.train.pairs, other.train.pairs)
    assert data.provenance["modalities"] == other.provenance["modalities"]


def test_regions_are_parts_of_the_photos() -> None:
    from sklearn.datasets import load_sample_image

    for region in REGIONS:
        height, width, _ = load_sample_image(region.photo).shape
        assert 0 <= region.top < region.bottom <= height
        assert 0 <= region.left < region.right <= width


def test_its_quick_preset_has_a_budget_of_its_own() -> None:
    """The budget is the data set's, and settings on the command line go before it."""
    model = MODELS.get("mopoe")

    def training(dataset: str, preset: str, *pairs: str) -> tuple[int, int]:
        (config,) = make_configs([model], dataset, preset, pairs)
        return config.training.steps, config.training.batch_size

    assert training("poly-digits", "quick") == (800, 128)
    assert training("poly-digits", "quick", "steps=7") == (7, 128)
    assert training("poly-digits", "smoke") == training("digits", "smoke")
