"""Noisy two-view MNIST: rotations against SciPy, the noise, and what the loader makes of files."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

from mmbench.data.base import DATASETS, DataSettings
from mmbench.data.loading import load_data
from mmbench.data.noisy_mnist import add_noise, rotate


def blobs(n: int) -> torch.Tensor:
    """Smooth images that are black at the edges."""
    noise = np.random.default_rng(0).uniform(0, 1, (n, 28, 28))
    noise[:, :6] = noise[:, -6:] = noise[:, :, :6] = noise[:, :, -6:] = 0
    smooth = np.stack([ndimage.gaussian_filter(image, 1.5) for image in noise])
    return torch.from_numpy((255 * smooth / smooth.max()).astype(np.uint8))[:, None]


def test_rotations_are_bilinear_and_of_angles_up_to_45_degrees() -> None:
    """The angle of each image is found by trying all, and the image is then SciPy's."""
    images = blobs(12)
    turned = rotate(images, seed=3)
    assert turned.shape == images.shape
    assert turned.dtype == torch.uint8
    angles = []
    for before, after in zip(images[:, 0].numpy(), turned[:, 0].numpy(), strict=True):
        trials = {
            angle: np.abs(ndimage.rotate(before.astype(float), angle, reshape=False, order=1) - after).mean()
            for angle in np.arange(-60, 60.1, 0.5)
        }
        angle = min(trials, key=trials.__getitem__)
        assert trials[angle] < 0.6  # of 255: angles between the trials, and rounding
        angles.append(angle)
    assert max(np.abs(angles)) <= 45.5
    assert min(angles) < -10 < 10 < max(angles)
    assert torch.equal(turned, rotate(images, seed=3))
    assert not torch.equal(turned, rotate(images, seed=4))


def test_noise_is_uniform_and_clipped() -> None:
    black, grey = torch.zeros(200, 1, 28, 28, dtype=torch.uint8), torch.full((200, 1, 28, 28), 155).byte()
    noise = add_noise(black, seed=0)
    counts = torch.bincount(noise.flatten().long(), minlength=256).double()
    expected = noise.numel() / 256
    assert float(((counts - expected) ** 2 / expected).sum()) < 350  # chi squared with 255 degrees of freedom
    assert torch.equal(add_noise(grey, seed=0).int(), (155 + noise.int()).clamp_max(255))


def test_the_views_are_of_all_images_and_pairs_share_their_class(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for part, n in (("train", 40), ("test", 20)):
        images = random.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        np.savez_compressed(tmp_path / f"mnist_{part}.npz", images=images, labels=np.arange(n) % 10)
    data = load_data("noisy-mnist", tmp_path, DataSettings(pairs_per_image=2))
    assert list(data.test.items) == ["rotated", "noisy"]
    assert len(data.train.items["rotated"]) == len(data.train.items["noisy"]) == 30
    for split in (data.train, data.validation, data.test):
        first, second = (split.labels[name][split.pairs[:, i]] for i, name in enumerate(split.items))
        assert torch.equal(first, second)
    stored = torch.from_numpy(np.load(tmp_path / "mnist_test.npz")["images"])[:, None]
    assert (data.test.items["noisy"] >= stored).all()
    assert torch.equal(data.test.items["rotated"], rotate(stored, seed=1))
    entry = DATASETS.get("noisy-mnist")
    assert (entry.default_preset, entry.needs_data_dir) == ("cpu", True)


def test_the_command_of_the_published_table(tmp_path: Path) -> None:
    """Every row on a few images that a line can tell apart, and none made twice."""
    from click.testing import CliRunner

    from benchmarks.noisy_mnist import main

    for part, n in (("train", 200), ("test", 50)):
        images = np.zeros((n, 28, 28), np.uint8)
        for i in range(n):
            images[i, 4 + 2 * (i % 10), 4:24] = 255
        np.savez_compressed(tmp_path / f"mnist_{part}.npz", images=images, labels=np.arange(n) % 10)
    file = tmp_path / "table.csv"
    arguments = [str(file), "--data-dir", str(tmp_path), "--seeds", "0", "--steps", "3", "--batch-size", "20"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    lines = file.read_text().splitlines()
    assert lines[0] == "model,hidden,precision,steps,batch_size,seed,error,published"
    assert [line.split(",")[0] for line in lines[1:]] == ["linear CCA", "Corr-AE", "DCCA", "DCCAE"]
    assert all(0 <= float(line.split(",")[6]) <= 100 for line in lines[1:])
    again = CliRunner().invoke(main, arguments)
    assert "seed 0:" not in again.output
    assert file.read_text().splitlines() == lines
    wider = CliRunner().invoke(
        main, [*arguments, "--models", "DCCAE", "--hidden", "12,11", "--precision", "bf16"]
    )
    assert wider.exit_code == 0, wider.output
    assert file.read_text().splitlines()[-1].startswith('DCCAE,"12,11",bf16,3,20,0,')
    wrong = CliRunner().invoke(main, [*arguments, "--hidden", "12,x"])
    assert "--hidden 12,x is not usable: expected numbers of units" in wrong.output
    wrong = CliRunner().invoke(main, [*arguments, "--models", "SplitAE"])
    assert wrong.exit_code == 2
    assert "Unknown row 'SplitAE': expected some of linear CCA, Corr-AE, DCCA, DCCAE." in wrong.output


def test_linear_cca_finds_what_views_share() -> None:
    """A pixel of each view knows the class; ten variables of a canonical analysis are enough to read it."""
    from benchmarks.noisy_mnist import best_error
    from mmbench.data.base import MultimodalData, Split
    from mmbench.data.noisy_mnist import MODALITIES
    from mmbench.data.pairing import make_pairs

    def split(n: int, seed: int) -> Split:
        generator = torch.Generator().manual_seed(seed)
        labels = torch.arange(n) % 10
        items = {}
        for m in MODALITIES:
            x = torch.randint(0, 60, (n, 784), generator=generator)
            x[torch.arange(n), 10 * labels] = 255
            items[m.name] = x.byte().view(n, 1, 28, 28)
        both = dict.fromkeys(items, labels)
        return Split(items, both, make_pairs(list(both.values()), 2, 0))

    data = MultimodalData("noisy-mnist", MODALITIES, split(3000, 0), split(100, 1), split(200, 2), {})
    assert best_error(data) < 5


@pytest.mark.parametrize("seed", [0, 1])
def test_views_differ_from_seed_to_seed(seed: int) -> None:
    images = blobs(2)
    assert not torch.equal(add_noise(images, seed), add_noise(images, seed + 1))
