"""The embedded data set: deterministic, balanced, no image in two splits, and legible."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from metrics.images import as_float
from mmbench.data import DATASETS, load_data
from mmbench.data.base import MultimodalData, Split
from mmbench.data.digits import STREET_TEST, TEST_SEED, _enlarge, _handwritten, _street
from mmbench.data.splits import hash_images
from mmbench.data.street import GLYPH, TILE, _Draw, _draw_colours, _glyph_atlas, render_digits

SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def digits() -> MultimodalData:
    return load_data("digits", "nowhere")  # reads no folder


def splits(data: MultimodalData) -> Iterator[Split]:
    return (getattr(data, name) for name in SPLITS)


def test_sizes(digits: MultimodalData) -> None:
    assert [tuple(m.shape) for m in digits.modalities] == [(1, 28, 28), (3, 32, 32)]
    counts = {
        name: [len(split.labels[name]) for split in splits(digits)] for name in ("handwritten", "street")
    }
    assert sum(counts["handwritten"]) == 1797
    assert counts["handwritten"][2] == 500
    assert counts["street"] == [9_000, 1_000, 2_000]
    for split in splits(digits):
        for name, items in split.items.items():
            assert items.dtype == torch.uint8
            assert len(split.labels[name].unique()) == 10
        assert torch.equal(
            split.labels["handwritten"][split.pairs[:, 0]], split.labels["street"][split.pairs[:, 1]]
        )
        assert len(split.pairs) == 10 * sum(map(len, split.labels.values()))


def test_no_image_is_there_twice(digits: MultimodalData) -> None:
    for name in ("handwritten", "street"):
        images = [image.numpy().tobytes() for split in splits(digits) for image in split.items[name]]
        assert len(set(images)) == len(images), name


def test_the_same_every_time(digits: MultimodalData) -> None:
    torch.manual_seed(5)
    for name, test in (("handwritten", _handwritten()[1]), ("street", _street(STREET_TEST, TEST_SEED))):
        assert hash_images(test) == digits.provenance["modalities"][name]["test"]["sha256"]
        assert torch.equal(test.items, digits.test.items[name])


def test_handwritten_digits_lie_in_a_box() -> None:
    full = _enlarge(torch.full((2, 8, 8), 16.0))
    assert full.shape == (2, 1, 28, 28)
    assert (full[:, :, 4:24, 4:24] == 255).all()
    assert full.sum() == 2 * 20 * 20 * 255


def test_glyphs_fill_their_tiles() -> None:
    glyphs, widths = _glyph_atlas()
    rows = (glyphs.amax(dim=3) > 0.2).sum(dim=2)
    assert (rows - GLYPH).abs().max() <= 2, "a digit is not as high as it should be"
    edges = torch.cat([glyphs[..., 0], glyphs[..., -1], glyphs[..., 0, :], glyphs[..., -1, :]])
    assert edges.max() == 0, "a digit is cut off"
    assert widths.min() > 5
    assert widths.max() <= TILE
    flat = glyphs.flatten(2)
    assert (flat[:, :, None] - flat[:, None]).abs().sum(-1).add(torch.eye(10) * 1e9).min() > 20, (
        "two digits of a font look the same"
    )


def test_renderings_depend_on_labels_and_seed() -> None:
    labels = torch.arange(20) % 10
    first = render_digits(labels, 0)
    assert first.shape == (20, 3, 32, 32)
    assert torch.equal(first, render_digits(labels, 0))
    assert (first != render_digits(labels, 1)).flatten(1).any(dim=1).all()
    changed = render_digits(labels.roll(1), 0)
    assert (first != changed).flatten(1).any(dim=1).all()


def test_colours_differ_in_luminance() -> None:
    paper, paint = _draw_colours(_Draw(500, torch.Generator().manual_seed(0)))
    difference = ((paint - paper)[:, :, 0, 0] * torch.tensor([0.299, 0.587, 0.114])).sum(dim=1)
    assert difference.abs().min() > 0.299
    assert difference.abs().max() < 0.501
    assert 0.4 < (difference > 0).double().mean() < 0.6


def test_registry() -> None:
    entry = DATASETS.get("digits")
    assert (entry.default_preset, entry.needs_data_dir) == ("quick", False)


@pytest.mark.slow
def test_a_small_network_reads_street_digits(digits: MultimodalData) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        *(nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(64 * 64, 128), nn.ReLU(), nn.Linear(128, 10)),
    )
    optimiser = torch.optim.Adam(network.parameters(), 1e-3)
    for _ in range(250):
        chosen = torch.randint(9_000, (128,))
        loss = functional.cross_entropy(
            network(as_float(digits.train.items["street"][chosen])), digits.train.labels["street"][chosen]
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert accuracy(network.eval(), digits.test) >= 0.95


@torch.inference_mode()
def accuracy(network: nn.Module, split: Split) -> float:
    guesses: Tensor = network(as_float(split.items["street"])).argmax(dim=1)
    return float((guesses == split.labels["street"]).double().mean())
