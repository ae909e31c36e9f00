"""Counts in the evaluation: their judge, how they are shown, and what every metric says of them."""

import numpy as np
import pytest
import torch
from evaluation_setup import TWO, TinyVAE, make_setup
from torch.nn import functional

from metrics.catalogue import GROUPS
from metrics.evaluation.evaluate import evaluate
from metrics.images import as_read
from metrics.missing import Lack
from metrics.protocol import Protocol
from metrics.references.judges import (
    FEATURES,
    CountJudge,
    accuracy,
    can_judge,
    features,
    judge_identity,
    predict,
    train_judge,
)
from mmbench.data.letters import LETTERS, draw_letters
from mmbench.data.text import WORDS as NAMES
from mmbench.storage.tiles import as_tiles
from models.base import Modality

LABELS = torch.arange(600) % 10
COUNTS = Modality("c", (12,), "multinomial", symbols="abcdefghijkl", words=4)


@pytest.fixture(scope="module")
def judge():
    return train_judge(draw_letters(LABELS, 0), LABELS, 10, Protocol(judge_steps=200, judge_batch_size=64))


def test_it_reads_documents_and_the_probabilities_of_their_letters(judge):
    """Of 12 letters drawn from a name 96 % or more are understood, and every name as exact probabilities."""
    assert isinstance(judge, CountJudge)
    assert accuracy(judge, draw_letters(LABELS, 1), LABELS) > 0.96
    letters = [
        functional.one_hot(torch.tensor([LETTERS.symbols.index(x) for x in name]), 26) for name in NAMES
    ]
    shares = torch.stack([each.float().mean(0) for each in letters])
    assert as_read(LETTERS, shares) is shares
    assert predict(judge, shares).tolist() == list(range(10))


def test_it_reads_shares_whatever_the_number_of_words(judge):
    items = draw_letters(LABELS, 1) / 255
    torch.testing.assert_close(features(judge, items), features(judge, items / 3), rtol=1e-4, atol=1e-4)
    assert features(judge, items).shape == (600, FEATURES)
    assert features(judge, torch.zeros(2, 26)).isfinite().all()


def test_what_it_can_judge():
    assert can_judge(LETTERS)
    assert not can_judge(Modality("x", (2, 3), "multinomial", symbols="abc", words=2))
    assert "CountJudge" in str(judge_identity((26,), 10, Protocol()))


def test_the_most_frequent_symbols_are_shown():
    items = np.array([[0, 9, 0, 200, 9, 0, 0], [1, 2, 3, 4, 5, 6, 7], [0, 0, 0, 0, 0, 0, 0]], np.uint8)
    assert as_tiles(items, "abcdefg") == ["dbe  ", "gfedc", "     "]


def test_every_metric_has_a_value_or_a_reason():
    """What is of images is not defined of counts, and nothing fails."""
    modalities = (*TWO, COUNTS)
    setup = make_setup(modalities)
    found = evaluate(TinyVAE(modalities), **setup, metrics=list(GROUPS))
    lacking = {str(name): missing for name, missing in found.missing.items()}
    assert {missing.kind for missing in lacking.values()} <= {Lack.NOT_DEFINED, Lack.UNAVAILABLE}
    assert lacking["mse/c"].sentence == "It is of images, and c is counts of symbols."
    for name in ("cross_coherence/a->c/mean", "cross_coherence/c->a/sample", "probe/c"):
        assert isinstance(found.metrics[name], float), name
