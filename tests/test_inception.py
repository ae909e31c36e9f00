"""The Inception path with a generated weights file: found, checked, refused, and equal to pytorch-fid on PNG files."""

import hashlib

import numpy as np
import pytest
import torch
from PIL import Image

from metrics import inception
from metrics.inception import Inception, WeightsUnavailable, features, find_weights, load_inception
from models.errors import InputError

pytorch_fid = pytest.importorskip("pytorch_fid.inception")
NAME = "pt_inception-2015-12-05-6726825d.pth"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file of the right shape, in the format of the published one, with random weights; and its hash."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "random.pth"
    state = {name: value.half().float() for name, value in Inception().network.state_dict().items()}
    torch.save(state, path, _use_new_zipfile_serialization=False)
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


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

    path, digest = weights
    images = torch.randint(256, (3, *shape), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    monkeypatch.setattr(pytorch_fid, "load_state_dict_from_url", lambda *args, **kwargs: torch.load(path, weights_only=True))
    files = [save_png(tmp_path / f"{i}.png", image) for i, image in enumerate(images)]
    expected = get_activations(files, pytorch_fid.InceptionV3([3]), batch_size=3, num_workers=0)
    seen = []
    found = features(load_inception(path, sha256=digest), images, progress=lambda *state: seen.append(state))
    assert found.shape == (3, 2048)
    assert expected.std(0).max() > 1e-3 * np.abs(expected).max()  # the images differ in these features
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
    assert seen == [(3, 3)]


def test_the_size_of_a_batch_does_not_matter(weights, monkeypatch):
    path, digest = weights
    network = load_inception(path, sha256=digest[:8])
    images = torch.randint(256, (3, 1, 16, 16), dtype=torch.uint8)
    whole = features(network, images)
    monkeypatch.setattr(inception, "BATCH", 2)
    torch.testing.assert_close(features(network, images), whole, rtol=1e-4, atol=1e-5)


def test_a_file_with_another_hash_is_refused(weights):
    with pytest.raises(InputError, match=r"random.pth does not hold the Inception weights: its SHA-256 begins with .*, expected 6726825d"):
        load_inception(weights[0])


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no\.pth are not there"):
        find_weights(tmp_path / "no.pth")


def test_the_cache_of_pytorch_fid_is_found_and_checked(weights, no_cache):
    path, digest = weights
    no_cache.mkdir(parents=True)
    (no_cache / NAME).write_bytes(path.read_bytes())
    assert find_weights(sha256=digest[:8]) == no_cache / NAME
    with pytest.raises(InputError, match=f"{NAME} does not hold"):
        find_weights()


def test_a_download_goes_to_the_cache(weights, no_cache, monkeypatch, tmp_path):
    path, digest = weights
    (tmp_path / NAME).write_bytes(path.read_bytes())
    monkeypatch.setattr(inception, "WEIGHTS_URL", (tmp_path / NAME).as_uri())
    assert find_weights(sha256=digest[:8]) == no_cache / NAME
    assert (no_cache / NAME).read_bytes() == path.read_bytes()


def test_a_download_with_another_hash_leaves_nothing(weights, no_cache, monkeypatch, tmp_path):
    (tmp_path / NAME).write_bytes(weights[0].read_bytes())
    monkeypatch.setattr(inception, "WEIGHTS_URL", (tmp_path / NAME).as_uri())
    with pytest.raises(WeightsUnavailable, match="could not be downloaded"):
        find_weights()
    assert list(no_cache.iterdir()) == []


def test_without_weights_and_network_there_is_a_reason(monkeypatch):
    monkeypatch.setattr(inception, "WEIGHTS_URL", f"http://127.0.0.1:9/{NAME}")
    with pytest.raises(WeightsUnavailable, match=r"could not be downloaded .*--inception-weights"):
        load_inception()
    with pytest.raises(WeightsUnavailable, match="are not in"):
        load_inception(download=False)
