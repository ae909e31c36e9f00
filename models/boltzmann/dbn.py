"""Deep belief networks of one or several modalities (Hinton, Osindero and Teh 2006; Ngiam et al. 2011).

Each modality has a pathway of restricted machines, each trained on what the one below it makes of the data.
The last one, the top, joins the last layers of all pathways. Read downwards, a pathway is a directed network:

    p(v, h1, h2) = p(v given h1) p(h1 given h2),    h2 of all modalities from the top

Read upwards with the same weights it says what caused the data. Up-down fine-tuning gives each direction
weights of its own.
"""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from itertools import pairwise

import torch
from torch import Tensor, nn

from models.boltzmann.dbm import DBM, JOINT, layer_name
from models.boltzmann.divergence import run_chains
from models.boltzmann.machine import State
from models.boltzmann.rbm import RBM
from models.boltzmann.units import Bernoulli, Units

__all__ = ["DBN"]


class DBN(nn.Module):
    """A deep belief network.

    Args:
        visible: modality name -> its visible units.
        hidden: units in each hidden layer of every pathway, from the bottom; at least one.
        joint: units of the joint layer, above the last hidden layers.
        untied: whether the way up has weights of its own, for `up_down_loss`.

    Attributes:
        pathways: modality name -> its restricted machines, from the bottom.
        recognition: the same once more for the way up, of which visible biases serve nothing; None where the
            pathways go both ways.
        top: a restricted machine over the last hidden layers (`layer_name(modality, 0)`) and the joint one.
    """

    def __init__(self, visible: Mapping[str, Units], hidden: Sequence[int], joint: int, untied: bool = False):
        super().__init__()
        self.names = tuple(visible)
        self.pathways = nn.ModuleDict(
            {
                name: nn.ModuleList(
                    RBM(units if depth == 0 else Bernoulli(hidden[depth - 1]), size)
                    for depth, size in enumerate(hidden)
                )
                for name, units in visible.items()
            }
        )
        self.recognition = deepcopy(self.pathways) if untied else None
        self.top = DBM({name: Bernoulli(hidden[-1]) for name in visible}, (), joint)

    def pathway(self, name: str) -> list[RBM]:
        """The restricted machines of a modality, from the bottom: the way down."""
        return _machines(self.pathways, name)

    def way_up(self, name: str) -> list[RBM]:
        """The machines whose hidden layers follow from the ones below."""
        return _machines(self.pathways if self.recognition is None else self.recognition, name)

    def up(self, name: str, v: Tensor, depth: int) -> Tensor:
        """(N, H): the means of a modality's hidden layer at `depth`, 0 being the visible one."""
        for rbm in self.way_up(name)[:depth]:
            v = rbm.hidden_means(v)
        return v

    def down(self, name: str, h: Tensor) -> Tensor:
        """(N, V): means of visible units given the last hidden layer, means all the way."""
        for rbm in reversed(self.pathway(name)):
            h = rbm.visible_means(h)
        return h

    def clamp_top(self, visible: Mapping[str, Tensor]) -> State:
        """The state of the top that holds the last hidden layers of the modalities given, as means."""
        return {layer_name(name, 0): self.up(name, v, len(self.way_up(name))) for name, v in visible.items()}

    @torch.no_grad()
    def tie(self) -> None:
        """Give the way up the weights of the way down, where it has its own, in training mode alone."""
        if self.recognition is not None and self.training:
            for target, source in zip(self.recognition.parameters(), self.pathways.parameters(), strict=True):
                target.copy_(source)

    def untied_parameters(self) -> Iterator[nn.Parameter]:
        """What `up_down_loss` trains: of the way down what makes a layer from the one above, of the way up
        what makes it from the one below, and the top.
        """
        for name in self.names:
            for down, up in zip(self.pathway(name), self.way_up(name), strict=True):
                yield from (down.weight, down.visible_bias, up.weight, up.hidden_bias)
        yield from self.top.parameters()

    def up_down_loss(self, visible: Mapping[str, Tensor], steps: int) -> dict[str, Tensor]:
        """The terms of up-down fine-tuning, each a mean over the batch (Hinton, Osindero and Teh 2006, B).

        "wake": minus log-probabilities of each layer given the one above it, in states that the way up finds
        for the data; it trains the way down. "divergence": CD-k of the top from there. "sleep": minus
        log-probabilities of each hidden layer given the one below it, in states that the way down makes of
        the top's chains; it trains the way up. States are held constant, so the gradient of the sum is the
        update of the paper's appendix.

        Args:
            visible: modality name -> (B, size).
            steps: k.
        """
        with torch.no_grad():
            seen = {name: self._climb(name, v) for name, v in visible.items()}
            data = {layer_name(name, 0): layers[-1] for name, layers in seen.items()}
            fields = self.top.fields(data, [JOINT])
            chains = run_chains(self.top, data, fields, steps)
            dreamt = {name: self._descend(name, chains[layer_name(name, 0)]) for name in visible}
        free = [self.top.free_energy(x, self.top.fields(x, [JOINT])).mean() for x in (data, chains)]
        wake, sleep = [], []
        for name in visible:
            for rbm, (below, above) in zip(self.pathway(name), pairwise(seen[name]), strict=True):
                wake.append(-rbm.log_prob({"visible": below}, {"hidden": above}).mean())
            for rbm, (below, above) in zip(self.way_up(name), pairwise(dreamt[name]), strict=True):
                sleep.append(-rbm.log_prob({"hidden": above}, {"visible": below}).mean())
        return {
            "wake": torch.stack(wake).sum(),
            "divergence": free[0] - free[1],
            "sleep": torch.stack(sleep).sum(),
        }

    def _climb(self, name: str, v: Tensor, generator: torch.Generator | None = None) -> list[Tensor]:
        """Samples of all layers of a modality given its visible one, from the bottom."""
        layers = [v]
        for rbm in self.way_up(name):
            fields = rbm.fields({"visible": layers[-1]}, ["hidden"])
            layers.append(rbm.sample(fields, {"visible": layers[-1]}, generator)["hidden"])
        return layers

    def _descend(self, name: str, h: Tensor) -> list[Tensor]:
        """Samples of all layers of a modality given its last hidden one, from the bottom; visible means."""
        layers = [h]
        for depth, rbm in reversed([*enumerate(self.pathway(name))]):
            fields, state = rbm.fields({"hidden": layers[-1]}, ["visible"]), {"hidden": layers[-1]}
            found = rbm.sample(fields, state) if depth > 0 else rbm.means(fields, state)
            layers.append(found["visible"])
        return layers[::-1]

    @torch.no_grad()
    def log_density_bound(self, visible: Mapping[str, Tensor], generator: torch.Generator) -> Tensor:
        """(N,): log p(v, h1, .. given the top) f(top) / q(h given v), on average at most log p(v) + log Z.

        Z is the top's; q is the way up, a sample at every layer.
        """
        total, top = torch.zeros(()), {}
        for name, v in visible.items():
            layers = self._climb(name, v, generator)
            for down, up, (below, above) in zip(
                self.pathway(name), self.way_up(name), pairwise(layers), strict=True
            ):
                total = total - up.log_prob({"hidden": above}, {"visible": below})
                total = total + down.log_prob({"visible": below}, {"hidden": above})
            top[layer_name(name, 0)] = layers[-1]
        return total - self.top.free_energy(top, self.top.fields(top, self.top.odd))


def _machines(pathways: nn.ModuleDict, name: str) -> list[RBM]:
    """The restricted machines of a modality, from the bottom."""
    machines = pathways[name]
    assert isinstance(machines, nn.ModuleList)
    return [machine for machine in machines if isinstance(machine, RBM)]
