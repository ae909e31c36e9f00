"""The embedded data set with three modalities: handwritten and street digits, and English names."""

from pathlib import Path

from mmbench.data.base import DataSettings, MultimodalData, register_dataset
from mmbench.data.digits import MODALITIES, make_digits
from mmbench.data.splits import assemble
from mmbench.data.text import NOTE, TEXT, make_texts
from models.about import cite

__all__ = ["load_digits_text"]


@register_dataset(
    "digits-text",
    source="UCI optical recognition of handwritten digits (Alpaydin and Kaynak 1998), "
    "rendered street digits, text as in Sutter et al. 2021",
    default_preset="quick",
    description="handwritten digits, rendered street digits and English words of the same class; "
    "embedded, needs no files",
    licence="The handwritten digits are CC BY 4.0. The street digits are rendered here from "
    "free fonts, the texts are common words.",
    shareable=True,
    bibtex=cite("alpaydin1998digits", "sutter2021mopoe"),
)
def load_digits_text(data_dir: Path | None, settings: DataSettings) -> MultimodalData:
    """The images of `digits` with texts (8, 27); `data_dir` is not used."""
    return assemble(
        "digits-text", (*MODALITIES, TEXT), {**make_digits(), TEXT.name: make_texts()}, settings, [NOTE]
    )
