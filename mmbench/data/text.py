"""English names of digits as strings: the text modality of Sutter et al. (2021), one-hot over an alphabet.

P = 8 positions, S = 27 symbols: the blank, then the letters a to z (the authors' alphabet also holds what no
word uses).
"""

import string

import torch
from torch import Tensor
from torch.nn import functional

from mmbench.data.splits import Images
from models.base import Modality

__all__ = ["NOTE", "TEXT", "make_texts", "render_texts"]

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
POSITIONS = 8
SYMBOLS = " " + string.ascii_lowercase

# The authors weigh a modality by 3072 / size and count the positions of a text, not its P * S numbers
# (MoPoE's code: modalities/Text.py).
TEXT = Modality(
    "text", (POSITIONS, len(SYMBOLS)), likelihood="categorical", weight=3072 / POSITIONS, symbols=SYMBOLS
)

TRAIN, TEST = 10_000, 2_000  # texts, as many of each digit; more would be the same 40 strings again
TRAIN_SEED, TEST_SEED = 3, 4
NOTE = (
    "Text: there are 40 different strings (a word at one of several places), "
    "and the same ones are in the train, validation and test splits."
)


def make_texts() -> tuple[Images, Images]:
    """The train and the test texts."""
    labels = torch.arange(TRAIN) % len(WORDS), torch.arange(TEST) % len(WORDS)
    train, test = (
        Images(render_texts(of, seed), of) for of, seed in zip(labels, (TRAIN_SEED, TEST_SEED), strict=True)
    )
    return train, test


def render_texts(labels: Tensor, seed: int) -> Tensor:
    """Texts (N, P, S) uint8, one-hot times 255, that spell `labels` (N,), a pure function of both arguments.

    A word of n letters begins at one of the positions 0 ... P - 1 - n, all equally likely: as in the authors'
    code (utils/text.py), the last position is always blank.
    """
    generator = torch.Generator().manual_seed(seed)
    spelled = [[SYMBOLS.index(letter) for letter in word.ljust(POSITIONS)] for word in WORDS]
    words = torch.tensor(spelled)  # (10, P)
    places = torch.tensor([POSITIONS - len(word) for word in WORDS])[labels]
    start = (torch.rand(len(labels), generator=generator, dtype=torch.float64) * places).long()
    # what is left of a word comes from its blank end
    column = (torch.arange(POSITIONS) - start[:, None]) % POSITIONS
    symbols = words[labels].gather(1, column)
    return functional.one_hot(symbols, len(SYMBOLS)).to(torch.uint8) * 255
