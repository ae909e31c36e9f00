"""Deep Boltzmann machines of one or several modalities.

R. Salakhutdinov and G. Hinton 2009, "Deep Boltzmann machines"; N. Srivastava and R. Salakhutdinov 2014,
"Multimodal learning with deep Boltzmann machines".

Each modality has a pathway of hidden layers above its visible one, and all pathways meet in one joint layer:

    m/0 (visible) - m/1 - m/2 - ... - joint

Without hidden layers it is a restricted Boltzmann machine over the visible units of all modalities. All
weights are symmetric; a layer hears from below and from above.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from models.boltzmann.divergence import PersistentChains, contrastive_divergence, persistent_divergence
from models.boltzmann.machine import BoltzmannMachine, State
from models.boltzmann.units import Bernoulli, Units

__all__ = ["DBM", "JOINT", "layer_name"]

JOINT = "joint"


def layer_name(modality: str, depth: int) -> str:
    """The name of a layer of a modality's pathway: depth 0 is the visible one."""
    return f"{modality}/{depth}"


class DBM(BoltzmannMachine):
    """A deep Boltzmann machine.

    Args:
        visible: modality name -> its visible units.
        hidden: units in each hidden layer of every pathway, from the bottom; none makes a restricted machine.
        joint: units of the joint layer.

    The classic machine of a single modality, 784-500-1000, is DBM({"v": Bernoulli(784)}, [500], 1000).
    """

    def __init__(self, visible: Mapping[str, Units], hidden: Sequence[int], joint: int):
        layers: dict[str, Units] = {}
        edges: list[tuple[str, str]] = []
        for name, units in visible.items():
            path = [layer_name(name, depth) for depth in range(len(hidden) + 1)]
            layers |= dict(zip(path, [units, *map(Bernoulli, hidden)], strict=True))
            edges += [*pairwise(path), (path[-1], JOINT)]
        super().__init__({**layers, JOINT: Bernoulli(joint)}, edges)
        self.depth = len(hidden)
        self.names = tuple(visible)

    def clamp(self, visible: Mapping[str, Tensor]) -> State:
        """The state that holds the visible layers of some modalities alone."""
        return {layer_name(name, 0): v for name, v in visible.items()}

    def level(self, depth: int) -> list[str]:
        """The layers at a depth, of all modalities; the joint layer lies above them all."""
        return [layer_name(name, depth) for name in self.names] if depth <= self.depth else [JOINT]

    def level_parameters(self, depth: int) -> Iterator[nn.Parameter]:
        """What joins the layers at `depth` to the next ones, with the biases of both."""
        for lower in self.level(depth):
            for upper in self.level(depth + 1):
                if f"{lower}-{upper}" in self.weights:
                    yield self.weights[f"{lower}-{upper}"]
        for layer in self.level(depth) + self.level(depth + 1):
            yield self.units(layer).bias

    def copies(self, depth: int) -> dict[str, int]:
        """What is doubled where the layers at `depth` are pre-trained with the next ones.

        In the whole machine a hidden layer of a pathway hears from below and from above. While one of them is
        missing, the other is there twice.
        """
        lower = self.level(depth) if depth < self.depth else []
        upper = self.level(depth + 1) if depth > 0 else []
        return dict.fromkeys(lower + upper, 2)

    def bottom_up(self, visible: State, depth: int) -> State:
        """Means of the layers at `depth`, given the visible ones, by one pass with doubled inputs."""
        state = visible
        for level in range(depth):
            fields = self.fields(state, self.level(level + 1), dict.fromkeys(state, 2))
            state = self.means(fields, state)
        return state

    def infer(
        self,
        visible: State,
        steps: int,
        generator: torch.Generator | None = None,
        start: State | None = None,
    ) -> State:
        """All layers given the visible ones of some modalities: means, or samples with a generator.

        Of a modality that is not observed only the last hidden layer takes part in the `steps` updates of
        both sides; the layers below follow once, by means. A layer that hears from one of its two sides alone
        hears it twice, as in pre-training. Without `visible`, and with a `start` of the last hidden layers,
        it is a chain of joint draws.
        """
        missing = [name for name in self.names if layer_name(name, 0) not in visible]
        below = {layer_name(name, depth) for name in missing for depth in range(self.depth)}
        state = {**(start or {}), **visible}
        for _ in range(steps):
            # with the joint layer first, for what is to be drawn is on its other side
            for side in (self.odd, self.even) if JOINT in self.odd else (self.even, self.odd):
                free = [layer for layer in side if layer not in visible and layer not in below]
                fields = self._heard(state, free)
                state |= (
                    self.means(fields, state) if generator is None else self.sample(fields, state, generator)
                )
        for depth in reversed(range(self.depth)):
            layers = [layer_name(name, depth) for name in missing]
            state |= self.means(self._heard(state, layers), state)
        return state

    def _heard(self, state: State, layers: Sequence[str]) -> State:
        """Fields of `layers`, doubled where a layer of a pathway hears from above or from below alone."""
        fields = self.fields(state, layers)
        for layer in fields:
            sides = self.neighbours[layer]
            if layer != JOINT and len(sides) == 2 and not all(side in state for side in sides):
                fields[layer] = 2 * fields[layer]
        return fields

    def prediction_loss(self, visible: State, steps: int) -> Tensor:
        """How badly each modality's last hidden layer predicts those of the others through the joint layer.

        Minus log-probabilities of the others' means, given the joint layer's mean after `steps` of mean field
        between it and what is missing (multi-prediction training, Goodfellow et al. 2013), averaged over the
        batch and summed over the modalities that are given.
        """
        with torch.no_grad():
            data = self.bottom_up(visible, self.depth)
        copies = self.copies(self.depth)
        losses = []
        for given, x in data.items():
            state, target = {given: x}, {layer: y for layer, y in data.items() if layer != given}
            for _ in range(steps):
                joint = self.means(self.fields(state, [JOINT], copies), state)
                fields = self.fields(joint, target, copies)
                state = {given: x, **self.means(fields, joint)}
            losses += [
                -self.units(layer).log_prob(y, fields[layer], self.bias(layer, joint)).mean()
                for layer, y in target.items()
            ]
        return torch.stack(losses).sum()

    def layer_loss(self, visible: State, depth: int, steps: int) -> Tensor:
        """CD-k of the layers at `depth` with the next ones, all lower ones held (pre-training)."""
        with torch.no_grad():
            data = self.bottom_up(visible, depth)
        return contrastive_divergence(self, data, self.level(depth + 1), steps, self.copies(depth))

    def joint_loss(
        self, visible: State, chains: PersistentChains, steps: int, mean_field_steps: int
    ) -> Tensor:
        """PCD of the whole machine, with mean field for the data: a scalar, the mean over the batch."""
        with torch.no_grad():
            means = self.mean_field(visible, mean_field_steps)
        return persistent_divergence(self, {layer: means[layer] for layer in self.even}, chains, steps)

    @torch.no_grad()
    def log_density_bound(self, visible: State, mean_field_steps: int) -> Tensor:
        """(N,): a lower bound of log f(v), where p(v) = f(v) / Z, by mean field.

        With q the product of the means of the even side, it is -F(v, means) + H(q): the odd side at its best
        is summed out. In a restricted machine it is exact.
        """
        means = self.mean_field(visible, mean_field_steps)
        even = {layer: means[layer] for layer in self.even}
        entropies = [
            torch.special.entr(torch.stack([x, 1 - x])).sum((0, -1))
            for layer, x in even.items()
            if layer not in visible
        ]
        return sum(entropies) - self.free_energy(even, self.fields(even, self.odd))
