"""The models of MultiVae 1.0.3 (Senellart et al. 2023): their names and papers.

Importing this registers them in the collection "multivae". MultiVae itself, whose import takes seconds, is
imported
when a model is made: `networks`, `adapted` and `kinds` need it, nothing else does.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

from mmbench.adapters.multivae import settings as s
from mmbench.adapters.multivae.about import ABOUT
from models.base import Modality, MultimodalModel
from models.registry import MODELS, Limit, ModelEntry

__all__ = ["COLLECTION", "VERSION"]

COLLECTION = "multivae"
VERSION = "1.0.3"


def _make(kind: str, modalities: Sequence[Modality], settings: Any) -> MultimodalModel:
    from mmbench.adapters.multivae.kinds import make_model

    return make_model(kind, modalities, settings)


def _register(kind: str, settings: type, source: str, title: str | None = None, **remarks: Any) -> None:
    """Register MultiVae's class `kind`; `title` is the paper's name for it, `remarks` are further fields."""
    entry = ModelEntry(
        name=f"{COLLECTION}-{kind.lower()}",
        model=partial(_make, kind),
        settings=settings,
        source=source,
        title=f"{title or kind} (MultiVae)",
        collection=COLLECTION,
        packages={"multivae": VERSION},
        about=ABOUT[kind],
        **remarks,
    )
    MODELS.add(entry)


_register("CMVAE", s.CMVAESettings, "Palumbo et al. 2024, OpenReview k5THrhXDV3")
_register("CRMVAE", s.CRMVAESettings, "OpenReview Rn8u4MYgeNJ")
_register("DMVAE", s.DMVAESettings, "Lee and Pavlovic 2021, arXiv 2012.13024")
_register("JMVAE", s.JMVAESettings, "Suzuki et al. 2016, arXiv 1611.01891")
_register(
    "JNF",
    s.JNFSettings,
    "Senellart and Allassonniere 2025, arXiv 2502.03952",
    limit=Limit(2, "given only some of them it has no mean, only a chain of draws"),
)
_register("MMVAE", s.MMVAESettings, "Shi et al. 2019, arXiv 1911.03393")
_register("MMVAEPlus", s.MMVAEPlusSettings, "Palumbo et al. 2023, OpenReview sdQGxouELX", "MMVAE+")
_register("MoPoE", s.MoPoESettings, "Sutter et al. 2021, arXiv 2105.02470")
_register("MVAE", s.MVAESettings, "Wu and Goodman 2018, arXiv 1802.05335")
_register("MVTCAE", s.MVTCAESettings, "Hwang et al. 2021, NeurIPS 34")
_register("Nexus", s.NexusSettings, "Vasco et al. 2022, Neural Networks 146", "NEXUS")
_register(
    "TELBO",
    s.TELBOSettings,
    "Vedantam et al. 2018, arXiv 1705.10762",
    limit=Limit(2, "given only some of them it has no posterior"),
)

# the other models that MultiVae has, which cannot be run
_register(
    "CVAE",
    s.AdaptedSettings,
    "Sohn et al. 2015, NeurIPS 28",
    unsupported="it models one modality given the others, which makes neither joint draws nor an embedding "
    "of every subset",
)
_register(
    "MHVAE",
    s.AdaptedSettings,
    "Dorent et al. 2023, arXiv 2309.08747",
    unsupported="its latents are feature maps, made by blocks of layers for every level that the networks "
    "of the comparison do not have",
)
