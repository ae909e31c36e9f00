"""Contrastive divergence (CD-k) and its persistent form (PCD) as losses.

Both are mean F(x) over data minus mean F(x') over samples of the model, with the samples held constant. The
gradient of F is that of the energy, averaged over what is summed out, so the gradient of the loss is the one
of Hinton 2002 ("Training products of experts by minimizing contrastive divergence") and of Tieleman 2008
("Training RBMs using approximations to the likelihood gradient"), and any optimiser can follow it. The value
of the loss says little: the samples change with every step.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from models.boltzmann.machine import BoltzmannMachine, State

__all__ = ["PersistentChains", "contrastive_divergence", "persistent_divergence", "run_chains"]


class PersistentChains(nn.Module):
    """Markov chains that go on from one training step to the next: the odd side of a machine, as buffers.

    They belong to the state_dict, so a resumed training goes on with them. They begin as noise.

    Args:
        machine: whose chains they are.
        count: of chains.
    """

    def __init__(self, machine: BoltzmannMachine, count: int):
        super().__init__()
        for layer, x in machine.noise(machine.odd, count).items():
            self.register_buffer(layer, x)

    @property
    def state(self) -> State:
        """Layer -> (chains, size)."""
        return dict(self.named_buffers())

    def keep(self, state: Mapping[str, Tensor]) -> None:
        """Take the chains to `state`, in training mode alone: else a look at a loss would move them."""
        if self.training:
            for layer, x in self.named_buffers():
                x.copy_(state[layer])


@torch.no_grad()
def run_chains(
    machine: BoltzmannMachine,
    data: State,
    fields: State,
    steps: int,
    copies: Mapping[str, int] | None = None,
) -> State:
    """The layers of `data` after `steps` of Gibbs sampling from there.

    Args:
        data: layer -> (B, size) of one side.
        fields: what reaches those layers of the other side that take part, given `data`.
        copies: how many times over a layer is there (see `BoltzmannMachine.fields`).
    """
    state = data
    for step in range(steps):
        if step > 0:
            fields = machine.fields(state, fields, copies)
        hidden = machine.sample(fields, state)
        state = machine.sample(machine.fields(hidden, data, copies), hidden | state)
    return state


def contrastive_divergence(
    machine: BoltzmannMachine,
    data: State,
    upper: Sequence[str],
    steps: int,
    copies: Mapping[str, int] | None = None,
) -> Tensor:
    """CD-k on the layers of `data` and those of the other side in `upper`: a scalar, the mean over the batch.

    Args:
        data: layer -> (B, size), the chains' beginning.
        steps: k, of Gibbs sampling.
        copies: how many times over a layer is there (see `BoltzmannMachine.fields`).
    """
    fields = machine.fields(data, upper, copies)
    loss = machine.free_energy(data, fields, copies).mean()
    state = run_chains(machine, data, fields, steps, copies)
    return loss - machine.free_energy(state, machine.fields(state, upper, copies), copies).mean()


def persistent_divergence(
    machine: BoltzmannMachine, data: State, chains: PersistentChains, steps: int
) -> Tensor:
    """PCD with `steps` of Gibbs sampling: a scalar, the mean over the batch.

    Args:
        data: layer -> (B, size) of the whole even side, states or means of them given data.
        chains: moved on in training mode.
    """
    loss = machine.free_energy(data, machine.fields(data, machine.odd)).mean()
    with torch.no_grad():
        hidden = chains.state
        state: State = {}
        for step in range(steps):
            if step > 0:
                hidden = machine.sample(machine.fields(state, machine.odd), state)
            state = machine.sample(machine.fields(hidden, machine.even), hidden | state)
    fields = machine.fields(state, machine.odd)
    with torch.no_grad():
        chains.keep(machine.sample(fields, state))
    return loss - machine.free_energy(state, fields).mean()
