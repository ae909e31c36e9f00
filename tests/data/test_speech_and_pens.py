"""Spoken digits and pen trajectories: spectrograms of known sounds, real files, and drawn lines."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import signal

from mmbench.data import load_data
from mmbench.data.base import DataSettings
from mmbench.data.speech import BANDS, RATE, STEP, WINDOW, read_recordings, read_speech, spectrograms
from mmbench.data.trajectories import TRAJECTORY, read_trajectories
from mmbench.storage.tiles import as_tiles
from models.base import Modality
from models.errors import InputError

ONCE = DataSettings(pairs_per_image=1)


def real(file: str) -> Path:
    """The folder of the real files; skips where `file` is not in it."""
    folder = os.environ.get("MMBENCH_DATA")
    if not folder or not (Path(folder) / file).exists():
        pytest.skip(f"no {file}: set MMBENCH_DATA to the folder that holds it")
    return Path(folder)


def mel(hertz: np.ndarray | float) -> np.ndarray:
    return 2595 * np.log10(1 + np.asarray(hertz) / 700)


@pytest.mark.parametrize("hertz", [250.0, 1000.0, 3000.0])
def test_a_tone_is_a_line_at_its_mel(hertz: float) -> None:
    samples = torch.from_numpy((8000 * np.sin(2 * np.pi * hertz * np.arange(RATE) / RATE)).astype(np.int16))
    (item,) = spectrograms(samples, torch.tensor([0, RATE]))[:, 0]
    row = int(item[:, 16].argmax())
    peaks = mel(RATE / 2) * np.arange(1, BANDS + 1) / (BANDS + 1)
    assert abs((BANDS - 1 - row) - np.abs(peaks - mel(hertz)).argmin()) <= 1
    assert int(item.max()) == 255


def test_spectrograms_are_scipys() -> None:
    """The power spectrum is SciPy's, the bands are triangles over mel, the levels decibels below the loudest."""
    wave = np.random.default_rng(0).normal(0, 3000, RATE).astype(np.int16)
    (item,) = spectrograms(torch.from_numpy(wave), torch.tensor([0, RATE]))[:, 0]
    held = wave[: STEP * 32].astype(float)
    padded = np.concatenate([np.zeros(WINDOW // 2), held, np.zeros(WINDOW)])
    window = signal.get_window("hann", WINDOW)
    power = np.stack([np.abs(np.fft.rfft(padded[i * STEP :][:WINDOW] * window)) ** 2 for i in range(32)], 1)
    width = mel(RATE / 2) / (BANDS + 1)
    centres = width * np.arange(1, BANDS + 1)
    scale = mel(np.fft.rfftfreq(WINDOW, 1 / RATE))
    bands = np.maximum(1 - np.abs(scale - centres[:, None]) / width, 0) @ power
    decibels = np.maximum(10 * np.log10(bands / bands.max()), -80)
    expected = np.rint(255 * (1 + decibels / 80))[::-1]
    assert np.abs(item.numpy().astype(int) - expected).max() <= 1


def test_what_is_after_a_recording_is_silence_and_recordings_do_not_mix() -> None:
    wave = np.random.default_rng(0).normal(0, 3000, 3 * RATE).astype(np.int16)
    offsets = torch.tensor([0, 1000, 1000 + RATE, 3 * RATE])
    together = spectrograms(torch.from_numpy(wave), offsets)
    assert (together[0, 0, :, 8:] == 0).all()  # 1,000 samples are five frames, and windows reach 256 further
    alone = spectrograms(torch.from_numpy(wave[1000 : 1000 + RATE]), torch.tensor([0, RATE]))
    assert torch.equal(alone[0], together[1])


def test_takes_0_to_4_are_for_testing() -> None:
    folder = real("fsdd.npz")
    found = read_recordings(folder / "fsdd.npz")
    train, test = read_speech(folder)
    assert (len(train.labels), len(test.labels)) == (2700, 300)
    assert torch.equal(test.labels, torch.from_numpy(found["labels"][found["take"] < 5]).long())
    assert np.bincount(test.labels).tolist() == [30] * 10
    held = {item.numpy().tobytes() for item in test.items}
    assert not held & {item.numpy().tobytes() for item in train.items}
    assert test.items.float().mean((1, 2, 3)).min() > 10  # none is silent


def test_trajectories_are_scaled_and_split_as_published() -> None:
    train, test = read_trajectories(real("pendigits.npz"))
    assert (train.items.shape, test.items.shape) == ((7494, 16), (3498, 16))
    points = train.items.view(-1, 8, 2)
    assert torch.equal(
        points.amax(1).amax(1), torch.ones(7494)
    )  # every writing fills the height or the width
    assert points.amin((1, 2)).max() == 0
    assert float(train.items.double().var(0).mean().sqrt()) == pytest.approx(TRAJECTORY.spread, abs=0.01)


def test_mhd_like_pairs_classes_and_says_where_everything_is_from() -> None:
    folder = real("pendigits.npz")
    real("mnist_train.npz")
    real("fsdd.npz")
    data = load_data("mhd-like", folder, ONCE)
    names = [m.name for m in data.modalities]
    assert names == ["mnist", "trajectory", "speech"]
    for split in (data.train, data.validation, data.test):
        classes = torch.stack([split.labels[name][split.pairs[:, i]] for i, name in enumerate(names)])
        assert (classes == classes[0]).all()
    notes = " ".join(data.provenance["notes"])
    assert all(words in notes for words in ("by other writers", "the same speakers", "not comparable"))
    counts = {name: of["train"]["images"] for name, of in data.provenance["modalities"].items()}
    assert counts == {"mnist": 57_000, "trajectory": 6744, "speech": 2430}


def write_pens(folder: Path, **changes: np.ndarray) -> None:
    y = np.arange(40) % 10
    arrays = {"train_points": np.zeros((40, 8, 2), np.uint8), "train_labels": y}
    arrays |= {name.replace("train", "test"): array for name, array in arrays.items()}
    np.savez(folder / "pendigits.npz", **{k: v for k, v in (arrays | changes).items() if v is not None})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"test_points": None}, "no whole numbers `test_points`"),
        ({"train_points": np.zeros((40, 16), np.uint8)}, r"`train_points` \(40, 16\)"),
        ({"train_points": np.full((40, 8, 2), 101)}, "go from 101 to 101: expected 0 to 100"),
        ({"train_labels": np.arange(40)}, "labels in .* go from 0 to 39"),
    ],
)
def test_trajectories_that_cannot_be_used(tmp_path: Path, changes: dict, message: str) -> None:
    write_pens(tmp_path, **changes)
    with pytest.raises(InputError, match=message):
        read_trajectories(tmp_path)


def test_files_that_are_missing_are_named_with_the_page_that_describes_them(tmp_path: Path) -> None:
    page = "docs/data-sets.md"
    assert (Path(__file__).parents[2] / page).exists()
    for read in (read_speech, read_trajectories):
        with pytest.raises(InputError, match=rf"holds no \w+.npz: put it there, as {page}"):
            read(tmp_path)


def test_a_polyline_is_drawn_through_its_points() -> None:
    """Upwards and to the right: bright on the way between points, black away from it."""
    corner = np.array([[0, 0, 0, 255, 255, 255]], np.uint8)  # up, then to the right
    (picture,) = as_tiles(corner, polyline=True)[:, 0]
    assert picture.shape == (32, 32)
    assert (picture[3:29, 3] == 255).all()
    assert (picture[3, 3:29] == 255).all()
    assert (picture[6:, 6:] == 0).all()
    dot = as_tiles(np.full((1, 4), 255, np.uint8), polyline=True)  # no length, no division by it
    assert dot[0, 0, 3, 28] == 255
    assert (dot > 0).sum() < 10


def test_only_vectors_of_x_and_y_are_polylines() -> None:
    for shape, likelihood in (((3,), "gaussian"), ((1, 8, 8), None)):
        with pytest.raises(ValueError, match="is drawn as a line: expected a vector of x and y in turn"):
            Modality("pen", shape, likelihood, polyline=True)
