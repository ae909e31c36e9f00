"""Deep belief networks of one or several modalities (Hinton, Osindero and Teh 2006; Ngiam et al. 2011).

Each modality has a pathway of restricted machines, each trained on what the one below it makes of the data.
The last one, the top, joins the last layers of all pathways. Read downwards, a pathway is a directed network:

    p(v, h1, h2) = p(v given h1) p(h1 given h2),    h2 of all modalities from the top
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from models.boltzmann.dbm import DBM, layer_name
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

    Attributes:
        pathways: modality name -> its restricted machines, from the bottom.
        top: a restricted machine over the last hidden layers (`layer_name(modality, 0)`) and the joint one.
    """

    def __init__(self, visible: Mapping[str, Units], hidden: Sequence[int], joint: int):
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
        self.top = DBM({name: Bernoulli(hidden[-1]) for name in visible}, (), joint)

    def pathway(self, name: str) -> list[RBM]:
        """The restricted machines of a modality, from the bottom."""
        machines = self.pathways[name]
        assert isinstance(machines, nn.ModuleList)
        return [machine for machine in machines if isinstance(machine, RBM)]

    def up(self, name: str, v: Tensor, depth: int) -> Tensor:
        """(N, H): the means of a modality's hidden layer at `depth`, 0 being the visible one."""
        for rbm in self.pathway(name)[:depth]:
            v = rbm.hidden_means(v)
        return v

    def down(self, name: str, h: Tensor) -> Tensor:
        """(N, V): means of visible units given the last hidden layer, means all the way."""
        for rbm in reversed(self.pathway(name)):
            h = rbm.visible_means(h)
        return h

    def clamp_top(self, visible: Mapping[str, Tensor]) -> State:
        """The state of the top that holds the last hidden layers of the modalities given, as means."""
        return {layer_name(name, 0): self.up(name, v, len(self.pathway(name))) for name, v in visible.items()}

    @torch.no_grad()
    def log_density_bound(self, visible: Mapping[str, Tensor], generator: torch.Generator) -> Tensor:
        """(N,): log p(v, h1, .. given the top) f(top) / q(h given v), on average at most log p(v) + log Z.

        Z is the top's; q is the way up, a sample at every layer.
        """
        total, top = torch.zeros(()), {}
        for name, v in visible.items():
            for rbm in self.pathway(name):
                above = {"hidden": rbm.units("hidden").sample(*_input(rbm, v), generator)}
                total = total - rbm.log_prob(above, {"visible": v})
                total = total + rbm.log_prob({"visible": v}, above)
                v = above["hidden"]
            top[layer_name(name, 0)] = v
        return total - self.top.free_energy(top, self.top.fields(top, self.top.odd))


def _input(rbm: RBM, v: Tensor) -> tuple[Tensor, Tensor]:
    """The field and the bias of the hidden layer."""
    return rbm.fields({"visible": v}, ["hidden"])["hidden"], rbm.hidden_bias
