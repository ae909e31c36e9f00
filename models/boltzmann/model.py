"""What the registered Boltzmann machines share: visible units by modality, and their side of the contract.

They have networks of their own: a layer of units for each modality where other models have encoders and
decoders.
"""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.base import Batch, Modality, MultimodalModel
from models.boltzmann.annealing import AnnealingPath
from models.boltzmann.dbm import DBM, JOINT
from models.boltzmann.machine import State
from models.boltzmann.visible import Visible
from models.settings import setting

__all__ = ["BoltzmannModel", "BoltzmannSettings", "PathwaySettings"]


@dataclass(frozen=True)
class BoltzmannSettings:
    """What all machines have; sizes chosen for runs of a quarter of an hour on the embedded digits."""

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


@dataclass(frozen=True)
class PathwaySettings(BoltzmannSettings):
    """What deep machines have besides."""

    first_size: int = setting(512, "units of the first hidden layer of each pathway", low=1)
    second_size: int = setting(256, "units of the second hidden layer of each pathway", low=1)
    prediction_steps: int = setting(
        2, "steps of mean field in which the joint layer learns to predict one modality from another", low=1
    )


class BoltzmannModel(MultimodalModel):
    """A machine behind the contract; subclasses say what is clamped, how it is decoded and how it is trained.

    A joint draw comes from one of a few chains between the last hidden layers and the joint one, which start
    from noise. Translation clamps what is observed and infers the rest by mean field, or by Gibbs sampling
    where a sample is asked for. The embedding is the joint layer's mean.
    """

    common_space = True

    def __init__(self, modalities: Sequence[Modality], settings: BoltzmannSettings):
        super().__init__(modalities, settings)
        self.visible = nn.ModuleDict({m.name: Visible(m, settings.sigma) for m in modalities})

    @property
    @abstractmethod
    def machine(self) -> DBM:
        """The undirected machine that chains run in."""

    @abstractmethod
    def clamp(self, inputs: Batch) -> State:
        """What the inputs fix in the machine."""

    @abstractmethod
    def decode(self, state: Mapping[str, Tensor], names: Sequence[str]) -> dict[str, Tensor]:
        """Modality name -> (B, *shape): means of what a state of the machine says of its modalities."""

    @abstractmethod
    def log_density_bound(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """(B,), in nats: a lower bound of log p(x_1, .., x_M) + log Z, with the Z at the end of `path`."""

    @abstractmethod
    def states(self, batch: Batch, generator: torch.Generator) -> State:
        """Of the machine's even side, as complete items make them probable."""

    @abstractmethod
    def path(self) -> AnnealingPath:
        """The way to the undirected machine from one without weights, for `metrics.partition`."""

    def of(self, name: str) -> Visible:
        """The visible side of a modality."""
        visible = self.visible[name]
        assert isinstance(visible, Visible)
        return visible

    def encode(self, inputs: Batch) -> dict[str, Tensor]:
        """Modality name -> states (B, size) of visible units."""
        return {name: self.of(name).encode(x) for name, x in self.observed(inputs).items()}

    def see(self, batch: Batch) -> None:
        """Let the statistics of all modalities know of a batch."""
        for name, x in self.observed(batch).items():
            self.of(name).see(x)

    def draw(self, batch: Batch, generator: torch.Generator) -> tuple[dict[str, Tensor], Tensor]:
        """States that have densities, and what is added to their log densities to have those of the items."""
        states = {name: self.of(name).draw(x, generator) for name, x in self.observed(batch).items()}
        return states, torch.stack([self.of(name).log_volume() for name in states]).sum()

    def generate(self, n: int, generator: torch.Generator) -> dict[str, Tensor]:
        return next(self.generate_batches(n, n, generator))

    def generate_batches(self, n: int, size: int, generator: torch.Generator) -> Iterator[dict[str, Tensor]]:
        s, machine = self.settings, self.machine
        last, chains = machine.level(machine.depth), min(size, s.chains)
        start, steps = machine.noise(last, chains, generator), s.chain_steps
        for _ in range(0, n, size):
            drawn: list[dict[str, Tensor]] = []
            for _ in range(0, size, chains):
                state = machine.infer({}, steps, generator, start)
                start, steps = {layer: state[layer] for layer in last}, s.thinning
                drawn.append(self.decode(state, list(self.modalities)))
            yield {name: torch.cat([part[name] for part in drawn])[:size] for name in self.modalities}

    def translate(
        self,
        inputs: Batch,
        targets: Sequence[str],
        sample: bool = False,
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        steps = self.settings.inference_steps
        state = self.machine.infer(self.clamp(inputs), steps, generator if sample else None)
        return self.decode(state, targets)

    def embed(self, inputs: Batch) -> Tensor:
        return self.machine.infer(self.clamp(inputs), self.settings.inference_steps)[JOINT]
