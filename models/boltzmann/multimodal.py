"""Undirected Boltzmann machines of several modalities, registered: `rbm`, shallow, and `mdbm`, deep."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.base import Batch, Loss, Modality, Stage
from models.boltzmann.annealing import AnnealingPath
from models.boltzmann.dbm import DBM, layer_name
from models.boltzmann.divergence import PersistentChains
from models.boltzmann.machine import State
from models.boltzmann.model import BoltzmannModel, BoltzmannSettings, PathwaySettings
from models.registry import register
from models.settings import setting

__all__ = ["MDBM", "MDBMSettings", "MultimodalRBM", "RBMSettings"]


class UndirectedModel(BoltzmannModel):
    """A deep Boltzmann machine over all modalities, the parts that do not depend on its training.

    Args:
        hidden: units in each hidden layer of every modality's pathway.
    """

    def __init__(self, modalities: Sequence[Modality], settings: BoltzmannSettings, hidden: Sequence[int]):
        super().__init__(modalities, settings)
        units = {name: self.of(name).units for name in self.modalities}
        self.dbm = DBM(units, hidden, settings.joint_size)

    @property
    def machine(self) -> DBM:
        return self.dbm

    def clamp(self, inputs: Batch) -> State:
        return self.machine.clamp(self.encode(inputs))

    def decode(self, state: Mapping[str, Tensor], names: Sequence[str]) -> dict[str, Tensor]:
        above = {layer: x for layer, x in state.items() if layer in self.machine.odd}
        fields = self.machine.fields(above, [layer_name(name, 0) for name in names])
        means = self.machine.means(fields, above)
        return {name: self.of(name).decode(means[layer_name(name, 0)]) for name in names}

    def log_density_bound(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """By mean field: exact for the shallow machine."""
        states, volume = self.draw(batch, generator)
        steps = self.settings.inference_steps
        return self.machine.log_density_bound(self.machine.clamp(states), steps) + volume

    def states(self, batch: Batch, generator: torch.Generator) -> State:
        """What is visible, and hidden layers sampled given their neighbours' means."""
        visible = self.machine.clamp(self.draw(batch, generator)[0])
        means = self.machine.mean_field(visible, self.settings.inference_steps)
        hidden = [layer for layer in self.machine.even if layer not in visible]
        return visible | self.machine.sample(self.machine.fields(means, hidden), means, generator)

    def path(self) -> AnnealingPath:
        """From visible units with the machine's biases."""
        base = {layer_name(name, 0): self.of(name).units.bias.detach() for name in self.modalities}
        return AnnealingPath(self.machine, base)


@dataclass(frozen=True)
class RBMSettings(BoltzmannSettings):
    """A shallow machine's, and the chains of its training."""

    training_chains: int = setting(128, "persistent chains of training", low=1)


@register(
    "rbm",
    settings=RBMSettings,
    source="Smolensky 1986; Hinton 2002, Neural Computation 14, 1771-1800; Tieleman 2008, ICML",
    title="RBM",
)
class MultimodalRBM(UndirectedModel):
    """One restricted Boltzmann machine over the visible units of all modalities, trained by PCD."""

    def __init__(self, modalities: Sequence[Modality], settings: RBMSettings):
        super().__init__(modalities, settings, ())
        self.chains = PersistentChains(self.machine, settings.training_chains)

    def loss(self, batch: Batch, progress: float) -> Loss:
        self.see(batch)
        s = self.settings
        total = self.machine.joint_loss(self.clamp(batch), self.chains, s.cd_steps, s.inference_steps)
        return Loss(total, {"divergence": total.detach()})


@dataclass(frozen=True)
class MDBMSettings(PathwaySettings):
    """A deep machine's, and the chains of its joint training."""

    training_chains: int = setting(128, "persistent chains of training", low=1)


@register(
    "mdbm",
    settings=MDBMSettings,
    source="Srivastava and Salakhutdinov 2014, JMLR 15, 2949-2980",
    title="MDBM",
)
class MDBM(UndirectedModel):
    """A deep Boltzmann machine with a pathway of two hidden layers for each modality and one joint layer.

    Layers are pre-trained from the bottom by CD-k, with doubled inputs where a layer will hear from both
    sides; then all weights are trained together, with mean field for the data and persistent chains for the
    model (Salakhutdinov and Hinton 2009, "Deep Boltzmann machines").
    """

    def __init__(self, modalities: Sequence[Modality], settings: MDBMSettings):
        super().__init__(modalities, settings, (settings.first_size, settings.second_size))
        self.chains = PersistentChains(self.machine, settings.training_chains)

    def stages(self) -> tuple[Stage, ...]:
        losses = (self.loss, self.second_loss, self.third_loss)
        greedy = [
            Stage(f"layer {depth + 1}", 0.2, loss, tuple(self.machine.level_parameters(depth)))
            for depth, loss in enumerate(losses)
        ]
        return (*greedy, Stage("joint", 0.4, self.joint_loss, tuple(self.machine.parameters())))

    def loss(self, batch: Batch, progress: float) -> Loss:
        """Of the first layers; the statistics of the data are taken meanwhile."""
        self.see(batch)
        return self.layer_loss(batch, 0)

    def second_loss(self, batch: Batch, progress: float) -> Loss:
        """Of the second layers."""
        return self.layer_loss(batch, 1)

    def third_loss(self, batch: Batch, progress: float) -> Loss:
        """Of the joint layer."""
        return self.layer_loss(batch, 2)

    def layer_loss(self, batch: Batch, depth: int) -> Loss:
        """Pre-training of the layers at `depth` with those above them."""
        total = self.machine.layer_loss(self.clamp(batch), depth, self.settings.cd_steps)
        return Loss(total, {"divergence": total.detach()})

    def joint_loss(self, batch: Batch, progress: float) -> Loss:
        """Of the whole machine."""
        s = self.settings
        total = self.machine.joint_loss(self.clamp(batch), self.chains, s.cd_steps, s.inference_steps)
        return Loss(total, {"divergence": total.detach()})
