"""The data set with counts: letters of the name of the digit, in a number that is fixed."""

import pytest
import torch

from mmbench.data import DATASETS, load_data
from mmbench.data.letters import LETTERS, WORDS, draw_letters, make_letters
from mmbench.data.text import WORDS as NAMES
from models.base import Modality


def test_letters_are_those_of_the_name_as_often_as_it_has_them():
    """Shares of 1,000 documents of each digit within five standard errors."""
    labels = torch.arange(10_000) % 10
    items = draw_letters(labels, 0)
    assert (items.dtype, items.shape) == (torch.uint8, (10_000, 26))
    counts = (items.double() * WORDS / 255).round()
    assert torch.equal(items, (counts * 255 / WORDS).round().to(torch.uint8))
    assert counts.sum(1).unique().tolist() == [WORDS]
    for digit, name in enumerate(NAMES):
        shares = counts[labels == digit].mean(0) / WORDS
        for symbol, share in zip(LETTERS.symbols, shares.tolist(), strict=True):
            expected = name.count(symbol) / len(name)
            error = (expected * (1 - expected) / (1_000 * WORDS)) ** 0.5
            assert share == pytest.approx(expected, abs=5 * error)


def test_documents_are_a_function_of_labels_and_seed():
    labels = torch.arange(50) % 10
    first = draw_letters(labels, 0)
    torch.manual_seed(7)
    assert torch.equal(first, draw_letters(labels, 0))
    assert not torch.equal(first, draw_letters(labels, 1))


def test_the_data_set():
    data = load_data("digits-letters", "nowhere")  # reads no folder
    assert [m.name for m in data.modalities] == ["handwritten", "street", "letters"]
    assert data.modalities[:2] == load_data("digits").modalities
    assert DATASETS.get("digits-letters").default_preset == "quick"
    assert (LETTERS.words, LETTERS.weight) == (WORDS, 3072 / WORDS)
    train, test = make_letters()
    assert not torch.equal(train.items[:2_000], test.items)
    for split in (data.train, data.validation, data.test):
        labels = [split.labels[name][split.pairs[:, i]] for i, name in enumerate(split.items)]
        assert all(torch.equal(labels[0], other) for other in labels[1:])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"symbols": "ab", "words": 5}, "multinomial modality 'x' has symbols 'ab': expected 3 printable"),
        ({"symbols": "abc"}, "multinomial modality 'x' has items of up to 0 words: expected 1 to 255"),
        ({"symbols": "abc", "words": 256}, "up to 256 words"),
    ],
)
def test_modalities_that_are_no_counts(arguments, message):
    with pytest.raises(ValueError, match=message):
        Modality("x", (3,), likelihood="multinomial", **arguments)
