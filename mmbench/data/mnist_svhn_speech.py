"""MNIST, SVHN and spoken digits: three real modalities of one class."""

from pathlib import Path

from mmbench.data.base import DataSettings, MultimodalData, register_dataset
from mmbench.data.mnist_svhn import MODALITIES, read_digits
from mmbench.data.speech import NOTE, SPEECH, read_speech
from mmbench.data.splits import assemble
from models.about import cite

__all__ = ["load_mnist_svhn_speech"]


@register_dataset(
    "mnist-svhn-speech",
    source="LeCun et al. 1998; Netzer et al. 2011; Free Spoken Digit Dataset (Jackson et al. 2018)",
    default_preset="cpu",
    needs_data_dir=True,
    description="MNIST digits, street view house numbers and spoken digits of the same class, "
    "from --data-dir",
    licence="MNIST is CC BY-SA 3.0, SVHN is for non-commercial use only, the Free Spoken Digit Dataset is "
    "CC BY-SA 4.0.",
    bibtex=cite("lecun1998mnist", "netzer2011svhn", "jackson2018fsdd"),
    budgets={"quick": {"steps": 800, "batch_size": 128}},  # that of poly-digits
)
def load_mnist_svhn_speech(data_dir: Path | None, settings: DataSettings) -> MultimodalData:
    """The images of `mnist-svhn`, from `data_dir`, with log-mel spectrograms 1x32x32 from its `fsdd.npz`.

    Raises:
        InputError: for files that are missing and cannot be downloaded, or that are not as they should be.
    """
    assert data_dir is not None  # `load_data` has seen to it
    parts = {SPEECH.name: read_speech(data_dir)}
    digits, notes = read_digits(data_dir)
    return assemble("mnist-svhn-speech", (*MODALITIES, SPEECH), {**digits, **parts}, settings, [*notes, NOTE])
