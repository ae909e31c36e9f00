"""The way from independent units to a Boltzmann machine, along which annealed sampling measures its Z.

At beta in [0, 1] all weights and all biases are multiplied by beta, but for those of the even side, which go
in a straight line from the biases of a base model to their own (Salakhutdinov and Murray 2008, "On the
quantitative analysis of deep belief networks", section 4.1). At 0 the units are independent, at 1 the machine
is itself. The odd side is summed out.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from models.boltzmann.machine import BoltzmannMachine, State

__all__ = ["AnnealingPath", "base_rates"]


def base_rates(means: Tensor) -> Tensor:
    """The biases of Bernoulli units with these means, (D,), which are kept from 0 and 1 by a hundredth."""
    return means.clamp(0.01, 0.99).logit()


class AnnealingPath:
    """What `metrics.partition` asks of a machine; states are those of the even side, layer -> (N, size).

    Args:
        machine: whose Z is wanted.
        base: layer of the even side -> the biases (size,) of the base model; zero where a layer is not named.
    """

    def __init__(self, machine: BoltzmannMachine, base: Mapping[str, Tensor] | None = None):
        self.machine = machine
        self.base = {
            layer: (base or {}).get(layer, torch.zeros_like(machine.units(layer).bias))
            for layer in machine.even
        }

    @torch.no_grad()
    def log_base(self) -> float:
        """log Z of the base model."""
        units = self.machine.units
        even = [units(name).log_sum(torch.zeros_like(c)[None], c) for name, c in self.base.items()]
        zeros = {name: torch.zeros_like(units(name).bias) for name in self.machine.odd}
        odd = [units(name).log_sum(zero[None], zero) for name, zero in zeros.items()]
        return float(torch.cat(even + odd).double().sum())

    @torch.no_grad()
    def start(self, n: int, generator: torch.Generator) -> State:
        """`n` exact draws of the base model."""
        return {
            name: self.machine.units(name).sample(torch.zeros_like(c).expand(n, -1), c, generator)
            for name, c in self.base.items()
        }

    @torch.no_grad()
    def fields(self, state: Mapping[str, Tensor]) -> State:
        """What reaches the odd side at beta = 1: it serves `log_density` and `step` at any beta."""
        return self.machine.fields(state, self.machine.odd)

    @torch.no_grad()
    def log_density(self, state: Mapping[str, Tensor], fields: Mapping[str, Tensor], beta: float) -> Tensor:
        """(N,) float64: log of the unnormalised density of `state` at `beta`."""
        machine = self.machine
        own = [machine.units(name).own_energy(x, self._bias(name, beta)) for name, x in state.items()]
        summed = [
            machine.units(name).log_sum(beta * field, beta * machine.bias(name, state))
            for name, field in fields.items()
        ]
        return sum(x.double() for x in summed) - sum(x.double() for x in own)  # type: ignore[return-value]

    @torch.no_grad()
    def step(
        self,
        state: Mapping[str, Tensor],
        fields: Mapping[str, Tensor],
        beta: float,
        generator: torch.Generator,
    ) -> State:
        """A step of Gibbs sampling that leaves the density at `beta` as it is, and is its own reverse."""
        machine = self.machine
        odd = {
            name: machine.units(name).sample(beta * field, beta * machine.bias(name, state), generator)
            for name, field in fields.items()
        }
        return {
            name: machine.units(name).sample(beta * field, self._bias(name, beta), generator, state[name])
            for name, field in machine.fields(odd, machine.even).items()
        }

    def _bias(self, layer: str, beta: float) -> Tensor:
        return torch.lerp(self.base[layer], self.machine.units(layer).bias, beta)
