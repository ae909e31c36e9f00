"""The protocol: every setting that moves an entry of a table, with its default."""

from dataclasses import dataclass

from models.errors import InputError
from models.settings import setting

__all__ = ["Protocol"]


@dataclass(frozen=True)
class Protocol:
    """How a trained model is evaluated; stored with every run and printed under the tables.

    Raises:
        InputError: where `joint_draws` exceeds `draws`.
    """

    draws: int = setting(
        20_000, "prior draws for the Frechet distances; train images for their floor, at most", low=2
    )
    joint_draws: int = setting(10_000, "the first of these draws, for joint coherence", low=1)
    probe_images: int = setting(2_000, "random train images of the linear probe, at most", low=2)
    sampler_components: int = setting(
        10, "Gaussians of the sampler that is fitted after training (Ghosh et al. 2020)", low=1
    )
    sampler_images: int = setting(
        2_000, "random train images of each modality that the sampler is fitted to, at most", low=1
    )
    evaluation_seed: int = setting(
        0,
        "of draws, latent samples, conditions, and images of probe and sampler; the same for all models and "
        "seeds",
        low=0,
        high=2**63 - 1,
    )
    judge_steps: int = setting(400, "training steps of each judge", low=1)
    judge_batch_size: int = setting(128, "images per training step of a judge", low=2)
    judge_learning_rate: float = setting(3e-3, "peak learning rate of a judge", low=1e-8)
    judge_seed: int = setting(0, "of a judge's weights, batches and augmentation", low=0, high=2**63 - 1)

    def __post_init__(self) -> None:
        if self.joint_draws > self.draws:
            raise InputError(
                f"Setting joint_draws={self.joint_draws} exceeds draws={self.draws}, of which they are a "
                "part: lower it or raise draws."
            )
