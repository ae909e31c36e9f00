"""The settings of MultiVae's models, named as in its configurations and with its defaults.

Exceptions are those that the comparison fixes for all models (latent size, likelihood, weights of
modalities); `warmup`, a share of training where MultiVae counts epochs; and `private_size`, its
modalities_specific_dim.
"""

from dataclasses import dataclass
from typing import Any

from models.parts.gaussian import weights_setting
from models.parts.likelihoods import likelihood_setting, scale_setting
from models.settings import setting

__all__ = [
    "AdaptedSettings",
    "CMVAESettings",
    "CRMVAESettings",
    "DMVAESettings",
    "JMVAESettings",
    "JNFSettings",
    "MMVAEPlusSettings",
    "MMVAESettings",
    "MVAESettings",
    "MVTCAESettings",
    "MoPoESettings",
    "NexusSettings",
    "TELBOSettings",
]


@dataclass(frozen=True)
class AdaptedSettings:
    """The settings that all of them have."""

    latent_size: int = setting(40, "dimensions of the latent", low=2)
    likelihood: str = likelihood_setting()
    likelihood_scale: float = scale_setting()
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

    The KL terms of its second stage take the log-variance of the joint encoder, frozen by then, where that of
    the unimodal one belongs, so that nothing keeps unimodal variances from shrinking towards 0. The objective
    here is MultiVae's all the same.
    """

    warmup: float = _warmup(0.5, STAGED)


@dataclass(frozen=True)
class JNFSettings(AdaptedSettings):
    """The first stage is as long as TELBO's."""

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
    """A decoder sees 40 dimensions, as in the comparison; 4 of them are private, as published for SVHN."""

    latent_size: int = setting(36, "dimensions of the shared latent", low=2)
    private_size: int = setting(4, "dimensions of each modality's private latent", low=1)
    beta: float = _beta(1.0, "weight of the KL term of the shared latent")


@dataclass(frozen=True)
class MMVAEPlusSettings(AdaptedSettings):
    """A decoder sees 40 dimensions, as in the comparison; half of them are private, as published."""

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
    """A decoder sees 40 dimensions, as in the comparison; half of them are private, as published."""

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
