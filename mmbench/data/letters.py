"""Bags of letters: counts of the letters in which English names of digits are spelled.

S = 26 symbols. A document has WORDS letters, drawn one by one, with replacement, from those of the name.
"""

import string

import torch
from torch import Tensor
from torch.nn import functional

from mmbench.data.splits import Images
from mmbench.data.text import WORDS as NAMES
from models.base import Modality

__all__ = ["LETTERS", "NOTE", "draw_letters", "make_letters"]

SYMBOLS = string.ascii_lowercase
WORDS = 12  # letters of a document
LETTERS = Modality(
    "letters",
    (len(SYMBOLS),),
    likelihood="multinomial",
    weight=3072 / WORDS,
    symbols=SYMBOLS,
    words=WORDS,
)
TRAIN, TEST = 10_000, 2_000  # documents, as many of each digit
TRAIN_SEED, TEST_SEED = 5, 6
NOTE = f"Letters: {WORDS} letters drawn from the name of the digit, as counts; train and test may share some."


def make_letters() -> tuple[Images, Images]:
    """The train and the test documents."""
    labels = torch.arange(TRAIN) % len(NAMES), torch.arange(TEST) % len(NAMES)
    train, test = (
        Images(draw_letters(of, seed), of) for of, seed in zip(labels, (TRAIN_SEED, TEST_SEED), strict=True)
    )
    return train, test


def draw_letters(labels: Tensor, seed: int) -> Tensor:
    """Counts (N, S) uint8, WORDS of them being 255, of letters of the names of `labels` (N,)."""
    generator = torch.Generator().manual_seed(seed)
    spelled = torch.zeros(len(NAMES), len(SYMBOLS), dtype=torch.float64)
    for digit, name in enumerate(NAMES):
        for letter in name:
            spelled[digit, SYMBOLS.index(letter)] += 1
    drawn = torch.multinomial(spelled[labels], WORDS, replacement=True, generator=generator)  # (N, WORDS)
    counts = functional.one_hot(drawn, len(SYMBOLS)).sum(1)
    return (counts * 255 / WORDS).round().to(torch.uint8)
