"""A digit as an image, as a pen trajectory and as a sound: the setting of MHD (Vasco et al. 2022).

MHD itself synthesises trajectories and sounds from images. Here every modality is a public data set of its
own, and tuples are drawn within the class.
"""

from dataclasses import replace
from pathlib import Path

from mmbench.data import speech, trajectories
from mmbench.data.base import DataSettings, MultimodalData, register_dataset
from mmbench.data.mnist_svhn import read_mnist
from mmbench.data.speech import SPEECH, read_speech
from mmbench.data.splits import assemble
from mmbench.data.trajectories import TRAJECTORY, read_trajectories
from models.about import cite
from models.base import Modality

__all__ = ["MODALITIES", "load_mhd_like"]

LARGEST = 1024  # numbers of the largest modality, the spectrogram
MODALITIES = (
    Modality("mnist", (1, 28, 28), weight=LARGEST / 784),
    replace(TRAJECTORY, weight=LARGEST / TRAJECTORY.shape[0]),
    replace(SPEECH, weight=1.0),
)
NOTE = "In the setting of MHD (Vasco et al. 2022), from other data: not comparable to results on MHD."


@register_dataset(
    "mhd-like",
    source="LeCun et al. 1998; UCI pen-based recognition of handwritten digits (Alpaydin and Alimoglu 1998); "
    "Free Spoken Digit Dataset (Jackson et al. 2018); setting of Vasco et al. 2022",
    default_preset="cpu",
    needs_data_dir=True,
    description="MNIST digits, pen trajectories (vectors) and spoken digits of the same class, "
    "from --data-dir",
    licence="MNIST is CC BY-SA 3.0, the trajectories are CC BY 4.0, the Free Spoken Digit Dataset is "
    "CC BY-SA 4.0.",
    bibtex=cite("lecun1998mnist", "alpaydin1998pen", "jackson2018fsdd", "vasco2022nexus"),
    budgets={"quick": {"steps": 800, "batch_size": 128}},  # that of poly-digits; its time is not measured
)
def load_mhd_like(data_dir: Path | None, settings: DataSettings) -> MultimodalData:
    """MNIST 1x28x28, trajectories (16,) of `pendigits.npz` and log-mel spectrograms 1x32x32 of `fsdd.npz`.

    Raises:
        InputError: for files that are missing and cannot be downloaded, or that are not as they should be.
    """
    assert data_dir is not None  # `load_data` has seen to it
    pens, sounds = read_trajectories(data_dir), read_speech(data_dir)
    digits, notes = read_mnist(data_dir)
    parts = dict(zip((m.name for m in MODALITIES), (digits, pens, sounds), strict=True))
    notes = [*notes, trajectories.NOTE, speech.NOTE, NOTE]
    return assemble("mhd-like", MODALITIES, parts, settings, notes)
