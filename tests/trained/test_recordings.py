"""Sounds of spectrograms, and spectrograms of .wav files."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import wavfile

from mmbench.data.speech import RATE, SPEECH, read_recordings, sounds, spectrograms
from mmbench.trained.items import check_output, read_items, write_items
from models.base import Modality
from models.errors import InputError

LENGTH = RATE * 4 // 5  # samples of an item


def tone(hertz, loudness=10_000.0):
    return loudness * torch.sin(2 * torch.pi * hertz * torch.arange(LENGTH, dtype=torch.float64) / RATE)


def spectrograms_of(waves):
    return spectrograms(waves.flatten(), torch.arange(len(waves) + 1) * waves.shape[1]).float() / 255


@pytest.mark.parametrize("hertz", [250, 1_000, 3_000])
def test_the_sound_of_a_tones_spectrogram_has_its_pitch(hertz):
    (wave,) = sounds(spectrograms_of(tone(hertz)[None]))
    assert wave.abs().max() == pytest.approx(0.9)
    loudest = torch.fft.rfft(wave).abs().argmax() * RATE / len(wave)
    # the pitch within a band is lost: a band is 65 mel wide to either side of its peak
    assert abs(loudest - hertz) < 65 / 2595 * np.log(10) * (700 + hertz)


def test_sounds_have_the_spectrograms_that_they_were_made_of():
    path = Path(os.environ.get("MMBENCH_DATA", "")) / "fsdd.npz"
    if not path.exists():
        pytest.skip("MMBENCH_DATA does not name a folder with fsdd.npz")
    found = read_recordings(path)
    items = spectrograms(*(torch.from_numpy(found[name]) for name in ("samples", "offsets")))[::100] / 255
    again = spectrograms_of(sounds(items))
    decibels = 80 * (again - items).abs()
    assert decibels.mean() < 1
    assert decibels[items > 0.5].mean() < 1
    flat = sounds(items.mean((2, 3), keepdim=True).expand_as(items))  # the level without its pattern
    assert 80 * (spectrograms_of(flat) - items).abs().mean() > 10


def test_silence_is_a_sound():
    assert not sounds(torch.zeros(2, *SPEECH.shape)).any()


@pytest.mark.parametrize("kind", [np.int16, np.int32, np.uint8, np.float32])
def test_a_recording_is_read_whatever_its_samples_are(kind, tmp_path):
    wave = tone(800).numpy()
    scale = {np.int16: 1, np.int32: 2**16, np.uint8: 2**-8, np.float32: 2**-15}[kind]
    stored = (wave * scale + 128 * (kind is np.uint8)).astype(kind)
    wavfile.write(tmp_path / "a.wav", RATE, stored)
    (read,) = read_items(tmp_path / "a.wav", SPEECH)
    expected = spectrograms_of(torch.from_numpy(wave)[None])[0]
    loud = expected > 0.6  # bytes are 48 decibels deep
    assert (80 * (read - expected).abs())[loud].max() < 1


def test_a_folder_has_a_file_per_sound_and_a_file_all_of_them(tmp_path):
    items = spectrograms_of(torch.stack([tone(300), tone(900), tone(2_000)]))
    write_items(tmp_path / "out", {"speech": items}, {"speech": SPEECH})
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [f"speech-{n}.wav" for n in range(3)]
    again = read_items(tmp_path / "out", SPEECH)
    assert torch.equal(again.mean(3).argmax(2), items.mean(3).argmax(2))  # the bands of the three tones
    (tmp_path / "out" / "other.png").write_bytes(b"a picture beside them")
    assert torch.equal(read_items(tmp_path / "out", SPEECH), again)
    (tmp_path / "out" / "other.png").unlink()
    write_items(tmp_path / "all.wav", {"speech": items}, {"speech": SPEECH})
    single = [wavfile.read(path)[1] for path in sorted((tmp_path / "out").iterdir())]
    assert np.array_equal(wavfile.read(tmp_path / "all.wav")[1], np.concatenate(single))


@pytest.mark.parametrize(
    ("rate", "samples", "message"),
    [
        (44_100, np.ones(9, np.int16), "44,100 a second, in 1 channel.*expected 8,000.*ffmpeg"),
        (RATE, np.ones((9, 2), np.int16), r"in 2 channel\(s\)"),
        (RATE, np.ones(0, np.int16), "has 0 samples"),
        (RATE, np.full(9, np.nan, np.float32), "holds NaN or infinite samples"),
    ],
)
def test_recordings_that_cannot_be_used(rate, samples, message, tmp_path):
    wavfile.write(tmp_path / "a.wav", rate, samples)
    with pytest.raises(InputError, match=message):
        read_items(tmp_path / "a.wav", SPEECH)


@pytest.mark.parametrize("content", [b"", b"no sound", b"RIFF\x04\x00\x00\x00WAVE"])
def test_files_that_are_no_recordings(content, tmp_path):
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(InputError, match=r"cannot be read as a \.wav"):
        read_items(tmp_path / "a.wav", SPEECH)


def test_only_spoken_modalities_are_sounds(tmp_path):
    picture = replace(SPEECH, sound=False)
    for other in (picture, replace(SPEECH, shape=(1, 28, 28))):
        with pytest.raises(InputError, match=r"cannot hold speech: expected \.npz or \.png or a folder"):
            check_output(tmp_path / "a.wav", [other])
    check_output(tmp_path / "a.wav", [SPEECH])
    wavfile.write(tmp_path / "a.wav", RATE, np.ones(9, np.int16))
    with pytest.raises(InputError, match="cannot be read as a picture"):
        read_items(tmp_path / "a.wav", picture)
    with pytest.raises(ValueError, match="a sound of vector: expected an image"):
        Modality("x", (4,), "gaussian", sound=True)
