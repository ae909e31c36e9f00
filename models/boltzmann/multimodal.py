"""Undirected Boltzmann machines of several modalities, registered: `rbm`, shallow, and `mdbm`, deep."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.about import About, cite
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
    about=About(
        idea=(
            "One restricted Boltzmann machine has the units of all modalities as its visible layer. "
            "Data lower the free energy where they are, and persistent chains raise it where the "
            "model thinks that data are. Any modalities can be clamped while the chain finds the "
            "others."
        ),
        formula=(
            r"E(v, h) = -\sum_m \left( a_m^T v_m + v_m^T W_m h \right) - b^T h \quad \mathrm{(binary\ "
            r"units)}, \qquad \mathcal{L} = F(v_{\mathrm{data}}) - F(v_{\mathrm{chain}})"
        ),
        departures=(
            "Images of one channel are binary units, colour images Gaussian ones of standardised "
            "pixels. Joint draws come from a few chains that start from noise."
        ),
        bibtex=cite("smolensky1986harmony", "hinton2002cd", "tieleman2008pcd"),
    ),
)
class MultimodalRBM(UndirectedModel):
    """One restricted Boltzmann machine over the visible units of all modalities, trained by PCD."""

    def __init__(self, modalities: Sequence[Modality], settings: RBMSettings):
        super().__init__(modalities, settings, ())
        self.chains = PersistentChains(self.machine, settings.training_chains)

    def loss(self, batch: Batch, progress: Tensor) -> Loss:
        self.see(batch)
        s = self.settings
        total = self.machine.joint_loss(self.clamp(batch), self.chains, s.cd_steps, s.inference_steps)
        return Loss(total, {"divergence": total.detach()})


@dataclass(frozen=True)
class MDBMSettings(PathwaySettings):
    """A deep machine's, and the chains of its joint training."""

    training_chains: int = setting(128, "persistent chains of the joint training", low=1)
    joint_share: float = setting(
        0.0,
        "share of the steps in which all layers are trained together, after pre-training",
        low=0,
        high=0.9,
    )


@register(
    "mdbm",
    settings=MDBMSettings,
    source="Srivastava and Salakhutdinov 2014, JMLR 15, 2949-2980",
    title="MDBM",
    about=About(
        idea=(
            "Every modality has a pathway of two hidden layers, and one joint layer stands above all "
            "of them; all connections are undirected. Layers are pre-trained one after the other "
            "from the bottom. The joint layer also learns to predict the modalities from each other."
        ),
        formula=(
            r"p(v_1, .., v_M) \propto \sum_{h} \exp\left( \sum_m \left( v_m^T W_m^1 h_m^1 + h_m^{1T} "
            r"W_m^2 h_m^2 + h_m^{2T} W_m^3 h^3 \right) \right) \quad \mathrm{(biases\ left\ out)}"
        ),
        departures=(
            "Training of all layers together, which is published, is open to `joint_share` and off "
            "by default: with the budgets here it undid what pre-training had learned. The "
            "prediction of modalities from each other is an addition."
        ),
        bibtex=cite("srivastava2014mdbm", "salakhutdinov2009dbm"),
    ),
)
class MDBM(UndirectedModel):
    """A deep Boltzmann machine with a pathway of two hidden layers for each modality and one joint layer.

    Layers are pre-trained from the bottom by CD-k, with doubled inputs where a layer will hear from both
    sides. What the modalities share is little beside what they do not, so the joint layer also learns to
    predict them from each other. With `joint_share` all hidden layers are then trained together, with mean
    field for the data and persistent chains for the model (Salakhutdinov and Hinton 2009, "Deep Boltzmann
    machines"). By default they are not: chains from noise find states that pre-training never saw, and what
    is unlearned then a training of some thousand steps does not regain.
    """

    def __init__(self, modalities: Sequence[Modality], settings: MDBMSettings):
        super().__init__(modalities, settings, (settings.first_size, settings.second_size))
        self.chains = PersistentChains(self.machine, settings.training_chains)

    def stages(self) -> tuple[Stage, ...]:
        first, second, third = (tuple(self.machine.level_parameters(depth)) for depth in range(3))
        joint = self.settings.joint_share
        greedy = (
            Stage("layer 1", 0.3 * (1 - joint), self.loss, first),
            Stage("layer 2", 0.2 * (1 - joint), self.second_loss, second),
            Stage("joint layer", 0.5 * (1 - joint), self.third_loss, third),
        )
        if joint == 0:
            return greedy
        trained = tuple(dict.fromkeys(second + third))
        return (*greedy, Stage("all layers", joint, self.joint_loss, trained, self.begin_chains))

    def loss(self, batch: Batch, progress: Tensor) -> Loss:
        """Of the first layers; the statistics of the data are taken meanwhile."""
        self.see(batch)
        total = self.machine.layer_loss(self.clamp(batch), 0, self.settings.cd_steps)
        return Loss(total, {"divergence": total.detach()})

    def second_loss(self, batch: Batch, progress: Tensor) -> Loss:
        """Of the second layers."""
        total = self.machine.layer_loss(self.clamp(batch), 1, self.settings.cd_steps)
        return Loss(total, {"divergence": total.detach()})

    def third_loss(self, batch: Batch, progress: Tensor) -> Loss:
        """Of the joint layer, and how well it predicts modalities from each other."""
        visible = self.clamp(batch)
        return self.with_prediction(self.machine.layer_loss(visible, 2, self.settings.cd_steps), visible)

    def joint_loss(self, batch: Batch, progress: Tensor) -> Loss:
        """Of the whole machine, and the predictions again."""
        s, visible = self.settings, self.clamp(batch)
        divergence = self.machine.joint_loss(visible, self.chains, s.cd_steps, s.inference_steps)
        return self.with_prediction(divergence, visible)

    def with_prediction(self, divergence: Tensor, visible: State) -> Loss:
        """A divergence with the loss of predictions between modalities."""
        prediction = self.machine.prediction_loss(visible, self.settings.prediction_steps)
        terms = {"divergence": divergence.detach(), "prediction": prediction.detach()}
        return Loss(divergence + prediction, terms)

    def begin_chains(self, batches: Callable[[int], Batch]) -> None:
        """Take the chains of training from noise, no batch, to the machine that pre-training made."""
        generator = torch.Generator(next(self.parameters()).device).manual_seed(0)
        noise = self.machine.noise(self.machine.even, self.settings.training_chains, generator)
        self.chains.keep(self.machine.gibbs(noise, self.settings.chain_steps, generator))
