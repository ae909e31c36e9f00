"""The models of MultiVae 1.0.3 (Senellart et al. 2023): names, settings and papers.

Nothing of MultiVae is imported before a model is made, which takes seconds: `mmbench.adapters.multivae_models` does that.
Settings are named as in MultiVae's configurations and have its defaults, except for those of the comparison (latent size, likelihood,
weights), for `warmup`, a share of training where MultiVae counts epochs, and for `private_size`, its modalities_specific_dim.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

from models.base import Modality, MultimodalModel
from models.errors import InputError, suggest
from models.parts.gaussian import weights_setting
from models.registry import Limit, ModelEntry
from models.settings import setting

__all__ = ["ENTRIES", "PREFIX", "UNSUPPORTED", "VERSION", "AdaptedSettings", "find", "find_all", "is_name"]

PREFIX = "multivae:"  # on the command line
DASHED = "multivae-"  # in the names of runs
VERSION = "1.0.3"

UNSUPPORTED = {
    "multivae-cvae": "it models one modality given the others, which makes neither joint draws nor an embedding of every subset",
    "multivae-mhvae": "its latents are feature maps, made by blocks of layers for every level that the networks of the comparison do not have",
}
"""The other models that MultiVae has, and why they cannot be run."""


@dataclass(frozen=True)
class AdaptedSettings:
    """What all of them have."""

    latent_size: int = setting(40, "dimensions of the latent", low=2)
    likelihood: str = setting(
        "laplace", "observation family of images", choices=("gaussian", "laplace", "bernoulli")
    )
    likelihood_scale: float = setting(
        0.75, "scale of a Gaussian or Laplace likelihood", low=1e-3, search=(0.1, 1.0)
    )
    modality_weights: str = weights_setting()


def _beta(default: float, help: str = "weight of the KL terms") -> Any:
    return setting(default, help, low=0, search=(0.1, 10.0))


def _warmup(default: float, help: str) -> Any:
    return setting(default, help, low=0.01, high=0.99)


def _samples() -> Any:
    return setting(10, "importance samples from each expert", low=1)


def _objective() -> Any:
    return setting(
        "dreg_looser",
        "importance-weighted bound, with doubly reparameterised gradients or without",
        choices=("dreg_looser", "iwae_looser"),
    )


ANNEALED = "share of training over which the weight of the KL terms rises to its end"
STAGED = "share of training for joint encoder and decoders; the rest is for the unimodal encoders"
FAMILIES = ("laplace_with_softmax", "normal_with_softplus", "normal")
FAMILY = "family of posteriors and priors, and how a standard deviation is made"


@dataclass(frozen=True)
class JMVAESettings(AdaptedSettings):
    alpha: float = setting(
        0.1, "weight of the divergences to the unimodal posteriors", low=0, search=(0.01, 1.0)
    )
    beta: float = _beta(1.0, "weight of the KL term of the joint posterior")
    warmup: float = _warmup(0.1, ANNEALED)


@dataclass(frozen=True)
class TELBOSettings(AdaptedSettings):
    """MultiVae recommends half of training for the first stage.

    The KL terms of its second stage take the log-variance of the joint encoder, frozen by then, where that of the unimodal one belongs, so that
    nothing keeps unimodal variances from shrinking towards 0. The objective is MultiVae's all the same.
    """

    warmup: float = _warmup(0.5, STAGED)


@dataclass(frozen=True)
class JNFSettings(AdaptedSettings):
    """As long a first stage as TELBO's."""

    beta: float = _beta(1.0, "weight of the KL term of the joint posterior")
    warmup: float = _warmup(0.5, STAGED)


@dataclass(frozen=True)
class MVAESettings(AdaptedSettings):
    beta: float = _beta(1.0)
    warmup: float = _warmup(0.1, ANNEALED)


@dataclass(frozen=True)
class MMVAESettings(AdaptedSettings):
    K: int = _samples()
    prior_and_posterior_dist: str = setting(
        "laplace_with_softmax", FAMILY, choices=("laplace_with_softmax", "normal")
    )
    learn_prior: bool = setting(True, "learn the scales of the prior")
    loss: str = _objective()


@dataclass(frozen=True)
class MoPoESettings(AdaptedSettings):
    beta: float = _beta(1.0)


@dataclass(frozen=True)
class MVTCAESettings(AdaptedSettings):
    alpha: float = setting(
        0.1,
        "weight of the total correlation against the conditional information",
        low=0,
        high=1,
        search=(0.01, 0.9),
    )
    beta: float = _beta(2.5)


@dataclass(frozen=True)
class CRMVAESettings(AdaptedSettings):
    beta: float = _beta(2.5)


@dataclass(frozen=True)
class DMVAESettings(AdaptedSettings):
    """A decoder sees 40 dimensions, as in the comparison; as many of them private as the authors give SVHN."""

    latent_size: int = setting(36, "dimensions of the shared latent", low=2)
    private_size: int = setting(4, "dimensions of each modality's private latent", low=1)
    beta: float = _beta(1.0, "weight of the KL term of the shared latent")


@dataclass(frozen=True)
class MMVAEPlusSettings(AdaptedSettings):
    """A decoder sees 40 dimensions, as in the comparison; half of them private, as the authors have it."""

    latent_size: int = setting(20, "dimensions of the shared latent", low=2)
    private_size: int = setting(20, "dimensions of each modality's private latent", low=2)
    K: int = _samples()
    prior_and_posterior_dist: str = setting("laplace_with_softmax", FAMILY, choices=FAMILIES)
    learn_shared_prior: bool = setting(False, "learn the scales of the prior of the shared latent")
    learn_modality_prior: bool = setting(
        True, "learn the scales of the auxiliary priors of the private latents"
    )
    beta: float = _beta(1.0)
    reconstruction_option: str = setting(
        "joint_prior", "prior of the private latents in generation", choices=("joint_prior", "single_prior")
    )
    loss: str = _objective()


@dataclass(frozen=True)
class CMVAESettings(AdaptedSettings):
    """A decoder sees 40 dimensions, as in the comparison; half of them private, as the authors have it."""

    latent_size: int = setting(20, "dimensions of the shared latent", low=2)
    private_size: int = setting(20, "dimensions of each modality's private latent", low=2)
    number_of_clusters: int = setting(10, "components of the prior of the shared latent", low=1)
    K: int = _samples()
    prior_and_posterior_dist: str = setting("laplace_with_softmax", FAMILY, choices=FAMILIES)
    learn_modality_prior: bool = setting(
        True, "learn the scales of the auxiliary priors of the private latents"
    )
    beta: float = _beta(1.0)
    reconstruction_option: str = setting(
        "joint_prior", "prior of the private latents in generation", choices=("joint_prior", "single_prior")
    )
    loss: str = _objective()


@dataclass(frozen=True)
class NexusSettings(AdaptedSettings):
    latent_size: int = setting(40, "dimensions of each modality's latent and of the one above them", low=2)
    msg_dim: int = setting(10, "dimensions of the messages of the modalities to the latent above them", low=1)
    dropout_rate: float = setting(
        0.0,
        "share of items of which some modalities are hidden from the latent above them in training",
        low=0,
        high=1,
    )
    top_beta: float = _beta(1.0, "weight of the KL term of the latent above")
    warmup: float = _warmup(0.2, ANNEALED)


def _make(name: str, modalities: Sequence[Modality], settings: Any) -> MultimodalModel:
    from mmbench.adapters.multivae_models import make_model

    return make_model(name, modalities, settings)


def _entry(
    name: str, settings: type, source: str, title: str | None = None, limit: Limit | None = None
) -> ModelEntry:
    """MultiVae's class `name`."""
    title = f"{title or name} (MultiVae)"
    return ModelEntry(
        f"{DASHED}{name.lower()}",
        partial(_make, name),
        settings,
        source,
        title,
        limit=limit,
        packages=("multivae",),
    )


ENTRIES = {
    entry.name: entry
    for entry in (
        _entry("CMVAE", CMVAESettings, "Palumbo et al. 2024, OpenReview k5THrhXDV3"),
        _entry("CRMVAE", CRMVAESettings, "OpenReview Rn8u4MYgeNJ"),
        _entry("DMVAE", DMVAESettings, "Lee and Pavlovic 2021, arXiv 2012.13024"),
        _entry("JMVAE", JMVAESettings, "Suzuki et al. 2016, arXiv 1611.01891"),
        _entry(
            "JNF",
            JNFSettings,
            "Senellart and Allassonniere 2025, arXiv 2502.03952",
            limit=Limit(2, "given some of more it has no mean, only a chain of draws"),
        ),
        _entry("MMVAE", MMVAESettings, "Shi et al. 2019, arXiv 1911.03393"),
        _entry("MMVAEPlus", MMVAEPlusSettings, "Palumbo et al. 2023, OpenReview sdQGxouELX", "MMVAE+"),
        _entry("MoPoE", MoPoESettings, "Sutter et al. 2021, arXiv 2105.02470"),
        _entry("MVAE", MVAESettings, "Wu and Goodman 2018, arXiv 1802.05335"),
        _entry("MVTCAE", MVTCAESettings, "Hwang et al. 2021, NeurIPS 34"),
        _entry("Nexus", NexusSettings, "Vasco et al. 2022, Neural Networks 146", "NEXUS"),
        _entry(
            "TELBO",
            TELBOSettings,
            "Vedantam et al. 2018, arXiv 1705.10762",
            limit=Limit(2, "given some of more it has no posterior"),
        ),
    )
}
"""By the names that runs have."""


def is_name(name: str) -> bool:
    """Whether it names, well or badly, a model of MultiVae."""
    return name.lower().startswith(PREFIX) or name in ENTRIES or name in UNSUPPORTED


def find(name: str) -> ModelEntry:
    """The model called `name`: multivae:MMVAEPlus, in letters of any case, multivae:MMVAE+ or, as runs have it, multivae-mmvaeplus.

    Raises:
        InputError: for another name, a model that cannot be adapted, and where MultiVae is not installed.
    """
    word = name.lower().removeprefix(PREFIX).removeprefix(DASHED).replace("+", "plus")
    full = f"{DASHED}{word}"
    if full in UNSUPPORTED:
        raise InputError(
            f"The model {name} cannot be run: {UNSUPPORTED[full]}. `mmbench models` lists those that can."
        )
    if full not in ENTRIES:
        raise InputError(
            f"Unknown model {name!r} of MultiVae: {suggest(word, (known.removeprefix(DASHED) for known in ENTRIES))}"
        )
    _check_installed()
    return ENTRIES[full]


def find_all() -> list[ModelEntry]:
    """All that can be adapted; InputError where MultiVae is not installed."""
    _check_installed()
    return list(ENTRIES.values())


def _check_installed() -> None:
    remedy = "install the extra with pip install 'mmbench[multivae]'"
    if find_spec("multivae") is None:
        raise InputError(
            f"The models multivae:... are those of the package multivae, which is not there: {remedy}."
        )
    if (found := version("multivae")) != VERSION:
        raise InputError(
            f"The package multivae is there in version {found}, expected {VERSION}, whose models were adapted: {remedy}."
        )
