"""Spoken digits as pictures of their sound: log-mel spectrograms of the Free Spoken Digit Dataset.

`fsdd.npz` holds N recordings one after the other: `samples` (all of them, mono int16), `offsets` (N + 1,),
where each begins and the last one ends, `labels` (N,) whole numbers from 0 to 9, `take` (N,), the number of
the recording among those of its speaker and digit, `speaker` (N,), and `rate`, 8,000 samples a second.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mmbench.data.arrays import check_labels, open_archive
from mmbench.data.splits import Images
from models.base import Modality
from models.errors import InputError

__all__ = ["NOTE", "RATE", "SPEECH", "read_recordings", "read_speech", "sounds", "spectrograms"]

RATE = 8_000  # samples a second
BANDS, FRAMES = 32, 32
STEP = 200  # samples from frame to frame: 32 frames are 0.8 seconds
WINDOW = 512  # samples of a frame, 64 milliseconds under a Hann window
RANGE = 80.0  # decibels below the loudest point of a recording that are silence
CHUNK = 500  # recordings computed at once: bounds the memory
TINY = torch.finfo(torch.float64).tiny
SPREADINGS, PHASINGS = 50, 32  # rounds in which `sounds` spreads bands over frequencies, and finds phases
MOMENTUM = 0.99  # of the search for phases
TEST_TAKES = 5  # takes 0 to 4 of every speaker and digit: the official test part

SPEECH = Modality("speech", (1, BANDS, FRAMES), weight=3072 / (BANDS * FRAMES), sound=True)
NOTE = (
    "Speech: the Free Spoken Digit Dataset (CC BY-SA 4.0), takes 0 to 4 for testing as is official; "
    "the same speakers are in the train, validation and test splits."
)
"""A sentence for under the tables."""


def read_speech(folder: Path) -> tuple[Images, Images]:
    """The train and the test spectrograms, from `fsdd.npz` in a folder.

    Raises:
        InputError: for a file that is missing or not as the docstring of this module says.
    """
    found = read_recordings(folder / "fsdd.npz")
    items = spectrograms(*(torch.from_numpy(found[name]) for name in ("samples", "offsets")))
    images = Images(items, torch.from_numpy(found["labels"].astype(np.int64)))
    test = torch.from_numpy(found["take"] < TEST_TAKES)
    return images.at(torch.nonzero(~test).flatten()), images.at(torch.nonzero(test).flatten())


def spectrograms(samples: Tensor, offsets: Tensor) -> Tensor:
    """(N, 1, 32, 32) uint8: log-mel spectrograms, time from left to right, high frequencies on top.

    The first 0.8 seconds of every recording, followed by silence where it is shorter. A frame's power
    spectrum under a Hann window of 512 samples is summed in triangular bands that are equally wide in mel =
    2595 log10(1 + Hz / 700) from 0 to 4,000 Hz; a value is that power in decibels, from 80 below the loudest
    of the recording (0) to the loudest (255).

    Args:
        samples: of all recordings, one after the other, at 8,000 a second.
        offsets: (N + 1,) where they begin, and where the last one ends.
    """
    ends = zip(offsets[:-1].split(CHUNK), offsets[1:].split(CHUNK), strict=True)
    return torch.cat([_spectrograms(samples, begin, end) for begin, end in ends])


def _spectrograms(samples: Tensor, begin: Tensor, end: Tensor) -> Tensor:
    """(B, 1, 32, 32) of the recordings from `begin` (B,) to `end` (B,)."""
    time = torch.arange(STEP * (FRAMES - 1) + WINDOW) - WINDOW // 2
    place = begin[:, None] + time
    inside = (time >= 0) & (time < STEP * FRAMES) & (place < end[:, None])
    waves = samples[place.clamp(0, len(samples) - 1)].double() * inside  # (B, time)
    window = torch.hann_window(WINDOW, dtype=torch.float64)
    spectra = torch.stft(waves, WINDOW, STEP, window=window, center=False, return_complex=True)
    power = _bands() @ spectra.abs().square()  # (B, BANDS, FRAMES)
    loudest = power.amax((1, 2), keepdim=True).clamp_min(TINY)
    level = 1 + 10 / RANGE * (power / loudest).clamp_min(10 ** (-RANGE / 10)).log10()
    return (level * 255).round().to(torch.uint8).flip(1)[:, None]


def sounds(items: Tensor) -> Tensor:
    """(N, 6399) floats from -1 to 1: 0.8 seconds of sound, 8,000 samples a second, of each spectrogram.

    A spectrogram has lost the phases, the frequencies within a band and the loudness. The power of the bands
    is spread over frequencies so that they would give the same bands again (multiplicative updates of a
    non-negative least squares fit, Lee and Seung 2001). The phases are those that agree best from frame to
    frame (Griffin and Lim 1984, with the momentum of Perraudin et al. 2013), from random ones that are
    always the same. The loudest sample is 0.9.

    Args:
        items: (N, 1, 32, 32) floats in [0, 1], as `spectrograms` gives them divided by 255.
    """
    return torch.cat([_sounds(part) for part in items.cpu().split(CHUNK)])


def _sounds(items: Tensor) -> Tensor:
    """`sounds` of some items (B, 1, 32, 32)."""
    level = items[:, 0].double().flip(1)
    power = 10 ** (RANGE / 10 * (level - 1)) * (level > 0)  # (N, BANDS, FRAMES)
    bands = _bands()
    spread = bands.T @ power
    for _ in range(SPREADINGS):
        spread = spread * (bands.T @ power) / (bands.T @ (bands @ spread)).clamp_min(TINY)
    waves = _with_phases(spread.sqrt())
    return 0.9 * waves / waves.abs().amax(1, keepdim=True).clamp_min(TINY)


def _with_phases(magnitudes: Tensor) -> Tensor:
    """(N, samples): sounds whose short-time spectra have about these magnitudes (N, frequencies, FRAMES)."""
    window, length = torch.hann_window(WINDOW, dtype=torch.float64), STEP * FRAMES - 1
    noise = torch.rand(magnitudes.shape[1:], generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    phases = torch.polar(torch.ones_like(magnitudes), (2 * torch.pi * noise).expand_as(magnitudes))
    before = torch.zeros_like(phases)
    for _ in range(PHASINGS):
        waves = torch.istft(magnitudes * phases, WINDOW, STEP, window=window, length=length)
        spectra = torch.stft(waves, WINDOW, STEP, window=window, pad_mode="constant", return_complex=True)
        ahead = spectra + MOMENTUM * (spectra - before)
        phases, before = ahead / ahead.abs().clamp_min(TINY), spectra
    return torch.istft(magnitudes * phases, WINDOW, STEP, window=window, length=length)


def _bands() -> Tensor:
    """(BANDS, WINDOW // 2 + 1): triangles over frequencies, each up to its neighbours' peaks."""
    frequencies = torch.linspace(0, RATE / 2, WINDOW // 2 + 1, dtype=torch.float64)
    mel = 2595 * torch.log10(1 + frequencies / 700)
    peaks = torch.linspace(0, float(mel[-1]), BANDS + 2, dtype=torch.float64)
    distance = (mel - peaks[1:-1, None]).abs() / (peaks[1] - peaks[0])
    return (1 - distance).clamp_min(0)


def read_recordings(path: Path) -> dict[str, np.ndarray]:
    """The arrays of `fsdd.npz`, checked.

    Raises:
        InputError: for a file that is missing, cannot be read or lacks something.
    """
    remedy = "expected the Free Spoken Digit Dataset as docs/data-sets.md describes it"
    found = open_archive(path)
    for name in ("samples", "offsets", "labels", "speaker", "take", "rate"):
        if name not in found or found[name].dtype.kind not in "iu":
            raise InputError(f"{path} has no whole numbers `{name}`: {remedy}.")
    count = len(found["labels"])
    offsets = found["offsets"]
    if any(found[name].shape != (count,) for name in ("labels", "speaker", "take")) or offsets.shape != (
        count + 1,
    ):
        raise InputError(f"The arrays in {path} are of different lengths: {remedy}.")
    if offsets[0] != 0 or (np.diff(offsets) <= 0).any() or offsets[-1] != found["samples"].size:
        raise InputError(f"`offsets` in {path} do not cut `samples` into recordings: {remedy}.")
    if int(found["rate"]) != RATE:
        raise InputError(f"{path} has {found['rate']} samples a second: expected {RATE:,}; resample them.")
    check_labels(path, found["labels"])
    return found
