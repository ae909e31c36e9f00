"""Data sets with text: strings that spell their label, images as without text, triples of one class."""

from collections import Counter

import pytest
import torch
from torch import Tensor

from mmbench.data import DATASETS, load_data
from mmbench.data.base import MultimodalData
from mmbench.data.batches import Batches
from mmbench.data.text import SYMBOLS, TEXT, WORDS, make_texts, render_texts

SPLITS = ("train", "validation", "test")
LETTERS = "zero one two three four five six seven eight nine"


@pytest.fixture(scope="module")
def data() -> MultimodalData:
    return load_data("digits-text", "nowhere")  # reads no folder


def spell(texts: Tensor) -> list[str]:
    """The strings of (N, P, S), where each position must hold exactly one symbol."""
    assert ((texts == texts.max()).sum(dim=-1) == 1).all()
    assert (texts.sum(dim=-1) == texts.max()).all()
    return ["".join(SYMBOLS[i] for i in row) for row in texts.argmax(dim=-1).tolist()]


def test_strings_spell_their_labels() -> None:
    labels = torch.arange(4000) % 10
    texts = render_texts(labels, 0)
    assert (texts.dtype, tuple(texts.shape), int(texts.max())) == (torch.uint8, (4000, 8, 27), 255)
    strings = spell(texts)
    assert [string.strip() for string in strings] == [LETTERS.split()[label] for label in labels]
    expected = {
        " " * start + word + " " * (8 - start - len(word))
        for word in LETTERS.split()
        for start in range(8 - len(word))
    }
    assert len(expected) == 40
    assert set(strings) == expected
    for word in LETTERS.split():
        places = Counter(string.index(word) for string in strings if word in string)
        share = 400 / (8 - len(word))
        assert all(abs(count - share) < 5 * share**0.5 for count in places.values()), (
            "some places are likelier than others"
        )


def test_texts_depend_on_labels_and_seed() -> None:
    labels = torch.arange(100) % 10
    first = render_texts(labels, 0)
    torch.manual_seed(5)
    assert torch.equal(first, render_texts(labels, 0))
    assert not torch.equal(first, render_texts(labels, 1))
    other = render_texts(labels.roll(1), 0)
    assert all(a.strip() != b.strip() for a, b in zip(spell(first), spell(other), strict=True))
    assert torch.equal(
        render_texts(torch.tensor([], dtype=torch.int64), 0), torch.zeros(0, 8, 27, dtype=torch.uint8)
    )


def test_the_modality() -> None:
    assert TEXT.shape == (8, len(TEXT.symbols)) == (8, 27)
    assert TEXT.symbols == " abcdefghijklmnopqrstuvwxyz"
    assert TEXT.weight == pytest.approx(3072 / 8)
    train, test = make_texts()
    for part, n in ((train, 10_000), (test, 2_000)):
        assert torch.bincount(part.labels).tolist() == [n // 10] * 10
        assert [string.strip() for string in spell(part.items)] == [WORDS[label] for label in part.labels]
    assert spell(train.items[:2000]) != spell(test.items)


def test_images_are_those_of_digits(data: MultimodalData) -> None:
    two = load_data("digits")
    assert [m.name for m in data.modalities] == ["handwritten", "street", "text"]
    assert data.modalities[:2] == two.modalities
    parts = data.provenance["modalities"]
    assert {name: parts[name] for name in two.provenance["modalities"]} == two.provenance["modalities"]
    assert {split: count["images"] for split, count in parts["text"].items()} == {
        "train": 9_000,
        "validation": 1_000,
        "test": 2_000,
    }
    assert "same ones are in the train, validation and test splits" in " ".join(data.provenance["notes"])
    entry = DATASETS.get("digits-text")
    assert (entry.default_preset, entry.needs_data_dir) == ("quick", False)


def test_triples_share_their_class(data: MultimodalData) -> None:
    for split in (getattr(data, name) for name in SPLITS):
        assert split.pairs.shape == (10 * sum(map(len, split.labels.values())), 3)
        classes = torch.stack(
            [labels[column] for labels, column in zip(split.labels.values(), split.pairs.t(), strict=True)]
        )
        assert (classes == classes[0]).all()


def test_batches_hold_what_belongs_together(data: MultimodalData) -> None:
    known = {
        name: {
            image.numpy().tobytes(): int(label)
            for image, label in zip(data.train.items[name], data.train.labels[name], strict=True)
        }
        for name in ("handwritten", "street")
    }
    batch = Batches(data.train, data.modalities, 256, 0).batch(3)
    assert {name: (x.dtype, *x.shape) for name, x in batch.items()} == {
        "handwritten": (torch.float32, 256, 1, 28, 28),
        "street": (torch.float32, 256, 3, 32, 32),
        "text": (torch.float32, 256, 8, 27),
    }
    assert batch["text"].unique().tolist() == [0, 1]
    read = [WORDS.index(string.strip()) for string in spell(batch["text"])]
    assert len(set(read)) == 10
    for name, labels in known.items():
        assert [
            labels[image.numpy().tobytes()] for image in (batch[name] * 255).round().to(torch.uint8)
        ] == read
