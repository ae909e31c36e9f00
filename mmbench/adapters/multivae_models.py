"""MultiVae's models behind our contract: its objectives and its inference, our networks, likelihoods and random numbers.

Imports MultiVae, which takes seconds: everybody else imports `mmbench.adapters.multivae`.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, fields
from typing import Any

import multivae.models
import numpy as np
import torch
from multivae.data.datasets import MultimodalBaseDataset
from multivae.models.nn.base_architectures import BaseJointEncoder, BaseMultilatentEncoder
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn.base_architectures import BaseDecoder
from torch import Tensor, nn

from mmbench.adapters.multivae import DASHED, ENTRIES, AdaptedSettings
from models.base import Batch, Loss, Modality, MultimodalModel, NotDefinedError, SharedLatentModel, Stage
from models.mmvae import DiagonalLaplace
from models.parts.gaussian import DiagonalGaussian, importance_weights, product_of_experts
from models.parts.likelihoods import make_likelihood
from models.parts.networks import HIDDEN, Float32, decode_flat, make_decoder, make_encoder

__all__ = ["Adapted", "AdaptedShared", "make_model"]

EPOCHS = 100
"""In a whole training, for objectives that count them: the default of MultiVae's trainer."""

SUMMED = {"MMVAE", "MMVAEPlus", "CMVAE", "CRMVAE"}
"""Their losses are sums over the batch, those of the others means."""

LARGEST = 30.0
"""Of a log-variance, and minus the smallest: MultiVae multiplies variances and precisions, which overflow beyond (exp(30) is 1e13)."""


class Encoder(BaseMultilatentEncoder):
    """(B, *shape) to means and log-variances of a shared latent and of a private one, which most models give 0 dimensions."""

    def __init__(self, network: nn.Module, shared: int):
        super().__init__()
        self.network, self.shared = network, shared

    def forward(self, x: Tensor) -> ModelOutput:
        mean, logvar = _halves(self.network(x))
        shared, private = slice(self.shared), slice(self.shared, None)
        return ModelOutput(
            embedding=mean[:, shared],
            log_covariance=logvar[:, shared],
            style_embedding=mean[:, private],
            style_log_covariance=logvar[:, private],
        )


class Decoder(BaseDecoder):
    """(B, L) to means (B, *shape)."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, z: Tensor) -> ModelOutput:
        return ModelOutput(reconstruction=self.network(z))


class JointEncoder(BaseJointEncoder):
    """All modalities to mean and log-variance, both (B, L): the hidden units of one encoder each, read by one linear layer."""

    def __init__(self, modalities: Sequence[Modality], latent: int):
        super().__init__()
        self.trunks = nn.ModuleDict({m.name: make_encoder(m, HIDDEN) for m in modalities})
        self.head = nn.Sequential(nn.ReLU(), nn.Linear(len(modalities) * HIDDEN, 2 * latent), Float32())

    def forward(self, x: Batch) -> ModelOutput:
        mean, logvar = _halves(
            self.head(torch.cat([trunk(x[name]) for name, trunk in self.trunks.items()], dim=-1))
        )
        return ModelOutput(embedding=mean, log_covariance=logvar)


class Adapted(MultimodalModel):
    """One of MultiVae's models; `peer` is the model itself.

    Args:
        modalities, settings: as of every model.
        kind: the name of MultiVae's class.

    Probes get the means of the shared latent, without private ones. Losses have no terms: MultiVae's are sums in some models and means in others.
    """

    def __init__(self, modalities: Sequence[Modality], settings: Any, kind: str):
        super().__init__(modalities, settings)
        self.kind = kind
        self.likelihoods = nn.ModuleDict(
            {m.name: make_likelihood(m, settings.likelihood, settings.likelihood_scale) for m in modalities}
        )
        equal = settings.modality_weights == "equal"
        config = getattr(multivae.models, f"{kind}Config")(
            n_modalities=len(modalities),
            latent_dim=settings.latent_size,
            input_dims={m.name: m.shape for m in modalities},
            uses_likelihood_rescaling=True,
            rescale_factors={m.name: 1.0 if equal else m.weight for m in modalities},
            **self.options(),
        )
        self.peer: Any = self.peer_class()(config, **self.parts())
        for (
            name,
            likelihood,
        ) in (
            self.likelihoods.items()
        ):  # MultiVae's Bernoulli and categorical ones read logits, of which our decoders have none
            self.peer.recon_log_probs[name] = _log_prob(likelihood)
        _freeze(self.peer)

    # --- what MultiVae's model is made of ------------------------------------------------------------------------------

    def peer_class(self) -> Callable[..., Any]:
        return getattr(multivae.models, self.kind)

    def options(self) -> dict[str, Any]:
        """The fields of its configuration that the settings change."""
        common = {f.name for f in fields(AdaptedSettings)}
        found = {name: value for name, value in asdict(self.settings).items() if name not in common}
        if "warmup" in found:
            found["warmup"] = max(1, round(EPOCHS * found["warmup"]))
        if "private_size" in found:
            found["modalities_specific_dim"] = found.pop("private_size")
        return found

    def parts(self) -> dict[str, Any]:
        """Its networks, by the name of its argument."""
        shared, modalities = self.settings.latent_size, self.modalities.values()
        size = shared + getattr(self.settings, "private_size", 0)
        return {
            "encoders": {m.name: Encoder(make_encoder(m, 2 * size), shared) for m in modalities},
            "decoders": {m.name: Decoder(make_decoder(m, size)) for m in modalities},
        }

    # --- the contract --------------------------------------------------------------------------------------------------

    def loss(self, batch: Batch, progress: float) -> Loss:
        passed = EPOCHS * progress
        epoch = min(int(passed), EPOCHS - 1)
        return self.peer_loss(batch, epoch + 1, passed - epoch)

    def peer_loss(self, batch: Batch, epoch: int, batch_ratio: float = 0.0) -> Loss:
        """MultiVae's loss in an epoch, counted from 1, of which `batch_ratio` has passed."""
        data = MultimodalBaseDataset({name: batch[name] for name in self.modalities})
        with self._creating():
            total = self.peer(data, epoch=epoch, batch_ratio=batch_ratio).loss
        return Loss(total / len(data) if self.kind in SUMMED else total, {})

    def generate(self, n: int, generator: torch.Generator) -> dict[str, Tensor]:
        with self._drawing(generator):
            return {
                name: x[:n] for name, x in self.peer.decode(self._drawn(n), list(self.modalities)).items()
            }

    def translate(
        self,
        inputs: Batch,
        targets: Sequence[str],
        sample: bool = False,
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        with self._drawing(generator):
            return dict(self.peer.decode(self.encode(inputs, sample), list(targets)))

    def embed(self, inputs: Batch) -> Tensor:
        with self._drawing(None):
            return self.encode(inputs, sample=False).z

    def encode(self, inputs: Batch, sample: bool) -> ModelOutput:
        """MultiVae's latents: `z` (B, L), in some models `modalities_z` with (B, private size) for each modality."""
        any_input = next(iter(inputs.values()))
        # MoPoE encodes every modality, whichever it is given
        unseen = {
            name: any_input.new_zeros(len(any_input), *m.shape)
            for name, m in self.modalities.items()
            if name not in inputs
        }
        return self.peer.encode(
            MultimodalBaseDataset({**inputs, **unseen}), list(inputs), return_mean=not sample
        )

    def log_weights(self, batch: Batch, samples: int, generator: torch.Generator) -> Tensor:
        title = ENTRIES[f"{DASHED}{self.kind.lower()}"].title
        raise NotDefinedError(
            f"{title} has more than one latent: its density over all of them is not computed."
        )

    # --- where tensors and random numbers come from --------------------------------------------------------------------

    def _drawn(self, n: int) -> ModelOutput:
        """Latents of at least n draws from the prior: MultiVae leaves out the first dimension where it is asked for one."""
        return self.peer.generate_from_prior(max(n, 2))

    def _creating(self) -> AbstractContextManager[object]:
        """MultiVae creates some tensors on the CPU, whose device the others are to share."""
        device = next(self.parameters()).device
        self.peer.device = device
        return device if device.type != "cpu" else nullcontext()

    @contextmanager
    def _drawing(self, generator: torch.Generator | None) -> Iterator[None]:
        """MultiVae draws from the global generators of torch and numpy: seeded from `generator` meanwhile, and as they were thereafter."""
        device = next(self.parameters()).device
        seed = int(torch.randint(2**32, (), generator=generator, device=device)) if generator else 0
        before = np.random.get_state()
        with torch.random.fork_rng([device] if device.type == "cuda" else []), self._creating():
            torch.manual_seed(seed)
            np.random.seed(seed)
            try:
                yield
            finally:
                np.random.set_state(before)


class AdaptedShared(Adapted, SharedLatentModel):
    """One latent for all modalities."""

    def infer(self, inputs: Batch, sample: bool = False, generator: torch.Generator | None = None) -> Tensor:
        with self._drawing(generator):
            return self.encode(inputs, sample).z

    def decode(self, name: str, latent: Tensor) -> Tensor:
        return self.peer.decode(ModelOutput(z=latent, one_latent_space=True), [name])[name]

    def prior(self, n: int, generator: torch.Generator) -> Tensor:
        with self._drawing(generator):
            return self._drawn(n).z[:n]


class SingleLatent(AdaptedShared):
    """That latent is the only one. The posterior given all modalities is a product of experts here: MVAE, MVTCAE, CRMVAE and MoPoE."""

    def log_weights(self, batch: Batch, samples: int, generator: torch.Generator) -> Tensor:
        """log p(z) + sum_m log p(x_m given z) - log q(z), without weights of modalities."""

        def log_joint(latent: Tensor) -> Tensor:
            means = {name: decode_flat(self.peer.decoders[name].network, latent) for name in self.modalities}
            return self.log_prior(latent) + torch.stack(
                [self.likelihoods[name](batch[name], mean) for name, mean in means.items()]
            ).sum(0)

        return importance_weights(log_joint, self.proposal(batch), samples, generator)

    def proposal(self, inputs: Batch) -> DiagonalGaussian | DiagonalLaplace:
        """Parameters (C, B, L) of C equally probable components of the posterior given all modalities; MoPoE's is that of its full set."""
        product = product_of_experts(self.experts(inputs), prior_expert=self.kind in {"MVAE", "MoPoE"})
        return DiagonalGaussian(product.mean.unsqueeze(0), product.logvar.unsqueeze(0))

    def experts(self, inputs: Batch) -> list[DiagonalGaussian]:
        """The posterior given each modality alone, (B, L)."""
        found = [self.peer.encoders[name](x) for name, x in inputs.items()]
        return [DiagonalGaussian(each.embedding, each.log_covariance) for each in found]

    def log_prior(self, latent: Tensor) -> Tensor:
        """The prior's log-density of (*leading, L), in nats."""
        return DiagonalGaussian(torch.zeros_like(latent), torch.zeros_like(latent)).log_prob(latent)


class Joint(SingleLatent):
    """With an encoder of all modalities together."""

    def parts(self) -> dict[str, Any]:
        return {
            **super().parts(),
            "joint_encoder": JointEncoder(list(self.modalities.values()), self.settings.latent_size),
        }

    def proposal(self, inputs: Batch) -> DiagonalGaussian:
        found = self.peer.joint_encoder(inputs)
        return DiagonalGaussian(found.embedding.unsqueeze(0), found.log_covariance.unsqueeze(0))


class Staged(Joint):
    """First joint encoder and decoders, then, these frozen, the encoders of single modalities, and their flows where they have some."""

    def stages(self) -> tuple[Stage, ...]:
        joint = [*self.peer.joint_encoder.parameters(), *self.peer.decoders.parameters()]
        single = [
            parameter
            for parameter in self.peer.parameters()
            if all(parameter is not other for other in joint)
        ]
        share = self.settings.warmup
        return (
            Stage("joint", share, self.loss, tuple(joint)),
            Stage("unimodal", 1 - share, self.unimodal_loss, tuple(single)),
        )

    def loss(self, batch: Batch, progress: float) -> Loss:
        self.peer.requires_grad_(True)  # MultiVae freezes the joint part in the second stage
        return self.peer_loss(batch, epoch=1)

    def unimodal_loss(self, batch: Batch, progress: float) -> Loss:
        """The objective of the second stage."""
        return self.peer_loss(batch, epoch=EPOCHS + 1)


class Flows(Staged):
    """JNF, its flows MultiVae's default: masked autoregressive flows."""

    def __init__(self, modalities: Sequence[Modality], settings: Any, kind: str):
        super().__init__(modalities, settings, kind)
        for flow in self.peer.flows.values():
            for made in flow.net:
                made.net.append(Float32())  # log-variances, as those of our networks


class PrivateSizes(Adapted):
    """DMVAE, whose private latents may differ in size."""

    def options(self) -> dict[str, Any]:
        found = super().options()
        return {
            **found,
            "modalities_specific_dim": dict.fromkeys(self.modalities, found["modalities_specific_dim"]),
        }


class Mixture(Adapted):
    """MMVAE+ and CMVAE (MMVAE below): given several modalities, the mixture of the posteriors given each.

    Every item is drawn from one of them at random, where MultiVae draws the whole batch from one. The mean is that of the experts' means, as
    MultiVae's MMVAE and MMVAE+ have it; its CMVAE takes one expert at random. Private latents of modalities that are given are their own.
    """

    def encode(self, inputs: Batch, sample: bool) -> ModelOutput:
        alone = {name: super(Mixture, self).encode({name: x}, sample) for name, x in inputs.items()}
        first, *others = alone.values()
        if not others:
            return first
        latents = torch.stack([each.z for each in alone.values()])  # (N, B, L)
        first.z = latents.mean(0)
        if sample:
            count, items = latents.shape[:2]
            which = torch.randint(count, (items,), device=latents.device)
            first.z = latents[which, torch.arange(items, device=which.device)]
        if "modalities_z" in first:
            first.modalities_z |= {name: each.modalities_z[name] for name, each in alone.items()}
        return first


class SharedMixture(Mixture, SingleLatent):
    """MMVAE, the scales of whose prior may be learned."""

    def family(self, mean: Tensor, spread: Tensor) -> DiagonalGaussian | DiagonalLaplace:
        """The distribution of which MultiVae calls `spread` the log-variance."""
        return (DiagonalGaussian if self.settings.prior_and_posterior_dist == "normal" else DiagonalLaplace)(
            mean, spread
        )

    def proposal(self, inputs: Batch) -> DiagonalGaussian | DiagonalLaplace:
        experts = self.experts(inputs)
        return self.family(
            torch.stack([each.mean for each in experts]), torch.stack([each.logvar for each in experts])
        )

    def log_prior(self, latent: Tensor) -> Tensor:
        return self.family(self.peer.prior_mean, self.peer.prior_log_var).log_prob(latent)


class BatchedNexus(multivae.models.Nexus):
    """Nexus, whose dropout of modalities is drawn for the batch at once: MultiVae draws it item by item, and partly from numpy's generator."""

    def _aggregate_during_training(self, inputs: Any, modalities_msg: dict[str, Tensor]) -> Tensor:
        """(B, message) means over the modalities that are kept: at the dropout rate a random subset, 1 to M - 1 of them, otherwise all M."""
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
        return {
            **super().options(),
            "modalities_specific_dim": dict.fromkeys(self.modalities, self.settings.latent_size),
        }

    def parts(self) -> dict[str, Any]:
        size, message = (
            Modality("latent", (self.settings.latent_size,)),
            Modality("message", (self.settings.msg_dim,)),
        )
        return {
            **super().parts(),
            "top_encoders": {
                name: Encoder(make_encoder(size, 2 * self.settings.msg_dim), self.settings.msg_dim)
                for name in self.modalities
            },
            "joint_encoder": Encoder(
                make_encoder(message, 2 * self.settings.latent_size), self.settings.latent_size
            ),
            "top_decoders": {
                name: Decoder(make_encoder(size, self.settings.latent_size)) for name in self.modalities
            },
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
"""Of those that are not simply SingleLatent."""


def make_model(kind: str, modalities: Sequence[Modality], settings: Any) -> Adapted:
    """MultiVae's model `kind` (one of those in `mmbench.adapters.multivae`) under our contract."""
    return CLASSES.get(kind, SingleLatent)(modalities, settings, kind)


def _halves(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and log-variance, both (B, L), of (B, 2 L)."""
    mean, logvar = x.chunk(2, dim=-1)
    return mean, logvar.clamp(-LARGEST, LARGEST)


def _log_prob(likelihood: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    """Summed over the dimensions of an item, which MultiVae sums up itself otherwise; its arguments are the other way round."""
    return lambda mean, x: likelihood(x, mean)


def _freeze(peer: nn.Module) -> None:
    """Make buffers of the parameters that MultiVae does not train."""
    for module in peer.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            if not parameter.requires_grad:
                delattr(module, name)
                module.register_buffer(name, parameter.data)
