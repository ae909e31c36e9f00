"""The judge of text, what it reads of a model's means, and what references make of a text modality."""

import pytest
import torch
from torch.nn import functional

from metrics.images import as_read, eight_bits
from metrics.protocol import Protocol
from metrics.references.judges import (
    FEATURES,
    TextJudge,
    accuracy,
    can_judge,
    features,
    judge_identity,
    predict,
    train_judge,
)
from mmbench.data.base import DataSettings, MultimodalData
from mmbench.data.splits import Images, assemble
from mmbench.data.text import NOTE, SYMBOLS, TEXT, WORDS, render_texts
from mmbench.execution.cached_references import make_references
from models.base import Modality

IMAGE = Modality("image", (1, 8, 8))
PROTOCOL = Protocol(draws=100, joint_draws=40, judge_steps=60, judge_batch_size=64)
LABELS = torch.arange(600) % 10


def encode(*strings: str) -> torch.Tensor:
    return functional.one_hot(
        torch.tensor([[SYMBOLS.index(symbol) for symbol in string.ljust(8)] for string in strings]),
        len(SYMBOLS),
    ).float()


@pytest.fixture(scope="module")
def judge() -> TextJudge:
    made = train_judge(render_texts(LABELS, 0), LABELS, 10, Protocol(judge_steps=80, judge_batch_size=64))
    assert isinstance(made, TextJudge)
    return made


# what is read


def test_as_read_is_the_slow_argmax():
    means = torch.rand(50, 8, 27, generator=torch.Generator().manual_seed(0))
    read = as_read(TEXT, means)
    assert read.dtype == torch.float32
    for item, found in zip(means.tolist(), read.tolist(), strict=True):
        assert found == [[float(i == row.index(max(row))) for i in range(27)] for row in item]
    assert torch.equal(as_read(TEXT, read), read)
    assert eight_bits(read).unique().tolist() == [0, 255]


def test_the_first_of_equals_is_read():
    means = torch.zeros(2, 3, 4)
    means[0, 1, [2, 3]] = 0.5
    assert as_read(TEXT, means).argmax(-1).tolist() == [[0, 2, 0], [0, 0, 0]]
    assert (as_read(TEXT, means).sum(-1) == 1).all()


def test_images_are_read_as_they_are():
    means = torch.rand(3, 1, 8, 8)
    assert as_read(IMAGE, means) is means
    assert torch.equal(eight_bits(as_read(TEXT, render_texts(LABELS, 0) / 255)), render_texts(LABELS, 0))


# the judge


def test_it_reads_every_word_at_every_place(judge):
    places = [
        (digit, " " * start + word) for digit, word in enumerate(WORDS) for start in range(8 - len(word))
    ]
    found = predict(judge, encode(*(string for _, string in places)))
    assert found.tolist() == [digit for digit, _ in places]
    assert accuracy(judge, render_texts(LABELS, 1), LABELS) == 1


def test_it_reads_the_most_probable_symbols_of_soft_means(judge):
    generator = torch.Generator().manual_seed(0)
    # right symbols lead by a little
    logits = 0.3 * (render_texts(LABELS, 1) / 255) + 0.2 * torch.rand(600, 8, 27, generator=generator)
    assert accuracy(judge, as_read(TEXT, (4 * logits).softmax(-1)), LABELS) == 1


def test_a_wrong_letter_is_mostly_forgiven(judge):
    texts, generator = render_texts(LABELS, 1), torch.Generator().manual_seed(0)
    symbols = texts.argmax(-1).scatter(
        1, torch.randint(8, (600, 1), generator=generator), torch.randint(27, (600, 1), generator=generator)
    )
    assert accuracy(judge, functional.one_hot(symbols, 27).float(), LABELS) > 0.9


def test_features_are_those_that_the_head_reads(judge):
    texts = render_texts(LABELS, 1)
    found = features(judge, texts)
    assert found.shape == (600, FEATURES)
    assert found.min() >= 0
    assert torch.equal(judge.head(found).argmax(1), predict(judge, texts))
    torch.testing.assert_close(found, features(judge, texts / 255))


def test_training_sees_strings_as_they_are(monkeypatch):
    monkeypatch.setattr(
        "metrics.references.judges._shift", lambda *a: pytest.fail("text was shifted like an image")
    )
    texts = render_texts(LABELS, 0)
    seen = []
    monkeypatch.setattr(
        TextJudge, "forward", lambda self, x: (seen.append(x), self.head(self.features(x)))[1]
    )
    train_judge(texts, LABELS, 10, Protocol(judge_steps=3, judge_batch_size=200))
    known = {text.numpy().tobytes() for text in texts / 255}
    assert {text.numpy().tobytes() for x in seen for text in x} <= known


@pytest.mark.parametrize(
    ("shape", "likelihood", "fits"),
    [
        ((8, 27), "categorical", True),
        ((1, 2), "categorical", True),
        ((8, 27), None, False),
        ((2, 8, 8), "categorical", False),
    ],
)
def test_what_it_can_judge(shape, likelihood, fits):
    assert can_judge(Modality("x", shape, likelihood, symbols="a" * shape[-1] if likelihood else "")) is fits
    if fits:
        assert predict(TextJudge(shape, 10).eval(), torch.rand(2, *shape)).shape == (2,)


def test_identity_tells_text_from_images():
    found = [str(judge_identity(shape, 10, Protocol())) for shape in ((8, 27), (9, 27), (8, 26), (1, 8, 8))]
    assert len(set(found)) == 4
    assert all("TextJudge" in identity for identity in found[:3])


# references


def make_data() -> MultimodalData:
    labels = torch.arange(200) % 10
    images = Images(
        torch.randint(256, (200, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)),
        labels,
    )
    texts = [Images(render_texts(labels, seed), labels) for seed in (0, 1)]
    return assemble(
        "triples", (IMAGE, TEXT), {"image": (images, images), "text": tuple(texts)}, DataSettings(), [NOTE]
    )


def offline(*args, **kwargs):
    raise OSError(101, "Network is unreachable")


def test_references_have_a_judge_of_text_and_no_fid(monkeypatch, tmp_path):
    monkeypatch.setenv("MMBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    data = make_data()
    first = make_references(data, PROTOCOL)
    assert set(first.judges) == {"image", "text"}
    assert first.judge_accuracy["text"] == 1
    (space,) = first.feature_spaces
    assert (space.name, set(space.real)) == ("fd_clf", {"image", "text"})
    assert space.real["text"].mean.shape == (FEATURES,)
    assert 0 <= space.floor["text"] < float("inf")
    assert set(first.missing) == {"fid"}
    sentence = first.missing["fid"].sentence
    assert sentence.startswith("No FID: pytorch-fid's Inception weights are not in its cache")
    assert sentence.endswith(". There is no FID of text: its network takes images of one channel or three.")

    monkeypatch.setattr("metrics.references.judges.train_judge", lambda *a, **k: pytest.fail("trained again"))
    second = make_references(data, PROTOCOL)
    texts = data.test.items["text"]
    assert torch.equal(features(first.judges["text"], texts), features(second.judges["text"], texts))
    assert second.feature_spaces[0].floor == space.floor
