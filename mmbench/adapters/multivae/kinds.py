"""MultiVae's models one by one: what each needs beside the base classes.

Imports MultiVae, which takes seconds.
"""

from collections.abc import Callable, Sequence
from typing import Any

import multivae.models
import torch
from pythae.models.base.base_utils import ModelOutput
from torch import Tensor

from mmbench.adapters.multivae.adapted import EPOCHS, Adapted, AdaptedShared, SingleLatent
from mmbench.adapters.multivae.networks import Decoder, Encoder, JointEncoder
from models.base import Batch, Loss, Modality, Stage
from models.mmvae import DiagonalLaplace
from models.parts.distributions import DiagonalGaussian, one_expert_per_item
from models.parts.networks import Float32, make_encoder

__all__ = ["make_model"]


class Joint(SingleLatent):
    """JMVAE: an encoder of all modalities together beside one for each."""

    def parts(self) -> dict[str, Any]:
        found = super().parts()  # first, as weights are drawn in this order
        joint = JointEncoder(list(self.modalities.values()), self.settings.latent_size)
        return {**found, "joint_encoder": joint}

    def proposal(self, inputs: Batch) -> DiagonalGaussian:
        found = self.peer.joint_encoder(inputs)
        return DiagonalGaussian(found.embedding.unsqueeze(0), found.log_covariance.unsqueeze(0))


class Staged(Joint):
    """TELBO, in two stages: first the joint encoder and the decoders, then the rest with these frozen.

    The rest are the encoders of single modalities, and their flows where they have some.
    """

    def stages(self) -> tuple[Stage, ...]:
        joint = [*self.peer.joint_encoder.parameters(), *self.peer.decoders.parameters()]
        single = [p for p in self.peer.parameters() if all(p is not other for other in joint)]
        share = self.settings.warmup
        return (
            Stage("joint", share, self.loss, tuple(joint)),
            Stage("unimodal", 1 - share, self.unimodal_loss, tuple(single)),
        )

    def loss(self, batch: Batch, progress: Tensor) -> Loss:
        self.peer.requires_grad_(True)  # MultiVae freezes the joint part in the second stage
        return self.peer_loss(batch, epoch=1)

    def unimodal_loss(self, batch: Batch, progress: Tensor) -> Loss:
        """The objective of the second stage."""
        return self.peer_loss(batch, epoch=EPOCHS + 1)


class Flows(Staged):
    """JNF with MultiVae's default flows, masked autoregressive ones."""

    def __init__(self, modalities: Sequence[Modality], settings: Any, kind: str):
        super().__init__(modalities, settings, kind)
        for flow in self.peer.flows.values():
            for made in flow.net:
                made.net.append(Float32())  # log-variances, as those of our networks


class PrivateSizes(Adapted):
    """DMVAE, whose private latents may differ in size."""

    def options(self) -> dict[str, Any]:
        found = super().options()
        sizes = dict.fromkeys(self.modalities, found["modalities_specific_dim"])
        return {**found, "modalities_specific_dim": sizes}


class Mixture(Adapted):
    """MMVAE+ and CMVAE (MMVAE is below): given several modalities, the mixture of the posteriors given each.

    Every item is drawn from one of them at random, where MultiVae draws the whole batch from one. The mean is
    that of the experts' means, as MultiVae's MMVAE and MMVAE+ have it; its CMVAE takes one expert at random.
    A modality that is given keeps its own private latent.
    """

    def encode(self, inputs: Batch, sample: bool) -> ModelOutput:
        alone = {name: super(Mixture, self).encode({name: x}, sample) for name, x in inputs.items()}
        first, *others = alone.values()
        if not others:
            return first
        latents = torch.stack([each.z for each in alone.values()])  # (N, B, L)
        first.z = latents.mean(0)
        if sample:
            first.z = one_expert_per_item(latents, generator=None)
        if "modalities_z" in first:
            first.modalities_z |= {name: each.modalities_z[name] for name, each in alone.items()}
        return first


class SharedMixture(Mixture, SingleLatent):
    """MMVAE, the scales of whose prior may be learned."""

    def family(self, mean: Tensor, spread: Tensor) -> DiagonalGaussian | DiagonalLaplace:
        """The distribution with this mean; MultiVae calls `spread` its log-variance in either family."""
        normal = self.settings.prior_and_posterior_dist == "normal"
        return (DiagonalGaussian if normal else DiagonalLaplace)(mean, spread)

    def proposal(self, inputs: Batch) -> DiagonalGaussian | DiagonalLaplace:
        means, spreads = zip(*self.experts(inputs), strict=True)
        return self.family(torch.stack(means), torch.stack(spreads))

    def log_prior(self, latent: Tensor) -> Tensor:
        return self.family(self.peer.prior_mean, self.peer.prior_log_var).log_prob(latent)


class BatchedNexus(multivae.models.Nexus):
    """Nexus whose dropout of modalities is drawn for the whole batch at once.

    MultiVae draws it item by item, and partly from numpy's generator.
    """

    def _aggregate_during_training(self, inputs: Any, modalities_msg: dict[str, Tensor]) -> Tensor:
        """(B, message): means over the modalities that an item keeps.

        With the probability of the dropout rate these are a random subset of 1 to M - 1 modalities, otherwise
        all M.
        """
        messages = torch.stack(list(modalities_msg.values()), dim=1)  # (B, M, message)
        items, count = messages.shape[:2]
        rank = torch.rand(items, count, device=messages.device).argsort(1)
        size = torch.randint(1, count, (items, 1), device=messages.device)
        whole = torch.rand(items, 1, device=messages.device) >= self.model_config.dropout_rate
        kept = ((rank < size) | whole).to(messages.dtype).unsqueeze(-1)
        return (messages * kept).sum(1) / kept.sum(1)


class Hierarchy(AdaptedShared):
    """Nexus: a latent for each modality, and one above them all, which is the one that `infer` gives.

    An observed modality is decoded from its own latent, others from the one above.
    """

    def peer_class(self) -> Callable[..., Any]:
        return BatchedNexus

    def options(self) -> dict[str, Any]:
        sizes = dict.fromkeys(self.modalities, self.settings.latent_size)
        return {**super().options(), "modalities_specific_dim": sizes}

    def parts(self) -> dict[str, Any]:
        size, width = self.settings.latent_size, self.settings.msg_dim
        latent, message = Modality("latent", (size,)), Modality("message", (width,))
        return {
            **super().parts(),
            "top_encoders": {m: Encoder(make_encoder(latent, 2 * width), width) for m in self.modalities},
            "joint_encoder": Encoder(make_encoder(message, 2 * size), size),
            "top_decoders": {m: Decoder(make_encoder(latent, size)) for m in self.modalities},
        }


CLASSES: dict[str, type[Adapted]] = {
    "CMVAE": Mixture,
    "DMVAE": PrivateSizes,
    "JMVAE": Joint,
    "JNF": Flows,
    "MMVAE": SharedMixture,
    "MMVAEPlus": Mixture,
    "Nexus": Hierarchy,
    "TELBO": Staged,
}
"""MultiVae's class -> ours, of the models that are not simply SingleLatent."""


def make_model(kind: str, modalities: Sequence[Modality], settings: Any) -> Adapted:
    """The model of MultiVae's class `kind` under our contract."""
    return CLASSES.get(kind, SingleLatent)(modalities, settings, kind)
