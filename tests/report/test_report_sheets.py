"""Samples, images and texts: a round trip through the disk, and damage."""

import io
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mmbench.storage.files import read_json, write_json
from mmbench.storage.samples import CrossSamples, SampleSet, load_samples, save_samples
from mmbench.storage.tiles import tile
from models.errors import InputError

SHAPES = {"mnist": (1, 8, 8), "svhn": (3, 10, 10)}


def noise(n):
    """n random images of every modality, and one direction."""
    rng = np.random.default_rng(n)
    mnist, svhn = (rng.integers(0, 256, (n, *shape), dtype=np.uint8) for shape in SHAPES.values())
    return SampleSet(
        {"mnist": mnist, "svhn": svhn},
        [CrossSamples("mnist", "svhn", list(range(n)), mnist[::-1], svhn[::-1])],
    )


@settings(deadline=None)
@given(
    st.integers(1, 25),
    st.sampled_from([1, 3]),
    st.integers(1, 5),
    st.integers(1, 5),
    st.randoms(use_true_random=False),
)
def test_tiles_lie_row_by_row(n, channels, height, width, random):
    images = np.frombuffer(random.randbytes(n * channels * height * width), np.uint8).reshape(
        n, channels, height, width
    )
    sheet = tile(images, 8, gap=2, fill=7)
    for i, image in enumerate(images):
        top, left = i // 8 * (height + 2) + 1, i % 8 * (width + 2) + 1
        np.testing.assert_array_equal(
            sheet[top : top + height, left : left + width].transpose(2, 0, 1), image
        )
    assert (sheet == 7).sum() >= sheet.size - images.size


@pytest.mark.parametrize("n", [1, 8, 13, 64])
def test_samples_survive_the_disk(tmp_path, n):
    samples = noise(n)
    save_samples(tmp_path, samples)
    loaded = load_samples(tmp_path)
    for name in SHAPES:
        np.testing.assert_array_equal(loaded.joint[name], samples.joint[name])
    assert (loaded.cross[0].source, loaded.cross[0].target, loaded.cross[0].labels) == (
        "mnist",
        "svhn",
        list(range(n)),
    )
    np.testing.assert_array_equal(loaded.cross[0].conditions, samples.cross[0].conditions)
    np.testing.assert_array_equal(loaded.cross[0].outputs, samples.cross[0].outputs)
    entry = json.loads((tmp_path / "samples.json").read_text())["joint"]["svhn"]
    assert entry == {"file": "joint-svhn.webp", "count": n, "columns": 8, "shape": [3, 10, 10]}
    with Image.open(tmp_path / "joint-mnist.webp") as sheet:
        assert (sheet.format, sheet.size) == ("WEBP", (8 * 8, 8 * -(-n // 8)))


@pytest.mark.parametrize(
    "images",
    [np.zeros((2, 1, 4, 4), np.float32), np.zeros((2, 2, 4, 4), np.uint8), np.zeros((0, 1, 4, 4), np.uint8)],
)
def test_what_is_no_image_is_not_saved(tmp_path, images):
    with pytest.raises(ValueError, match="expected uint8 images"):
        save_samples(tmp_path, SampleSet({"mnist": images}, []))
    assert not (tmp_path / "samples.json").exists()


def with_texts():
    """Two images and two texts, and both directions."""
    images, texts = noise(2).joint["mnist"], ["  one   ", "z e r o "]
    there, back = (
        CrossSamples(*names, [1, 0], *parts)
        for names, parts in ((("mnist", "text"), (images, texts)), (("text", "mnist"), (texts, images)))
    )
    return SampleSet({"mnist": images, "text": texts}, [there, back])


def test_texts_lie_in_the_index_with_their_blanks(tmp_path):
    samples = with_texts()
    save_samples(tmp_path, samples)
    loaded = load_samples(tmp_path)
    assert (
        loaded.joint["text"]
        == loaded.cross[0].outputs
        == loaded.cross[1].conditions
        == ["  one   ", "z e r o "]
    )
    np.testing.assert_array_equal(loaded.cross[1].outputs, samples.joint["mnist"])
    assert {path.name for path in tmp_path.glob("*.webp")} == {
        f"{stem}.webp" for stem in ("joint-mnist", "cross-mnist-text-conditions", "cross-text-mnist-outputs")
    }


def test_a_model_without_a_prior_has_no_joint_samples(tmp_path):
    save_samples(tmp_path, SampleSet({}, with_texts().cross))
    assert load_samples(tmp_path).joint == {}


def test_the_same_conditions_are_written_once(tmp_path):
    mnist, svhn = noise(4).joint.values()
    samples = [CrossSamples("svhn", target, [0] * 4, svhn, mnist) for target in ("a", "b")]
    save_samples(
        tmp_path, SampleSet({}, [*samples, CrossSamples("svhn", "c", [0] * 4, svhn[::-1].copy(), mnist)])
    )
    assert {path.name for path in tmp_path.glob("*-conditions.webp")} == {
        "cross-svhn-a-conditions.webp",
        "cross-svhn-c-conditions.webp",
    }
    for cross, conditions in zip(load_samples(tmp_path).cross, (svhn, svhn, svhn[::-1]), strict=True):
        np.testing.assert_array_equal(cross.conditions, conditions)


@pytest.mark.parametrize("texts", [[], [""], ["one", "three"], [1, 2], ["a\nb"]])
def test_what_is_no_list_of_texts_is_neither_saved_nor_loaded(tmp_path, texts):
    with pytest.raises(ValueError, match="expected printable texts of one length"):
        save_samples(tmp_path, SampleSet({"text": texts}, []))
    save_samples(tmp_path, with_texts())
    index = read_json(tmp_path / "samples.json")
    index["joint"]["text"]["text"] = texts
    write_json(tmp_path / "samples.json", index)
    with pytest.raises(
        InputError, match=r"texts in .*samples\.json should be printable strings of one length"
    ):
        load_samples(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda index: index["joint"]["text"]["text"].pop(), "do not belong together"),
        (lambda index: index["cross"][1]["conditions"]["text"].append("another "), "do not belong together"),
        (lambda index: index["cross"][0]["labels"].pop(), "do not belong together"),
        (lambda index: index["joint"]["mnist"].update(columns=0), "is no index of sample sheets"),
        (lambda index: index["joint"]["mnist"].update(shape=[1, 8]), "is no index of sample sheets"),
        (lambda index: index["joint"].update(text=["one"]), "is no index of sample sheets"),
    ],
)
def test_an_index_that_does_not_fit_is_named(tmp_path, change, message):
    save_samples(tmp_path, with_texts())
    index = read_json(tmp_path / "samples.json")
    change(index)
    write_json(tmp_path / "samples.json", index)
    with pytest.raises(InputError, match=message):
        load_samples(tmp_path)


def test_damaged_sheets_are_named(tmp_path):
    save_samples(tmp_path, noise(9))
    sheet = tmp_path / "joint-svhn.webp"
    whole = sheet.read_bytes()
    for other in (Image.new("RGB", (3, 3)), Image.new("RGBA", (80, 20))):
        other.save(sheet, lossless=True)
        with pytest.raises(InputError, match=r"joint-svhn\.webp.*does not match"):
            load_samples(tmp_path)
    with Image.open(io.BytesIO(whole)) as picture:
        picture.save(sheet, "PNG")  # the right pixels in the wrong format
    with pytest.raises(InputError, match=r"joint-svhn\.webp cannot be read"):
        load_samples(tmp_path)
    for damage in (b"", b"no picture", whole[:60]):
        sheet.write_bytes(damage)
        with pytest.raises(InputError, match=r"joint-svhn\.webp cannot be read"):
            load_samples(tmp_path)
    sheet.unlink()
    with pytest.raises(InputError, match=r"joint-svhn\.webp cannot be read"):
        load_samples(tmp_path)
    write_json(tmp_path / "samples.json", {"joint": {"a": {}}, "cross": []})
    with pytest.raises(InputError, match="is no index of sample sheets"):
        load_samples(tmp_path)
