"""Spoken items as .wav files: the sound of a spectrogram, and the spectrogram of a recording."""

import io
import warnings
from pathlib import Path

import numpy as np
import torch
from scipy.io import wavfile
from torch import Tensor

from mmbench.data.speech import RATE, SPEECH, sounds, spectrograms
from mmbench.storage.files import write_atomically
from models.base import Modality
from models.errors import InputError

__all__ = ["is_spoken", "read_recording", "write_recordings"]

LOUDEST = 2**15 - 1  # of 16 bits


def is_spoken(modality: Modality) -> bool:
    """Whether its items are spectrograms that sounds are made of."""
    return modality.sound and modality.shape == SPEECH.shape


def read_recording(path: Path) -> Tensor:
    """(1, 32, 32) floats in [0, 1]: the spectrogram of the first 0.8 seconds of a .wav.

    Raises:
        InputError: for what is no .wav of 8,000 samples a second in one channel, or is empty.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", wavfile.WavFileWarning)  # notes of recorders behind the sound
            rate, samples = wavfile.read(path)
    except Exception as error:  # of many types, SciPy's own mistakes with damaged files among them
        raise InputError(f"{path} cannot be read as a .wav ({error}).") from None
    if rate != RATE or samples.ndim != 1 or not len(samples):
        channels = 1 if samples.ndim == 1 else samples.shape[1]
        raise InputError(
            f"{path} has {len(samples):,} samples, {rate:,} a second, in {channels} channel(s): expected "
            f"{RATE:,} a second in one; convert it with `ffmpeg -i IN.wav -ar {RATE} -ac 1 OUT.wav`."
        )
    if samples.dtype == np.uint8:
        samples = samples.astype(np.int16) - 128  # bytes are the only samples without a sign
    samples = samples.astype(np.float64)
    if not np.isfinite(samples).all():
        raise InputError(f"{path} holds NaN or infinite samples.")
    return spectrograms(torch.from_numpy(samples), torch.tensor([0, len(samples)]))[0] / 255


def write_recordings(path: Path, items: Tensor) -> None:
    """Write the sounds of spectrograms (n, 1, 32, 32) to a .wav, one after the other."""
    samples = (sounds(items) * LOUDEST).round().to(torch.int16).flatten().numpy()
    content = io.BytesIO()
    wavfile.write(content, RATE, samples)
    write_atomically(path, content.getvalue())
