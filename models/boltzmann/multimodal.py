"""Undirected Boltzmann machines of several modalities, registered: `rbm`, shallow, and `mdbm`, deep.

They have networks of their own: a layer of units for each modality where other models have encoders and decoders.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.base import Batch, Loss, Modality, MultimodalModel, Stage
from models.boltzmann.annealing import AnnealingPath
from models.boltzmann.dbm import DBM, JOINT, layer_name
from models.boltzmann.divergence import PersistentChains
from models.boltzmann.visible import Visible
from models.registry import register
from models.settings import setting

__all__ = ["MDBM", "BoltzmannSettings", "MDBMSettings", "MultimodalRBM", "RBMSettings"]


@dataclass(frozen=True)
class BoltzmannSettings:
    """What all machines have."""

    joint_size: int = setting(512, "units of the joint layer", low=1)
    sigma: float = setting(
        1.0, "standard deviation of Gaussian units, in standard deviations of the data", low=1e-3
    )
    cd_steps: int = setting(1, "steps of Gibbs sampling in each training step", low=1)
    chains: int = setting(200, "chains that joint draws come from, at most", low=1)
    chain_steps: int = setting(200, "steps of Gibbs sampling from noise to a chain's first draw", low=1)
    thinning: int = setting(20, "steps between two draws of a chain", low=1)
    inference_steps: int = setting(
        10, "updates of mean field, or samples of clamped chains, that infer what is not observed", low=1
    )


class UndirectedModel(MultimodalModel):
    """A deep Boltzmann machine behind the contract; subclasses say how it is trained.

    A joint draw is a state of one of a few chains that start from noise. Translation clamps what is observed and infers
    the rest by mean field, or by Gibbs sampling where a sample is asked for. The embedding is the joint layer's mean.

    Args:
        hidden: units in each hidden layer of every modality's pathway.
    """

    def __init__(self, modalities: Sequence[Modality], settings: BoltzmannSettings, hidden: Sequence[int]):
        super().__init__(modalities, settings)
        self.visible = nn.ModuleDict({m.name: Visible(m, settings.sigma) for m in modalities})
        units = {name: self.of(name).units for name in self.modalities}
        self.machine = DBM(units, hidden, settings.joint_size)

    def of(self, name: str) -> Visible:
        """The visible side of a modality."""
        visible = self.visible[name]
        assert isinstance(visible, Visible)
        return visible

    def clamp(self, inputs: Batch) -> dict[str, Tensor]:
        """The machine's state that holds the inputs alone."""
        return self.machine.clamp({name: self.of(name).encode(x) for name, x in self.observed(inputs).items()})

    def see(self, batch: Batch) -> None:
        """Let the statistics of all modalities know of a batch."""
        for name, x in self.observed(batch).items():
            self.of(name).see(x)

    def decode(self, state: Mapping[str, Tensor], names: Sequence[str]) -> dict[str, Tensor]:
        """Modality name -> (B, *shape): means of visible units given the layers of `state` above them."""
        above = {layer: x for layer, x in state.items() if layer in self.machine.odd}
        fields = self.machine.fields(above, [layer_name(name, 0) for name in names])
        means = self.machine.means(fields, above)
        return {name: self.of(name).decode(means[layer_name(name, 0)]) for name in names}

    def generate(self, n: int, generator: torch.Generator) -> dict[str, Tensor]:
        s = self.settings
        state = self.machine.noise(self.machine.even, min(n, s.chains), generator)
        drawn: list[dict[str, Tensor]] = []
        while sum(len(next(iter(part.values()))) for part in drawn) < n:
            state = self.machine.gibbs(state, s.thinning if drawn else s.chain_steps, generator)
            drawn.append(self.decode(state, list(self.modalities)))
        return {name: torch.cat([part[name] for part in drawn])[:n] for name in self.modalities}

    def translate(
        self,
        inputs: Batch,
        targets: Sequence[str],
        sample: bool = False,
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        clamped, steps = self.clamp(inputs), self.settings.inference_steps
        if sample:
            state = self.machine.gibbs(clamped, steps, generator, clamped)
        else:
            state = self.machine.mean_field(clamped, steps)
        return self.decode(state, targets)

    def embed(self, inputs: Batch) -> Tensor:
        return self.machine.mean_field(self.clamp(inputs), self.settings.inference_steps)[JOINT]

    def path(self) -> AnnealingPath:
        """The way to the machine from one without weights, whose visible units have the machine's biases."""
        base = {layer_name(name, 0): self.of(name).units.bias.detach() for name in self.modalities}
        return AnnealingPath(self.machine, base)


@dataclass(frozen=True)
class RBMSettings(BoltzmannSettings):
    """Sizes chosen for runs of a quarter of an hour on the embedded digits."""

    training_chains: int = setting(128, "persistent chains of training", low=1)


@register(
    "rbm",
    settings=RBMSettings,
    source="Smolensky 1986; Hinton 2002, Neural Computation 14, 1771-1800; Tieleman 2008, ICML",
    title="RBM",
)
class MultimodalRBM(UndirectedModel):
    """One restricted Boltzmann machine over the visible units of all modalities, trained by persistent contrastive divergence."""

    def __init__(self, modalities: Sequence[Modality], settings: RBMSettings):
        super().__init__(modalities, settings, ())
        self.chains = PersistentChains(self.machine, settings.training_chains)

    def loss(self, batch: Batch, progress: float) -> Loss:
        self.see(batch)
        s = self.settings
        total = self.machine.joint_loss(self.clamp(batch), self.chains, s.cd_steps, s.inference_steps)
        return Loss(total, {"divergence": total.detach()})


@dataclass(frozen=True)
class MDBMSettings(BoltzmannSettings):
    """Sizes chosen for runs of a quarter of an hour on the embedded digits."""

    first_size: int = setting(512, "units of the first hidden layer of each pathway", low=1)
    second_size: int = setting(256, "units of the second hidden layer of each pathway", low=1)
    training_chains: int = setting(128, "persistent chains of training", low=1)


@register(
    "mdbm",
    settings=MDBMSettings,
    source="Srivastava and Salakhutdinov 2014, JMLR 15, 2949-2980",
    title="MDBM",
)
class MDBM(UndirectedModel):
    """A deep Boltzmann machine with a pathway of two hidden layers for each modality and one joint layer.

    Layers are pre-trained from the bottom by CD-k, with doubled inputs where a layer will hear from both sides; then all
    weights are trained together, with mean field for the data and persistent chains for the model (Salakhutdinov and
    Hinton 2009, "Deep Boltzmann machines").
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
