"""What a trained model gives on the command line is what it gives in Python; files of all kinds."""

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from run_files import seed_folder

import mmbench
from mmbench.data.text import TEXT, render_texts
from mmbench.trained.items import check_output, read_items, write_items
from mmbench.trained.use import draw, embed_items, translate_items
from models.base import Modality
from models.errors import InputError

GREY, COLOUR = Modality("grey", (1, 28, 28)), Modality("colour", (3, 32, 32))
VECTOR = Modality("vector", (5,))
FROM = ("--from", "handwritten", "in.npz")


@pytest.fixture
def run(finished):
    return seed_folder(finished.path)


@pytest.fixture
def model(run):
    return mmbench.load_model(run)


def bytes_of(shape, n=3):
    return torch.randint(256, (n, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("modality", [GREY, COLOUR], ids=lambda m: m.name)
@pytest.mark.parametrize("name", ["items.npz", "folder"])
def test_images_come_back_as_they_were_written(modality, name, tmp_path):
    items = bytes_of(modality.shape, n=11) / 255
    write_items(tmp_path / name, {modality.name: items}, {modality.name: modality})
    assert torch.equal(read_items(tmp_path / name, modality), items)


def test_texts_come_back_as_they_were_written(tmp_path):
    items = render_texts(torch.arange(10), 0) / 255
    for name in ("items.npz", "items.txt"):
        write_items(tmp_path / name, {"text": items}, {"text": TEXT})
        assert torch.equal(read_items(tmp_path / name, TEXT), items)
    (tmp_path / "short.txt").write_text("six\n")
    (short,) = read_items(tmp_path / "short.txt", TEXT)
    assert short.argmax(-1).tolist() == [19, 9, 24, 0, 0, 0, 0, 0]


def test_a_sheet_has_the_items_row_by_row(tmp_path):
    items = bytes_of(COLOUR.shape, n=5)
    write_items(tmp_path / "sheet.png", {"colour": items / 255}, {"colour": COLOUR})
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert sheet.shape == (64, 96, 3)
    assert np.array_equal(sheet[32:, 32:64], items[4].permute(1, 2, 0).numpy())
    assert not sheet[32:, 64:].any()


def test_a_picture_of_other_colours_is_converted(tmp_path):
    grey = bytes_of((28, 28), 1)[0].numpy()
    Image.fromarray(grey).convert("RGBA").save(tmp_path / "grey.png")
    assert torch.equal(read_items(tmp_path / "grey.png", GREY)[0, 0], torch.from_numpy(grey) / 255)


@pytest.mark.parametrize(
    ("name", "content", "modality", "message"),
    [
        ("a.png", (20, 20), GREY, "has 20 x 20 pixels, grey has 28 x 28: scale it first"),
        ("a.png", b"no picture", GREY, "cannot be read as a picture"),
        ("a.npz", {"grey": np.zeros((2, 27, 28), np.uint8)}, GREY, r"expected \(n, 1, 28, 28\)"),
        ("a.npz", {"grey": np.zeros((0, 1, 28, 28), np.uint8)}, GREY, r"expected \(n, 1, 28, 28\)"),
        ("a.npz", {"grey": np.full((2, 1, 28, 28), 2.0)}, GREY, "goes from 2 to 2: expected 0 to 1"),
        ("a.npz", {"grey": np.full((2, 1, 28, 28), np.nan)}, GREY, "holds NaN or infinite values"),
        ("a.npz", {"grey": np.zeros((2, 1, 28, 28), int)}, GREY, "is of int64: expected uint8"),
        ("a.npz", {"gray": np.zeros(1), "b": np.zeros(1)}, GREY, "has no array 'grey'"),
        ("a.npz", b"no archive", GREY, "cannot be read as an .npz"),
        ("a.txt", b"seven\nf\xc3\xbcnf\n", TEXT, "Line 2 of .* is 'fünf': expected 8 symbols"),
        ("a.txt", b"seventeen\n", TEXT, "expected 8 symbols"),
        ("a.txt", b"", TEXT, "is empty"),
        ("a.png", (28, 28), VECTOR, "is read from an .npz"),
        ("nothing", None, GREY, "There is no file"),
        ("folder", "folder", GREY, "has no items of grey"),
    ],
)
def test_what_no_items_can_be_read_from(name, content, modality, message, tmp_path):
    path = tmp_path / name
    if isinstance(content, tuple):
        Image.fromarray(np.zeros(content, np.uint8)).save(path)
    elif isinstance(content, dict):
        np.savez(path, **content)
    elif content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_items(path, modality)


@pytest.mark.parametrize(
    ("name", "modalities", "message"),
    [
        ("out.png", [GREY, COLOUR], "cannot hold grey, colour: expected .npz or a folder"),
        ("out.png", [TEXT], "expected .npz or .txt or a folder"),
        ("out.txt", [GREY], "expected .npz or .png or a folder"),
        ("out", [VECTOR], "expected .npz"),
        ("out.gif", [GREY], "expected .npz or .png or a folder"),
    ],
)
def test_an_output_that_cannot_hold_the_items_is_refused_first(name, modalities, message, tmp_path):
    with pytest.raises(InputError, match=message):
        check_output(tmp_path / name, modalities)


def test_sample_gives_the_models_draws(run, model, invoke, tmp_path):
    drawn = draw(model, 10, 4)
    again = model.generate(10, torch.Generator().manual_seed(4))
    assert all(torch.equal(drawn[name], again[name]) for name in again)
    for name in ("draws.npz", "figure.png", "folder"):
        result = invoke("sample", run, "--n", 10, "--seed", 4, "--out", tmp_path / name)
        assert result.code == 0, result.text
    stored = np.load(tmp_path / "draws.npz")
    assert all(np.array_equal(stored[name], drawn[name].numpy()) for name in drawn)
    assert len(list((tmp_path / "folder").iterdir())) == 20
    with Image.open(tmp_path / "figure.png") as picture:
        assert min(picture.size) > 25  # tests draw few pixels


def test_a_model_without_a_prior_says_so(finished, invoke, tmp_path):
    result = invoke("sample", seed_folder(finished.path, "mdae"), "--out", tmp_path / "draws.npz")
    assert result.code == 2
    assert "cannot do this: " in result.text
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("seed", [None, 3])
def test_translate_gives_the_models_translations(seed, run, model, invoke, tmp_path):
    items = bytes_of((1, 28, 28), n=7)
    np.savez(tmp_path / "in.npz", handwritten=items.numpy())
    write_items(tmp_path / "in", {"handwritten": items / 255}, model.modalities)
    expected = translate_items(model, {"handwritten": items / 255}, ["street"], seed)["street"]
    generator = torch.Generator().manual_seed(seed or 0)
    with torch.inference_mode():
        direct = model.translate({"handwritten": items / 255}, ["street"], seed is not None, generator)
    assert torch.equal(expected, direct["street"])
    how = () if seed is None else ("--sample", "--seed", seed)
    for source, out in (("in.npz", "a.npz"), ("in", "b.npz"), ("in/handwritten-0.png", "one.png")):
        result = invoke(
            *("translate", run, "--from", "handwritten", tmp_path / source, "--to", "street"),
            *("--out", tmp_path / out, *how),
        )
        assert result.code == 0, result.text
    assert np.array_equal(np.load(tmp_path / "a.npz")["street"], expected.numpy())
    assert np.array_equal(np.load(tmp_path / "b.npz")["street"], expected.numpy())
    with Image.open(tmp_path / "one.png") as picture:
        assert picture.size == (32, 32)


def test_embed_gives_the_models_representation(run, model, invoke, tmp_path):
    arrays = {"street": bytes_of((3, 32, 32)), "handwritten": bytes_of((1, 28, 28))}
    np.savez(tmp_path / "in.npz", **{name: each.numpy() for name, each in arrays.items()}, other=np.zeros(3))
    result = invoke("embed", run, tmp_path / "in.npz", "--out", tmp_path / "z.npz")
    assert result.code == 0, result.text
    with torch.inference_mode():
        expected = model.embed({name: arrays[name] / 255 for name in ("handwritten", "street")})
    assert np.array_equal(np.load(tmp_path / "z.npz")["embedding"], expected.numpy())


def test_batches_make_no_difference(model, monkeypatch):
    items = {"handwritten": bytes_of((1, 28, 28), n=9) / 255}
    whole = embed_items(model, items)
    monkeypatch.setattr("mmbench.trained.use.BATCH", 4)
    assert torch.allclose(embed_items(model, items), whole, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--from", "mnist", "in.npz", "--to", "street", "--out", "o.png"), "no modality 'mnist'"),
        ((*FROM, "--to", "svhn", "--out", "o.png"), "no modality 'svhn'"),
        (
            (*FROM, *FROM, "--to", "street", "--out", "o.png"),
            "names a modality twice",
        ),
        (
            (*FROM, "--from", "street", "three.npz", "--to", "street", "--out", "o.png"),
            "there are 2 of handwritten, 3 of street",
        ),
        ((*FROM, "--to", "street", "--out", "o.wav"), "cannot hold street"),
    ],
)
def test_translations_that_cannot_be_made(arguments, message, run, invoke, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("in.npz", handwritten=bytes_of((1, 28, 28), n=2).numpy())
    np.savez("three.npz", street=bytes_of((3, 32, 32), n=3).numpy())
    result = invoke("translate", run, *arguments)
    assert result.code == 2
    assert message in result.text
    assert {path.name for path in tmp_path.iterdir()} == {"in.npz", "three.npz"}


def test_a_seed_that_no_generator_takes(run, invoke, tmp_path):
    result = invoke("sample", run, "--seed", 2**63, "--out", tmp_path / "s.png")
    assert result.code == 2
    assert f"{2**63} is not in the range 0<=x<={2**63 - 1}" in result.text


def test_arrays_that_no_model_reads(run, invoke, tmp_path):
    np.savez(tmp_path / "in.npz", digits=np.zeros(3))
    result = invoke("embed", run, tmp_path / "in.npz", "--out", tmp_path / "z.npz")
    assert result.code == 2
    assert "has the arrays digits: expected some of handwritten, street" in result.text


def test_the_examples_of_the_page_run(run, invoke, tmp_path, monkeypatch):
    """docs/trained-models.md, block by block, after the run that it begins with."""
    page = (Path(__file__).parents[2] / "docs" / "trained-models.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    place = "results/digits/smoke/mopoe/seed-0"
    shutil.copytree(run, place)
    _, *blocks = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    blocks = [block for block in blocks if "speech" not in block]  # needs the real data
    commands = [shlex.split(line, comments=True) for block in blocks for line in block.splitlines()]
    called = [words for words in commands if words and words[0] == "mmbench"]
    assert len(called) == 7
    for _, *words in called:
        result = invoke(*(place if word == "$RUN" else word for word in words))
        assert result.code == 0, result.text
    names: dict = {}
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(block, names)
    assert names["latent"].shape[0] == 16
    exported = mmbench.load_model("exported").state_dict()
    assert all(torch.equal(value, exported[key]) for key, value in names["model"].state_dict().items())
