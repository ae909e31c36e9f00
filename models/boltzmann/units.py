"""Units of a Boltzmann machine: their values, their energy, their distribution given the layers beside them.

x (N, D) are the states of a layer of D units, c (D,) its bias, f (N, D) the field: what arrives from other
layers through the weights. Given f, the units of a layer are independent, with density proportional to
exp(signal(x)'f - own_energy(x)).

| units              | x                        | own energy                        | signal    |
|--------------------|--------------------------|-----------------------------------|-----------|
| Bernoulli          | 0 or 1                   | -c'x                              | x         |
| Gaussian           | real                     | sum (x - c)^2 / (2 sigma^2)       | x / sigma |
| Softmax            | one-hot at each position | -c'x                              | x         |
| ReplicatedSoftmax  | counts of words          | -c'x                              | x         |
"""

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Bernoulli", "Gaussian", "ReplicatedSoftmax", "Softmax", "Units", "sample_bernoulli"]


def sample_bernoulli(probabilities: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """0 or 1 in the type of `probabilities`, one draw each."""
    uniform = torch.empty_like(probabilities).uniform_(generator=generator)
    return torch.lt(uniform, probabilities, out=uniform)


class Units(nn.Module, ABC):
    """A layer of `size` units with a bias.

    Methods take the bias as an argument, because annealing scales it; `like` is the layer's state before, of
    which replicated softmax units keep the number of words.
    """

    def __init__(self, size: int):
        super().__init__()
        self.size = size
        self.bias = nn.Parameter(torch.zeros(size))

    def signal(self, x: Tensor) -> Tensor:
        """(N, D): what the layer sends into its weights."""
        return x

    def own_energy(self, x: Tensor, bias: Tensor) -> Tensor:
        """(N,): the energy of the layer by itself."""
        return -(x @ bias if bias.ndim == 1 else (x * bias).sum(-1))

    @abstractmethod
    def log_sum(self, field: Tensor, bias: Tensor, like: Tensor | None = None) -> Tensor:
        """(N,): log of the sum (or integral) over all states of exp(signal(x)'f - own_energy(x))."""

    @abstractmethod
    def mean(self, field: Tensor, bias: Tensor, like: Tensor | None = None) -> Tensor:
        """(N, D): the expected state."""

    @abstractmethod
    def sample(
        self,
        field: Tensor,
        bias: Tensor,
        generator: torch.Generator | None = None,
        like: Tensor | None = None,
    ) -> Tensor:
        """(N, D): one draw, from torch's global generator where none is given."""

    def log_prob(self, x: Tensor, field: Tensor, bias: Tensor) -> Tensor:
        """(N,): log-probability (or density) of x given the layers beside it."""
        return (self.signal(x) * field).sum(-1) - self.own_energy(x, bias) - self.log_sum(field, bias, x)

    def noise(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """(n, D): a state that knows nothing of data, drawn without field and bias."""
        zero = torch.zeros_like(self.bias)
        return self.sample(zero.expand(n, -1), zero, generator)

    def extra_repr(self) -> str:
        return str(self.size)


class Bernoulli(Units):
    """Binary units; data may be probabilities."""

    def log_sum(self, field: Tensor, bias: Tensor, like: Tensor | None = None) -> Tensor:
        return functional.softplus(field + bias).sum(-1)

    def mean(self, field: Tensor, bias: Tensor, like: Tensor | None = None) -> Tensor:
        return torch.sigmoid(field + bias)

    def sample(
        self,
        field: Tensor,
        bias: Tensor,
        generator: torch.Generator | None = None,
        like: Tensor | None = None,
    ) -> Tensor:
        return sample_bernoulli(torch.sigmoid(field + bias), generator)


class Gaussian(Units):
    """Real units with a fixed standard deviation sigma given the layers beside them."""

    def __init__(self, size: int, sigma: float = 1.0):
        super().__init__(size)
        self.sigma = sigma

    def signal(self, x: Tensor) -> Tensor:
        return x / self.sigma

    def own_energy(self, x: Tensor, bias: Tensor) -> Tensor:
        return (x - bias).square().sum(-1) / (2 * self.sigma**2)

    def log_sum(self, field: Tensor, bias: Tensor, like: Tensor | None = None) -> Tensor:
        scale = self.size * math.log(self.sigma * math.sqrt(2 * math.pi))
        return (bias / self.sigma * field + field.square() / 2).sum(-1) + scale

    def mean(self, field: Tensor, bias: Tensor, like: Tensor | None = None) -> Tensor:
        return bias + self.sigma * field

    def sample(
        self,
        field: Tensor,
        bias: Tensor,
        generator: torch.Generator | None = None,
        like: Tensor | None = None,
    ) -> Tensor:
        return self.mean(field, bias) + self.sigma * torch.empty_like(field).normal_(generator=generator)


class Softmax(Units):
    """`positions` groups of `symbols` units each, one of which is on: texts, position by position."""

    def __init__(self, positions: int, symbols: int):
        super().__init__(positions * symbols)
        self.groups = (positions, symbols)

    def log_sum(self, field: Tensor, bias: Tensor, like: Tensor | None = None) -> Tensor:
        return (field + bias).unflatten(-1, self.groups).logsumexp(-1).sum(-1)

    def mean(self, field: Tensor, bias: Tensor, like: Tensor | None = None) -> Tensor:
        return (field + bias).unflatten(-1, self.groups).softmax(-1).flatten(-2)

    def sample(
        self,
        field: Tensor,
        bias: Tensor,
        generator: torch.Generator | None = None,
        like: Tensor | None = None,
    ) -> Tensor:
        # Gumbel's trick: the largest of logits with this noise is distributed as their softmax
        logits = (field + bias).unflatten(-1, self.groups)
        gumbel = -torch.empty_like(logits).exponential_(generator=generator).log()
        return functional.one_hot((logits + gumbel).argmax(-1), self.groups[1]).to(logits.dtype).flatten(-2)


class ReplicatedSoftmax(Units):
    """Counts of `size` kinds of words in documents (Salakhutdinov and Hinton 2009, "Replicated Softmax").

    A document of D words is D softmax units that share their weights; the bias of the hidden layer beside it
    counts D times.
    Sums over states are over sequences of words: a vector of counts is as many of them as their order allows.

    Args:
        size: kinds of words.
        words: the most in a document, and those of a document that resembles no other.
    """

    def __init__(self, size: int, words: int = 1):
        super().__init__(size)
        self.words = words

    def length(self, like: Tensor | None) -> Tensor | int:
        """(N,): the number of words in each document of `like`, or that of a new document."""
        return self.words if like is None else like.sum(-1)

    def log_sum(self, field: Tensor, bias: Tensor, like: Tensor | None = None) -> Tensor:
        return self.length(like) * (field + bias).logsumexp(-1)

    def mean(self, field: Tensor, bias: Tensor, like: Tensor | None = None) -> Tensor:
        length = self.length(like)
        return (field + bias).softmax(-1) * (length if isinstance(length, int) else length[:, None])

    def sample(
        self,
        field: Tensor,
        bias: Tensor,
        generator: torch.Generator | None = None,
        like: Tensor | None = None,
    ) -> Tensor:
        # `words` draws for each document, of which those past its own length are left out
        drawn = torch.multinomial((field + bias).softmax(-1), self.words, True, generator=generator)
        position = torch.arange(self.words, device=field.device).expand(len(field), -1)
        kept = position < (self.words if like is None else like.sum(-1, keepdim=True))
        return torch.zeros_like(field).scatter_add_(1, drawn, kept.to(field.dtype))
