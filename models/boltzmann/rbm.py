"""The restricted Boltzmann machine: one layer of visible units of any kind, one of Bernoulli hidden units.

    E(v, h) = -v'Wh - c'v - b'h        F(v) = -c'v - sum_j softplus(b_j + (v'W)_j)        p(v) = e^{-F(v)} / Z

of Bernoulli visible units; of other units see `models.boltzmann.units`.
"""

import torch
from torch import Tensor, nn

from models.boltzmann.annealing import AnnealingPath
from models.boltzmann.divergence import PersistentChains, contrastive_divergence, persistent_divergence
from models.boltzmann.machine import BoltzmannMachine
from models.boltzmann.units import Bernoulli, Units

__all__ = ["RBM"]


class RBM(BoltzmannMachine):
    """A restricted Boltzmann machine over states v (N, V) with hidden h (N, H).

    Args:
        visible: the visible units, which say what v is.
        hidden: H, number of Bernoulli hidden units.

    >>> rbm = RBM(Bernoulli(6), hidden=4)
    >>> v = rbm.draw(3, steps=10, generator=torch.Generator().manual_seed(0))
    >>> v.shape, rbm.free_energy_of(v).shape
    (torch.Size([3, 6]), torch.Size([3]))
    """

    def __init__(self, visible: Units, hidden: int):
        super().__init__({"visible": visible, "hidden": Bernoulli(hidden)}, [("visible", "hidden")])

    @property
    def weight(self) -> nn.Parameter:
        """W (V, H)."""
        return self.weights["visible-hidden"]

    @property
    def visible_bias(self) -> nn.Parameter:
        """c (V,)."""
        return self.units("visible").bias

    @property
    def hidden_bias(self) -> nn.Parameter:
        """b (H,)."""
        return self.units("hidden").bias

    def free_energy_of(self, v: Tensor) -> Tensor:
        """F(v), (N,)."""
        state = {"visible": v}
        return self.free_energy(state, self.fields(state, ["hidden"]))

    def free_energy_of_hidden(self, h: Tensor) -> Tensor:
        """(N,): the energy of h (N, H) with the visible units summed out."""
        state = {"hidden": h}
        return self.free_energy(state, self.fields(state, ["visible"]))

    def hidden_means(self, v: Tensor) -> Tensor:
        """p(h = 1 given v), (N, H)."""
        state = {"visible": v}
        return self.means(self.fields(state, ["hidden"]), state)["hidden"]

    def visible_means(self, h: Tensor) -> Tensor:
        """The mean of v given h, (N, V)."""
        state = {"hidden": h}
        return self.means(self.fields(state, ["visible"]), state)["visible"]

    def draw(self, n: int, steps: int, generator: torch.Generator) -> Tensor:
        """(n, V): the states of n chains after `steps` of Gibbs sampling from noise."""
        return self.gibbs(self.noise(["visible"], n, generator), steps, generator)["visible"]

    def path(self, base: Tensor | None = None) -> AnnealingPath:
        """The way from independent visible units with biases `base` (V,), for `metrics.partition`."""
        return AnnealingPath(self, {} if base is None else {"visible": base})

    def chains(self, count: int) -> PersistentChains:
        """Chains for `pcd_loss`."""
        return PersistentChains(self, count)

    def cd_loss(self, v: Tensor, steps: int = 1) -> Tensor:
        """CD-k on v (B, V), see `contrastive_divergence`."""
        return contrastive_divergence(self, {"visible": v}, ["hidden"], steps)

    def pcd_loss(self, v: Tensor, chains: PersistentChains, steps: int = 1) -> Tensor:
        """PCD on v (B, V), see `persistent_divergence`."""
        return persistent_divergence(self, {"visible": v}, chains, steps)
