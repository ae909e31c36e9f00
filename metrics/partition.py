"""The partition function Z of a Boltzmann machine, exactly or from both sides by annealed sampling.

log p(v) = log f(v) - log Z, where f is what the model computes and Z its sum over all v. Annealed importance
sampling (AIS) makes estimates of Z that are right on average, so those of log Z are too low on average and
those of the likelihood too good. Reverse AIS goes the same way back from given states. From draws of the
model its log Z is too high on average; from data it is pessimistic about the likelihood of these data. What
is true lies between the two, as far as the data resemble draws of the model, so a likelihood is a bracket of
both. All values are in nats.

R. Salakhutdinov and I. Murray 2008, "On the quantitative analysis of deep belief networks".
Y. Burda, R. Grosse and R. Salakhutdinov 2015, "Accurate and conservative estimates of MRF log-likelihood
using reverse annealing".
"""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

__all__ = [
    "SCHEDULE",
    "AnnealedModel",
    "Estimate",
    "LikelihoodBracket",
    "Path",
    "exact_log_partition",
    "likelihood_bracket",
    "log_partition",
    "reverse_log_partition",
    "schedule",
]

BLOCK = 2**14  # states at a time of an exact sum

States = Mapping[str, Tensor]
"""Layer -> (N, size): the states of N chains."""


class Path(Protocol):
    """Densities from a known one (beta = 0) to the model (beta = 1), see `models.boltzmann.annealing`."""

    def log_base(self) -> float:
        """log Z at beta = 0."""

    def start(self, n: int, generator: torch.Generator) -> States:
        """`n` exact draws at beta = 0."""

    def fields(self, state: States) -> States:
        """What the two methods below share."""

    def log_density(self, state: States, fields: States, beta: float) -> Tensor:
        """(N,) float64: log of the unnormalised density at `beta`."""

    def step(self, state: States, fields: States, beta: float, generator: torch.Generator) -> States:
        """A transition that leaves the density at `beta` as it is, and is its own reverse."""


@runtime_checkable
class AnnealedModel(Protocol):
    """A model of M modalities, p(x_1, .., x_M) = f / Z, that computes f or a lower bound of it."""

    def path(self) -> Path:
        """The way to the density that Z belongs to."""

    def states(self, batch: Mapping[str, Tensor], generator: torch.Generator) -> States:
        """States at the end of `path`, as B complete items make them probable."""

    def log_density_bound(self, batch: Mapping[str, Tensor], generator: torch.Generator) -> Tensor:
        """(B,), in nats: log f of B complete items, or what is on average no more."""


class Estimate(NamedTuple):
    """An estimate of log Z.

    Attributes:
        value: of log Z.
        low, high: three standard errors to either side, of Z (AIS) or of the mean of log Z (reverse AIS);
            `low` is minus infinity where the weights of AIS scatter more than they weigh.
        chains: (N,) float64, the estimate of each chain.
    """

    value: float
    low: float
    high: float
    chains: Tensor


def schedule(*parts: tuple[float, int]) -> list[float]:
    """Rising betas from 0: `count` evenly spaced ones up to each `end`, for pairs (end, count).

    >>> schedule((0.5, 2), (1.0, 4))
    [0.0, 0.25, 0.5, 0.625, 0.75, 0.875, 1.0]
    """
    betas = [0.0]
    for end, count in parts:
        betas += np.linspace(betas[-1], end, count + 1)[1:].tolist()
    if len(betas) < 2 or betas[-1] != 1 or any(new <= old for old, new in pairwise(betas)):
        raise ValueError(f"a schedule rises to 1, but {parts} gives {len(betas)} betas up to {betas[-1]}")
    return betas


SCHEDULE = schedule((0.5, 500), (0.9, 4_000), (1.0, 10_000))
"""That of Salakhutdinov and Murray 2008."""


def log_partition(path: Path, betas: Sequence[float], chains: int, generator: torch.Generator) -> Estimate:
    """log Z by annealed importance sampling: in expectation too low.

    Args:
        path: from a base model to the one whose Z is wanted.
        betas: rising from 0 to 1, see `schedule`.
        chains: how many, at once; their spread makes the interval.
    """
    state = path.start(chains, generator)
    log_weights = torch.full((chains,), path.log_base(), dtype=torch.float64)
    for old, new in pairwise(betas):
        fields = path.fields(state)
        ratio = path.log_density(state, fields, new) - path.log_density(state, fields, old)
        log_weights = log_weights.to(ratio.device) + ratio
        if new < 1:
            state = path.step(state, fields, new, generator)
    value = float(log_weights.logsumexp(0)) - math.log(chains)
    error = float((log_weights - value).exp().std()) / math.sqrt(chains)  # of Z, as a share of it
    low = value + math.log1p(-3 * error) if 3 * error < 1 else -math.inf
    return Estimate(value, low, value + math.log1p(3 * error), log_weights)


def reverse_log_partition(
    path: Path, states: States, betas: Sequence[float], generator: torch.Generator
) -> Estimate:
    """log Z by reverse AIS from `states` at beta = 1: the mean over chains, one for each of N given states.

    log f(v) minus the chain's estimate is in expectation at most the log-likelihood of its v under the
    annealed model.
    """
    state, total = states, path.log_base()
    fields = path.fields(state)
    log_weights = torch.full((len(next(iter(states.values()))),), total, dtype=torch.float64)
    for new, old in pairwise(reversed(betas)):
        state = path.step(state, fields, new, generator)
        fields = path.fields(state)
        ratio = path.log_density(state, fields, new) - path.log_density(state, fields, old)
        log_weights = log_weights.to(ratio.device) + ratio
    value = float(log_weights.mean())
    error = float(log_weights.std()) / math.sqrt(len(log_weights))
    return Estimate(value, value - 3 * error, value + 3 * error, log_weights)


class LikelihoodBracket(NamedTuple):
    """Mean log-likelihood per item, in nats.

    Attributes:
        low, high: by reverse AIS and by AIS.
        low_error, high_error: their standard errors, over items and chains.
    """

    low: float
    high: float
    low_error: float
    high_error: float


def likelihood_bracket(log_densities: Tensor, partition: Estimate, reverse: Estimate) -> LikelihoodBracket:
    """The bracket of the mean of `log_densities` (N,), log f of N items, by both estimates of log Z."""
    values = log_densities.double()
    mean, error = float(values.mean()), float(values.std()) / math.sqrt(len(values))
    weights = (partition.chains - partition.value).exp()
    of_partition = float(weights.std()) / math.sqrt(len(weights))
    of_reverse = float(reverse.chains.std()) / math.sqrt(len(reverse.chains))
    return LikelihoodBracket(
        mean - reverse.value,
        mean - partition.value,
        math.hypot(error, of_reverse),
        math.hypot(error, of_partition),
    )


@torch.no_grad()
def exact_log_partition(free_energy: Callable[[Tensor], Tensor], units: int) -> float:
    """log Z by summing over all states of one side: up to some 20 units.

    Args:
        free_energy: from states (N, units) of zeros and ones, in float64, to (N,): the other side summed out.
        units: of that side.
    """
    powers = 2 ** torch.arange(units)
    parts = []
    for numbers in torch.arange(2**units).split(BLOCK):
        states = ((numbers[:, None] & powers) > 0).double()
        parts.append(torch.logsumexp(-free_energy(states), 0))
    return float(torch.logsumexp(torch.stack(parts), 0))
