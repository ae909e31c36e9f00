"""A Boltzmann machine whose layers fall into two sides, even and odd, with weights between the sides alone.

Given one side, the layers of the other are independent: Gibbs sampling takes the sides in turn, and either
side can be summed out of the energy exactly. A restricted Boltzmann machine is the case of two layers, one
over several modalities has all visible layers on the even side, and a deep one alternates its layers.

    E(x) = sum_l own_energy_l(x_l) - sum_(l, u) signal(x_l)' W_lu signal(x_u)
"""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from models.boltzmann.units import ReplicatedSoftmax, Units

__all__ = ["BoltzmannMachine", "State"]

State = dict[str, Tensor]
"""Layer -> (N, size): states, or means of states, of some layers."""

INITIAL_SCALE = 0.01  # standard deviation of new weights (Hinton 2012, "A practical guide to training RBMs")


class BoltzmannMachine(nn.Module):
    """Layers and the weights between them.

    Args:
        layers: name -> units, the even side's layers before those of the odd side beside them.
        edges: pairs of layers with weights between them, the lower (nearer to the data) first.

    Raises:
        ValueError: where a cycle of odd length joins the layers, so that they have no two sides.
    """

    def __init__(self, layers: Mapping[str, Units], edges: Sequence[tuple[str, str]]):
        super().__init__()
        self.layers = nn.ModuleDict(layers)
        self.weights = nn.ParameterDict(
            {
                f"{lower}-{upper}": INITIAL_SCALE * torch.randn(layers[lower].size, layers[upper].size)
                for lower, upper in edges
            }
        )
        self.neighbours: dict[str, list[str]] = {name: [] for name in layers}
        for lower, upper in edges:
            self.neighbours[lower].append(upper)
            self.neighbours[upper].append(lower)
        self.even, self.odd = _sides(self.neighbours)

    def units(self, layer: str) -> Units:
        """The units of a layer."""
        units = self.layers[layer]
        assert isinstance(units, Units)
        return units

    def fields(
        self, state: Mapping[str, Tensor], layers: Iterable[str], copies: Mapping[str, int] | None = None
    ) -> State:
        """Layer -> (N, size): the field that reaches each of `layers` from its neighbours in `state`.

        Layers that none of these is beside are left out. `copies` says how many times over a layer is there
        (once where it is not named).
        """
        found = {}
        for layer in layers:
            arriving = [
                self._arriving(layer, other, state[other], (copies or {}).get(other, 1))
                for other in self.neighbours[layer]
                if other in state
            ]
            if arriving:
                found[layer] = sum(arriving[1:], arriving[0])
        return found

    def _arriving(self, layer: str, other: str, x: Tensor, copies: int) -> Tensor:
        """What `copies` of the layer `other` in state `x` send to `layer`."""
        signal = self.units(other).signal(x)
        if copies > 1:
            signal = copies * signal
        upwards = f"{other}-{layer}"
        if upwards in self.weights:
            return signal @ self.weights[upwards]
        return signal @ self.weights[f"{layer}-{other}"].T

    def bias(self, layer: str, state: Mapping[str, Tensor]) -> Tensor:
        """The bias of a layer, (size,); above documents (N, size), as many times as they have words.

        Where `state` lacks the documents, they are new ones.
        """
        bias, lengths = self.units(layer).bias, []
        for other in self.neighbours[layer]:
            units = self.units(other)
            if not isinstance(units, ReplicatedSoftmax):
                return bias
            lengths.append(units.length(state.get(other)))
        total = sum(lengths)
        return total * bias if isinstance(total, int) else total[:, None] * bias

    def means(self, fields: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> State:
        """The expected states of the layers in `fields`, given the `state` that these come from."""
        return {
            layer: self.units(layer).mean(field, self.bias(layer, state), state.get(layer))
            for layer, field in fields.items()
        }

    def sample(
        self,
        fields: Mapping[str, Tensor],
        state: Mapping[str, Tensor],
        generator: torch.Generator | None = None,
    ) -> State:
        """One draw of the layers in `fields`, given the `state` that these come from."""
        return {
            layer: self.units(layer).sample(field, self.bias(layer, state), generator, state.get(layer))
            for layer, field in fields.items()
        }

    def free_energy(
        self,
        state: Mapping[str, Tensor],
        fields: Mapping[str, Tensor],
        copies: Mapping[str, int] | None = None,
    ) -> Tensor:
        """(N,): the energy of `state`, of one side, with the layers in `fields`, of the other, summed out."""
        copies = copies or {}
        given = [
            copies.get(layer, 1) * self.units(layer).own_energy(x, self.bias(layer, state))
            for layer, x in state.items()
        ]
        summed = [
            copies.get(layer, 1) * self.units(layer).log_sum(field, self.bias(layer, state), state.get(layer))
            for layer, field in fields.items()
        ]
        return sum(given[1:], given[0]) - sum(summed[1:], summed[0])

    def log_prob(self, target: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> Tensor:
        """(N,): log-probability of the layers in `target`, of one side, given the `state` of the other."""
        fields = self.fields(state, target)
        found = [
            self.units(layer).log_prob(x, fields[layer], self.bias(layer, state))
            for layer, x in target.items()
        ]
        return sum(found[1:], found[0])

    def noise(self, layers: Iterable[str], n: int, generator: torch.Generator | None = None) -> State:
        """States of `layers` that know nothing of data, to start chains from."""
        return {layer: self.units(layer).noise(n, generator) for layer in layers}

    def mean_field(self, clamped: Mapping[str, Tensor], steps: int) -> State:
        """Means of all layers given those that are `clamped`, after `steps` updates of both sides.

        The first updates pass what is known on to the layers that nothing is known of yet.
        """
        free = [layer for layer in self.layers if layer not in clamped]
        held = self.fields(clamped, free)  # what clamped layers send is the same in every step
        state: State = {}
        for _ in range(steps):
            for side in (self.odd, self.even):
                fields = self.fields(state, [layer for layer in side if layer in free])
                for layer in held:
                    if layer in side:
                        fields[layer] = fields[layer] + held[layer] if layer in fields else held[layer]
                state |= self.means(fields, {**clamped, **state})
        return {**clamped, **state}

    def gibbs(self, state: State, steps: int, generator: torch.Generator | None = None) -> State:
        """The state after `steps` samples of both sides, the odd one first."""
        state = dict(state)
        for _ in range(steps):
            for side in (self.odd, self.even):
                state |= self.sample(self.fields(state, side), state, generator)
        return state


def _sides(neighbours: Mapping[str, Sequence[str]]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The layers at an even and those at an odd distance from the first one, in the order given."""
    first = next(iter(neighbours))
    distance, reached = {first: 0}, [first]
    for layer in reached:  # grows meanwhile
        for other in neighbours[layer]:
            if other not in distance:
                distance[other] = distance[layer] + 1
                reached.append(other)
            if (distance[other] - distance[layer]) % 2 == 0:
                raise ValueError(
                    f"{layer} and {other} are on one side: weights must join an even and an odd layer"
                )
    even, odd = (tuple(name for name in neighbours if distance[name] % 2 == side) for side in (0, 1))
    return even, odd
