"""The embedded data set with counts as third modality: handwritten and street digits, and bags of letters."""

from pathlib import Path

from mmbench.data.base import DataSettings, MultimodalData, register_dataset
from mmbench.data.digits import MODALITIES, make_digits
from mmbench.data.letters import LETTERS, NOTE, make_letters
from mmbench.data.splits import assemble
from models.about import cite

__all__ = ["load_digits_letters"]


@register_dataset(
    "digits-letters",
    source="UCI optical recognition of handwritten digits (Alpaydin and Kaynak 1998), "
    "rendered street digits, letters drawn from English names",
    default_preset="quick",
    description="handwritten digits, rendered street digits and counts of letters of the same class; "
    "embedded, needs no files",
    licence="The handwritten digits are CC BY 4.0. The street digits are rendered here from "
    "free fonts, the counts are drawn here.",
    shareable=True,
    bibtex=cite("alpaydin1998digits"),
)
def load_digits_letters(data_dir: Path | None, settings: DataSettings) -> MultimodalData:
    """The images of `digits` with counts (26,); `data_dir` is not used."""
    parts = {**make_digits(), LETTERS.name: make_letters()}
    return assemble("digits-letters", (*MODALITIES, LETTERS), parts, settings, [NOTE])
