"""Encoders and decoders that somebody brings for modalities of theirs, in the place of those of the suite.

A module of a data set, or a file given with --model-file, registers a pair under a name:

    from models.parts.own_networks import register_networks

    def encode(modality, outputs):
        return nn.Sequential(nn.LayerNorm(modality.shape), nn.Linear(modality.shape[0], outputs))

    def decode(modality, latent):
        return nn.Sequential(nn.Linear(latent, modality.shape[0]), nn.Sigmoid())

    register_networks("genes", encode, decode)

`Modality(..., networks="genes")` of a data set asks for it; of a data file, the modality that is called
`genes` does. Every model takes it: models ask `models.parts.networks` for networks and see no difference.
"""

import hashlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from models.errors import InputError
from models.registry import Registry, SourceFile

if TYPE_CHECKING:
    from torch import nn

    from models.base import Modality

__all__ = ["NETWORKS", "Networks", "register_networks"]

Make = Callable[["Modality", int], "nn.Module"]


@dataclass(frozen=True)
class Networks:
    """A registered pair.

    Attributes:
        name: of the pair.
        encoder: called as `encoder(modality, outputs)`: a network from (B, *shape) to (B, outputs).
        decoder: called as `decoder(modality, latent)`: a network from (B, latent) to means (B, *shape) in
            [0, 1], which add up to 1 over the symbols of texts and of counts of symbols.
        file: the file that registered it, None for a pair of an installed package.
    """

    name: str
    encoder: Make
    decoder: Make
    file: SourceFile | None = None

    @property
    def module(self) -> str:
        """The module that its encoder is of."""
        return getattr(self.encoder, "__module__", "")

    @property
    def code(self) -> str:
        """16 hex digits that identify the text of the modules of both, for the hashes of runs."""
        if self.file:
            return self.file.code
        modules = dict.fromkeys(inspect.getmodule(make) or make for make in (self.encoder, self.decoder))
        text = "".join(inspect.getsource(module) for module in modules)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def __reduce__(self) -> str | tuple[Any, ...]:
        """Another process has no module of the file: it gets the file, which brings the pair along."""
        return (_of_file, (self.name, self.file)) if self.file else super().__reduce__()


NETWORKS: Registry[Networks] = Registry("pair of networks", package="models", group="mmbench.networks")


def register_networks(name: str, encoder: Make, decoder: Make) -> None:
    """Register a pair under `name`; see `Networks` for the arguments.

    Raises:
        InputError: for a name that is taken, and for arguments that cannot be called.
    """
    if not (callable(encoder) and callable(decoder)):
        raise InputError(
            f"The networks {name!r} are {encoder!r} and {decoder!r}: expected two functions, "
            "encoder(modality, outputs) and decoder(modality, latent), that make a torch.nn.Module each."
        )
    NETWORKS.add(Networks(name, encoder, decoder))


def _of_file(name: str, file: Any) -> Networks:
    if name not in NETWORKS:
        file.execute()
    return NETWORKS.get(name)
