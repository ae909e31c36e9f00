"""MNIST-SVHN-Text (Sutter et al. 2021): MNIST, SVHN and the digit's English name."""

from pathlib import Path

from mmbench.data.base import DataSettings, MultimodalData, register_dataset
from mmbench.data.mnist_svhn import MODALITIES, read_digits
from mmbench.data.splits import assemble
from mmbench.data.text import NOTE, TEXT, make_texts
from models.about import cite

__all__ = ["load_mnist_svhn_text"]


@register_dataset(
    "mnist-svhn-text",
    source="LeCun et al. 1998; Netzer et al. 2011; Sutter et al. 2021",
    default_preset="paper",
    needs_data_dir=True,
    description="MNIST digits, street view house numbers and English words of the same class, "
    "from --data-dir or a download",
    licence="MNIST is CC BY-SA 3.0, SVHN is for non-commercial use only; the texts are common words.",
    bibtex=cite("lecun1998mnist", "netzer2011svhn", "sutter2021mopoe"),
)
def load_mnist_svhn_text(data_dir: Path | None, settings: DataSettings) -> MultimodalData:
    """The images of `mnist-svhn`, from `data_dir`, with texts (8, 27).

    Raises:
        InputError: for files that are missing and cannot be downloaded, or that are not as they should be.
    """
    assert data_dir is not None  # `load_data` has seen to it
    parts, notes = read_digits(data_dir)
    return assemble(
        "mnist-svhn-text", (*MODALITIES, TEXT), {**parts, TEXT.name: make_texts()}, settings, [*notes, NOTE]
    )
