"""MDAE: multimodal deep autoencoder (Ngiam et al. 2011, "Multimodal Deep Learning")."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor, nn

from models.about import About, cite
from models.base import Batch, Loss, Modality, NotDefinedError, SharedLatentModel
from models.parts.likelihoods import make_likelihood
from models.parts.networks import make_decoder, make_encoder
from models.registry import register
from models.settings import setting

__all__ = ["MDAE", "MDAESettings"]


@dataclass(frozen=True)
class MDAESettings:
    """The shared layer is as large as the latents of the comparison."""

    latent_size: int = setting(40, "units of the shared layer", low=1)


@register(
    "mdae",
    settings=MDAESettings,
    source="Ngiam et al. 2011, ICML, 689-696",
    title="MDAE",
    about=About(
        idea=(
            "This is an autoencoder with one layer that all modalities share. It is trained to "
            "reconstruct all of them from any subset, with zeros in the place of those that are "
            "missing. There is no distribution over its code, so that it translates but has no joint "
            "draws."
        ),
        formula=r"z = \sum_{m \in S} E_m(x_m), \qquad \mathcal{L} = \frac{1}{2} \sum_m |x_m - D_m(z)|^2",
        departures=(
            "Published training begins with restricted Boltzmann machines, layer by layer; here it "
            "is end to end. Of more than two modalities, all subsets are seen."
        ),
        bibtex=cite("ngiam2011mdae"),
    ),
)
class MDAE(SharedLatentModel):
    """A deterministic autoencoder with one shared layer, which reconstructs all modalities from any of them.

    z = sum_m E_m(x_m),    loss = sum_m |x_m - D_m(z)|^2 / 2

    A modality with a likelihood of its own has the negative log-likelihood in the place of the squared error.
    The encoders end in linear layers: their sum is one linear layer over the last hidden units of all
    modalities. A missing modality is zeros, in training and after it. Each of the 2^M - 1 non-empty subsets
    of modalities is what the model sees of an equal share of every batch: of two modalities these are the
    published thirds, of more all subsets that it can be asked to translate from. Published training begins
    with restricted Boltzmann machines, layer by layer; here it is end to end.
    """

    patterns: Tensor

    def __init__(self, modalities: Sequence[Modality], settings: MDAESettings):
        super().__init__(modalities, settings)
        self.encoders = nn.ModuleDict({m.name: make_encoder(m, settings.latent_size) for m in modalities})
        self.decoders = nn.ModuleDict({m.name: make_decoder(m, settings.latent_size) for m in modalities})
        # up to a constant, the log-density of standard deviation 1 is half of the squared error
        self.likelihoods = nn.ModuleDict({m.name: make_likelihood(m, "gaussian", 1.0) for m in modalities})
        # (2^M - 1, M), 1 where a modality is kept
        patterns = torch.tensor([kept for kept in product((0.0, 1.0), repeat=len(modalities)) if any(kept)])
        self.register_buffer("patterns", patterns, persistent=False)

    def loss(self, batch: Batch, progress: Tensor) -> Loss:
        kept = self.draw_patterns(len(batch[next(iter(self.modalities))]))
        seen = {
            name: batch[name] * kept[:, m].view(-1, *[1] * (batch[name].dim() - 1))
            for m, name in enumerate(self.modalities)
        }
        latent = self.infer(seen)
        terms = {
            name: -self.likelihoods[name](batch[name], self.decode(name, latent)).mean()
            for name in self.modalities
        }
        total = torch.stack(list(terms.values())).sum()
        return Loss(total, {f"reconstruction/{name}": term.detach() for name, term in terms.items()})

    def draw_patterns(self, items: int) -> Tensor:
        """(items, M): which modalities each item keeps, as ones.

        All subsets take turns from a random one on, so that none comes up more than once more than another.
        """
        count, device = len(self.patterns), self.patterns.device
        start = torch.randint(count, (1,), device=device)
        return self.patterns[(start + torch.arange(items, device=device)) % count]

    def infer(self, inputs: Batch, sample: bool = False, generator: torch.Generator | None = None) -> Tensor:
        """(B, L): the shared layer; `sample` makes no difference to a deterministic model."""
        some = next(iter(inputs.values()))
        # zeros look alike in every item: one item is enough, and the sum repeats it
        zeros = {name: some.new_zeros(1, *m.shape) for name, m in self.modalities.items()}
        parts = (self.encoders[name](inputs.get(name, zeros[name])) for name in self.modalities)
        return torch.stack(torch.broadcast_tensors(*parts)).sum(0)

    def decode(self, name: str, latent: Tensor) -> Tensor:
        return self.decoders[name](latent)

    def prior(self, n: int, generator: torch.Generator) -> Tensor:
        raise NotDefinedError("MDAE is a deterministic autoencoder and has no prior to draw from.")
