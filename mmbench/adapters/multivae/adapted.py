"""The base classes of MultiVae's models under our contract.

They have its objectives and its inference; our networks, likelihoods and random numbers. Imports MultiVae,
which takes seconds.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, fields
from typing import Any

import multivae.models
import numpy as np
import torch
from multivae.data.datasets import MultimodalBaseDataset
from pythae.models.base.base_utils import ModelOutput
from torch import Tensor, nn

from mmbench.adapters.multivae import COLLECTION
from mmbench.adapters.multivae.networks import Decoder, Encoder
from mmbench.adapters.multivae.settings import AdaptedSettings
from models.base import Batch, Loss, Modality, MultimodalModel, NotDefinedError, SharedLatentModel
from models.mmvae import DiagonalLaplace
from models.mopoe import MOST
from models.parts.distributions import DiagonalGaussian
from models.parts.gaussian import importance_weights, product_of_experts, subset_products
from models.parts.likelihoods import make_likelihood
from models.parts.networks import decode_flat, make_decoder, make_encoder
from models.registry import MODELS

__all__ = ["EPOCHS", "Adapted", "AdaptedShared", "SingleLatent"]

EPOCHS = 100
"""Epochs of a whole training, for objectives that count them: the default of MultiVae's trainer."""

SUMMED = {"MMVAE", "MMVAEPlus", "CMVAE", "CRMVAE"}
"""Models whose losses are sums over the batch; those of the others are means."""


class Adapted(MultimodalModel):
    """One of MultiVae's models; `peer` is the model itself.

    Probes get the means of the shared latent, without private ones. Losses have no terms, because MultiVae's
    are sums in some models and means in others.

    Args:
        modalities, settings: as of every model.
        kind: the name of MultiVae's class.
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
        # MultiVae's Bernoulli and categorical likelihoods read logits, which our decoders do not give
        for name, likelihood in self.likelihoods.items():
            self.peer.recon_log_probs[name] = _log_prob(likelihood)
        _freeze(self.peer)

    # --- what MultiVae's model is made of -------------------------------------------------------------------

    def peer_class(self) -> Callable[..., Any]:
        """MultiVae's class, called with its configuration and its `parts`."""
        return getattr(multivae.models, self.kind)

    def options(self) -> dict[str, Any]:
        """The fields of its configuration that our settings decide, beside those of every model."""
        common = {f.name for f in fields(AdaptedSettings)}
        found = {name: value for name, value in asdict(self.settings).items() if name not in common}
        if "warmup" in found:
            found["warmup"] = max(1, round(EPOCHS * found["warmup"]))
        if "private_size" in found:
            found["modalities_specific_dim"] = found.pop("private_size")
        return found

    def parts(self) -> dict[str, Any]:
        """Its networks, by the argument of MultiVae's class."""
        shared, modalities = self.settings.latent_size, self.modalities.values()
        size = shared + getattr(self.settings, "private_size", 0)
        return {
            "encoders": {m.name: Encoder(make_encoder(m, 2 * size), shared) for m in modalities},
            "decoders": {m.name: Decoder(make_decoder(m, size)) for m in modalities},
        }

    # --- the contract ---------------------------------------------------------------------------------------

    def loss(self, batch: Batch, progress: Tensor) -> Loss:
        passed = EPOCHS * float(progress)  # MultiVae counts epochs in Python, so no CUDA graph holds it
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
            decoded = self.peer.decode(self._drawn(n), list(self.modalities))
        return {name: x[:n] for name, x in decoded.items()}

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
        """MultiVae's latents: `z` (B, L), in some models also `modalities_z` with a (B, P) per modality."""
        any_input = next(iter(inputs.values()))
        # MoPoE encodes every modality, whichever it is given
        unseen = {
            name: any_input.new_zeros(len(any_input), *m.shape)
            for name, m in self.modalities.items()
            if name not in inputs
        }
        data = MultimodalBaseDataset({**inputs, **unseen})
        return self.peer.encode(data, list(inputs), return_mean=not sample)

    def log_weights(self, batch: Batch, samples: int, generator: torch.Generator) -> Tensor:
        title = MODELS.get(f"{COLLECTION}-{self.kind.lower()}").title
        raise NotDefinedError(
            f"{title} has more than one latent: its density over all of them is not computed."
        )

    # --- where tensors and random numbers come from ---------------------------------------------------------

    def _drawn(self, n: int) -> ModelOutput:
        """Latents of n draws from the prior; 2 where n is 1, as MultiVae drops the first axis of one draw."""
        return self.peer.generate_from_prior(max(n, 2))

    def _creating(self) -> AbstractContextManager[object]:
        """A context that puts new tensors on the model's device, because MultiVae names none for some."""
        device = next(self.parameters()).device
        self.peer.device = device
        return device if device.type != "cpu" else nullcontext()

    @contextmanager
    def _drawing(self, generator: torch.Generator | None) -> Iterator[None]:
        """A context that seeds the global generators of torch and numpy from `generator`: MultiVae draws from
        them.

        Afterwards they are as they were before.
        """
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
    """A model without any other latent.

    Here the posterior given all modalities is a product of experts, as MVAE, MVTCAE, CRMVAE and MoPoE have
    it.
    """

    def log_weights(self, batch: Batch, samples: int, generator: torch.Generator) -> Tensor:
        """log p(z) + sum_m log p(x_m given z) - log q(z), without weights of modalities."""

        def log_joint(latent: Tensor) -> Tensor:
            terms = []
            for name in self.modalities:
                mean = decode_flat(self.peer.decoders[name].network, latent)
                terms.append(self.likelihoods[name](batch[name], mean))
            return self.log_prior(latent) + torch.stack(terms).sum(0)

        return importance_weights(log_joint, self.proposal(batch), samples, generator)

    def proposal(self, inputs: Batch) -> DiagonalGaussian | DiagonalLaplace:
        """The posterior given all modalities: parameters (C, B, L) of C equally probable components.

        Those of MoPoE are the products of all subsets, up to as many modalities as ours takes all of.
        """
        if self.kind == "MoPoE" and len(inputs) <= MOST:
            return subset_products(self.experts(inputs), prior_expert=True)
        product = product_of_experts(self.experts(inputs), prior_expert=self.kind in {"MVAE", "MoPoE"})
        return DiagonalGaussian(product.mean.unsqueeze(0), product.logvar.unsqueeze(0))

    def experts(self, inputs: Batch) -> list[DiagonalGaussian]:
        """The posterior given each modality alone, (B, L)."""
        found = [self.peer.encoders[name](x) for name, x in inputs.items()]
        return [DiagonalGaussian(each.embedding, each.log_covariance) for each in found]

    def log_prior(self, latent: Tensor) -> Tensor:
        """The prior's log-density of (*leading, L), in nats."""
        return DiagonalGaussian(torch.zeros_like(latent), torch.zeros_like(latent)).log_prob(latent)


def _log_prob(likelihood: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    """The likelihood as MultiVae calls it, with its arguments the other way round.

    It is summed over the dimensions of an item already; MultiVae would sum over them itself otherwise.
    """
    return lambda mean, x: likelihood(x, mean)


def _freeze(peer: nn.Module) -> None:
    """Turn the parameters that MultiVae does not train into buffers."""
    for module in peer.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            if not parameter.requires_grad:
                delattr(module, name)
                module.register_buffer(name, parameter.data)
