"""What a page about a model says beside its code, and the literature that models, data and metrics cite.

Entries of the registries hold BibTeX as text. Those of the suite take it from `references.bib`, where every
publication stands once; a plugin gives its own.
"""

import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

__all__ = ["About", "cite"]


class About(NamedTuple):
    """What a model's page says.

    Attributes:
        idea: three sentences.
        formula: the model or its objective in LaTeX, as implemented; the class's docstring has the details.
        departures: where what is implemented departs from the publication.
        bibtex: entries of the publications, as `cite` gives them.
        private: whether modalities have latents of their own, beside or in the place of a shared one.
    """

    idea: str = ""
    formula: str = ""
    departures: str = ""
    bibtex: str = ""
    private: bool = False


def cite(*keys: str) -> str:
    """The entries of `references.bib` called `keys`, with an empty line between them.

    >>> print(cite("wu2018mvae").splitlines()[0])
    @inproceedings{wu2018mvae,

    Raises:
        KeyError: for a key that the file does not have.
    """
    return "\n\n".join(_literature()[key] for key in keys)


@cache
def _literature() -> dict[str, str]:
    """The entries of `references.bib` by key."""
    text = (Path(__file__).parent / "references.bib").read_text(encoding="utf-8")
    entries = re.findall(r"^@\w+\{.*?^\}$", text, re.MULTILINE | re.DOTALL)
    return {entry.partition("{")[2].partition(",")[0]: entry for entry in entries}
