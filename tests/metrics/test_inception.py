"""FID from a generated file of weights: found, checked, refused, and equal to pytorch-fid on PNG files."""

import hashlib
import pickle
import socket
from http.client import RemoteDisconnected
from urllib.error import HTTPError, URLError

import numpy as np
import pytest
import torch
from evaluation_setup import said
from frechet_reference import by_trace_norm
from PIL import Image
from reference_data import Noise, make_data

from metrics.evaluation.evaluate import evaluate
from metrics.protocol import Protocol
from metrics.references import inception
from metrics.references.inception import (
    Inception,
    WeightsUnavailable,
    can_see,
    features,
    find_weights,
    load_inception,
)
from mmbench.execution.cached_references import make_references
from mmbench.storage.files import read_json
from models.base import Modality
from models.errors import InputError

pytorch_fid = pytest.importorskip("pytorch_fid.inception")
NAME = "pt_inception-2015-12-05-6726825d.pth"


@pytest.fixture(scope="module")
def random_weights(tmp_path_factory):
    """A file of the right shape, in the format of the published one, with random weights; and its hash."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "random.pth"
    state = {name: value.half().float() for name, value in Inception().network.state_dict().items()}
    torch.save(state, path, _use_new_zipfile_serialization=False)
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def weights(random_weights, monkeypatch):
    """The file with random weights, taken for the published one."""
    path, digest = random_weights
    monkeypatch.setattr(inception, "WEIGHTS_SHA256", digest)
    return path


@pytest.fixture(autouse=True)
def no_cache(tmp_path, monkeypatch):
    """An empty cache of torch.hub."""
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "torch" / "hub" / "checkpoints"


def save_png(path, image):
    array = image.permute(1, 2, 0).numpy()
    Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array).save(path)
    return str(path)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32)])
def test_features_are_pytorch_fids_on_png_files(weights, tmp_path, monkeypatch, shape):
    from pytorch_fid.fid_score import get_activations

    images = torch.randint(256, (3, *shape), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    monkeypatch.setattr(
        pytorch_fid,
        "load_state_dict_from_url",
        lambda *args, **kwargs: torch.load(weights, weights_only=True),
    )
    files = [save_png(tmp_path / f"{i}.png", image) for i, image in enumerate(images)]
    expected = get_activations(files, pytorch_fid.InceptionV3([3]), batch_size=3, num_workers=0)
    seen = []
    monkeypatch.setattr(inception, "BATCH", 2)
    found = features(load_inception(weights), images, progress=lambda *state: seen.append(state))
    assert found.shape == (3, 2048)
    assert expected.std(0).max() > 1e-3 * np.abs(expected).max()  # the images differ in these features
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
    assert seen == [(2, 3), (3, 3)]


def test_the_size_of_a_batch_does_not_matter(weights, monkeypatch):
    network = load_inception(weights)
    images = torch.randint(256, (3, 1, 16, 16), dtype=torch.uint8)
    whole = features(network, images)
    monkeypatch.setattr(inception, "BATCH", 2)
    torch.testing.assert_close(features(network, images), whole, rtol=1e-4, atol=1e-5)


def test_a_file_with_another_hash_is_refused(random_weights):
    with pytest.raises(
        InputError,
        match=r"random.pth does not hold the Inception weights: its SHA-256 begins .*, expected 6726825d",
    ):
        load_inception(random_weights[0])


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(
        InputError,
        match=r"no\.pth are not there .*\(No such file or directory\): expected pytorch-fid's file pt_",
    ):
        find_weights(tmp_path / "no.pth")


def test_a_file_that_cannot_be_read_is_refused(tmp_path, weights, monkeypatch):
    with pytest.raises(InputError, match=r"or cannot be read \(Is a directory\)"):
        find_weights(tmp_path)

    def forbidden(*args, **kwargs):
        raise PermissionError(13, "Permission denied", "file")

    monkeypatch.setattr("pathlib.Path.open", forbidden)
    with pytest.raises(
        InputError, match=r"random\.pth are not there or cannot be read \(Permission denied\)"
    ):
        find_weights(weights)


@pytest.mark.parametrize("content", [b"no weights", b"", {"a": torch.zeros(1)}, [1.0]])
def test_a_file_of_something_else_is_refused_even_with_the_right_hash(tmp_path, monkeypatch, content):
    file = tmp_path / "else.pth"
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        torch.save(content, file)
    monkeypatch.setattr(inception, "WEIGHTS_SHA256", hashlib.sha256(file.read_bytes()).hexdigest())
    with pytest.raises(InputError, match=r"else\.pth holds no weights of the Inception network"):
        load_inception(file)


def test_the_cache_of_pytorch_fid_is_found_and_checked(weights, no_cache, monkeypatch):
    no_cache.mkdir(parents=True)
    (no_cache / NAME).write_bytes(weights.read_bytes())
    assert find_weights() == no_cache / NAME
    monkeypatch.undo()
    monkeypatch.setenv("TORCH_HOME", str(no_cache.parents[1]))
    with pytest.raises(InputError, match=f"{NAME} does not hold"):
        find_weights()


def test_a_download_goes_to_the_cache(weights, no_cache, monkeypatch, tmp_path):
    (tmp_path / NAME).write_bytes(weights.read_bytes())
    monkeypatch.setattr(inception, "WEIGHTS_URL", (tmp_path / NAME).as_uri())
    assert find_weights() == no_cache / NAME
    assert (no_cache / NAME).read_bytes() == weights.read_bytes()


def test_a_download_with_another_hash_leaves_nothing(no_cache, monkeypatch, tmp_path):
    (tmp_path / NAME).write_bytes(b"a page that says log in first")
    monkeypatch.setattr(inception, "WEIGHTS_URL", (tmp_path / NAME).as_uri())
    with pytest.raises(
        WeightsUnavailable, match=r"could not be downloaded \(its hash is not the expected one\)"
    ):
        find_weights()
    assert list(no_cache.iterdir()) == []


def test_without_weights_and_network_there_is_a_reason(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(inception, "WEIGHTS_URL", f"http://127.0.0.1:9/{NAME}")
    with pytest.raises(
        WeightsUnavailable, match=r"could not be downloaded \(Connection refused\)\. .*--inception-weights"
    ):
        load_inception()


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (URLError(socket.gaierror(-2, "Name or service not known")), "Name or service not known"),
        (URLError("no host given"), "no host given"),
        (HTTPError("http://host/file", 404, "Not Found", None, None), "Not Found"),
        (TimeoutError("timed out"), "timed out"),
        (
            RemoteDisconnected("Remote end closed connection without response"),
            "Remote end closed connection without response",
        ),
        (PermissionError(13, "Permission denied", "/home/someone/.cache"), "Permission denied"),
        (
            RuntimeError('invalid hash value (expected "6726825d", got "0")'),
            "its hash is not the expected one",
        ),
    ],
)
def test_the_reason_says_why_without_places(monkeypatch, error, cause):
    """And the download does not wait for ever, while other sockets may."""
    limits = []

    def fail(*args, **kwargs):
        limits.append(socket.getdefaulttimeout())
        raise error

    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    with pytest.raises(WeightsUnavailable) as caught:
        find_weights()
    assert str(caught.value).startswith(
        "No FID: pytorch-fid's Inception weights are not in its cache and could not be downloaded "
        f"({cause}). Fetch {inception.WEIGHTS_URL} and"
    )
    assert (limits, socket.getdefaulttimeout()) == ([30.0], None)


@pytest.mark.parametrize(
    ("shape", "fits"), [((1, 8, 8), True), ((3, 5, 7), True), ((2, 8, 8), False), ((5, 27), False)]
)
def test_what_the_network_can_see(shape, fits):
    assert can_see(shape) is fits


def test_from_a_file_of_weights_to_a_fid(weights, tmp_path, monkeypatch):
    """With few images: the real and the generated ones span a handful of the 2,048 directions."""
    monkeypatch.setenv("MMBENCH_CACHE", str(tmp_path / "cache"))
    modalities = (Modality("a", (1, 8, 8)), Modality("words", (5, 27)))
    data, protocol = make_data(modalities=modalities, test=10), Protocol(draws=4, joint_draws=4)
    references = make_references(data, protocol, {"fid"}, weights)
    model = Noise(data.modalities)
    found = evaluate(
        model,
        test=data.test.labelled,
        train=data.train.labelled,
        references=references,
        protocol=protocol,
        metrics={"fid"},
    )
    assert set(found.metrics) == {"fid/a", "fid/words"}
    assert said(found) == {
        "fid/words": "There is no FID of words: its network takes images of one channel or three."
    }
    network = load_inception(weights)
    draws = (255 * model.generate(500, torch.Generator().manual_seed(0))["a"][:4]).round().to(torch.uint8)
    expected = by_trace_norm(
        features(network, draws).double(), features(network, data.test.items["a"]).double()
    )
    assert found.metrics["fid/a"] == pytest.approx(expected, rel=1e-4)
    assert (found.references["fid_real/a"], found.references["fid_train/a"]) == (10, 4)
    assert found.references["fid_floor/a"] > 0
    pickle.dumps(references)  # workers get them
    monkeypatch.setattr(
        "mmbench.execution.cached_references.build_feature_space",
        lambda *a, **k: pytest.fail("computed again"),
    )
    assert (
        make_references(data, protocol, {"fid"}, weights).feature_spaces[0].floor
        == references.feature_spaces[0].floor
    )


def test_fid_can_be_added_to_a_finished_run(weights, invoke, tmp_path, monkeypatch):
    for name, count in {"HANDWRITTEN_TEST": 1, "STREET_TRAIN": 100, "STREET_TEST": 10}.items():
        monkeypatch.setattr(f"mmbench.data.digits.{name}", count)
    few = [
        word
        for pair in ("draws=2", "joint_draws=2", "judge_steps=2", "steps=2", "batch_size=8")
        for word in ("--set", pair)
    ]
    words = (
        "--models",
        "mopoe",
        "--dataset",
        "digits",
        "--preset",
        "smoke",
        "--jobs",
        "1",
        "--metrics",
        "coherence,fd_clf,probe",
    )
    result = invoke("run", *words, "--results", tmp_path, *few)
    assert result.code == 0, result.text
    folder = tmp_path / "digits" / "smoke" / "mopoe" / "seed-0"
    before = read_json(folder / "metrics.json")
    result = invoke("evaluate", folder, "--metrics", "fid", "--inception-weights", weights)
    assert result.code == 0, result.text
    after = read_json(folder / "metrics.json")
    for kind, names in {
        "metrics": ("fid",),
        "references": ("fid_floor", "fid_real", "fid_train"),
        "reasons": (),
    }.items():
        added = {f"{name}/{modality}" for name in names for modality in ("handwritten", "street")}
        assert after[kind].keys() - before[kind].keys() == added
        assert all(after[kind][name] > 0 for name in added)
        assert {name: after[kind][name] for name in before[kind]} == before[kind]
    assert f"{after['metrics']['fid/street']:.1f}" in (folder.parents[1] / "table2.md").read_text()
