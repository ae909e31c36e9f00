"""Units of Boltzmann machines: sums over states by brute force, moments of samples, the Gaussian energy."""

import itertools
import math

import pytest
import torch

from models.boltzmann.units import Bernoulli, Gaussian, ReplicatedSoftmax, Softmax


def states_of(units):
    """All states of a few discrete units: for documents, all sequences of words, as counts."""
    if isinstance(units, Bernoulli):
        return torch.tensor(list(itertools.product((0.0, 1.0), repeat=units.size)))
    words = torch.eye(units.groups[1] if isinstance(units, Softmax) else units.size)
    if isinstance(units, Softmax):
        return torch.stack([torch.cat(rows) for rows in itertools.product(words, repeat=units.groups[0])])
    return torch.stack([torch.stack(rows).sum(0) for rows in itertools.product(words, repeat=units.words)])


def made(units, seed=0):
    torch.manual_seed(seed)
    with torch.no_grad():
        units.bias.normal_()
    return units, torch.randn(1, units.size)


DISCRETE = [Bernoulli(5), Softmax(2, 3), ReplicatedSoftmax(3, words=4)]
ALL = [*DISCRETE, Gaussian(4, sigma=0.7)]


@pytest.mark.parametrize("units", DISCRETE, ids=lambda u: type(u).__name__)
def test_sums_and_means_are_those_over_all_states(units):
    units, field = made(units)
    states = states_of(units)
    logits = units.signal(states) @ field[0] - units.own_energy(states, units.bias)
    torch.testing.assert_close(units.log_sum(field, units.bias)[0], logits.logsumexp(0))
    torch.testing.assert_close(units.mean(field, units.bias)[0], logits.softmax(0) @ states)
    every = units.log_prob(states, field.expand(len(states), -1), units.bias)
    torch.testing.assert_close(every.exp().sum(), torch.tensor(1.0))


def test_gaussian_units_have_the_conditional_of_the_energy():
    """The integral by quadrature, and v given h from N(c + sigma f, sigma^2)."""
    units, field = made(Gaussian(1, sigma=0.7).double())
    field, v = field.double(), torch.linspace(-15, 15, 60_001, dtype=torch.float64)[:, None]
    logits = units.signal(v) @ field[0] - units.own_energy(v, units.bias)
    total = logits.logsumexp(0) + math.log(v[1, 0] - v[0, 0])
    torch.testing.assert_close(units.log_sum(field, units.bias)[0], total)
    torch.testing.assert_close((logits.softmax(0) @ v)[0], units.mean(field, units.bias)[0, 0])
    torch.testing.assert_close(units.mean(field, units.bias), units.bias + 0.7 * field)
    density = torch.distributions.Normal(units.bias + 0.7 * field, 0.7)
    torch.testing.assert_close(units.log_prob(v, field, units.bias), density.log_prob(v).sum(-1))


@pytest.mark.parametrize("units", ALL, ids=lambda u: type(u).__name__)
def test_samples_have_the_means_and_come_from_the_generator(units):
    units, field = made(units)
    n = 40_000
    before = torch.get_rng_state()
    drawn = units.sample(field.expand(n, -1), units.bias, torch.Generator().manual_seed(1))
    assert torch.equal(before, torch.get_rng_state())
    error = drawn.std(0) / math.sqrt(n)
    assert ((drawn.mean(0) - units.mean(field, units.bias)[0]).abs() < 5 * error).all()
    again = units.sample(field.expand(n, -1), units.bias, torch.Generator().manual_seed(1))
    assert torch.equal(drawn, again)


def test_documents_keep_their_number_of_words():
    units, field = made(ReplicatedSoftmax(6, words=9))
    like = torch.tensor([[2.0, 0, 1, 0, 0, 0], [0, 0, 0, 0, 0, 9.0], [0, 0, 0, 0, 0, 0]])
    drawn = units.sample(field.expand(3, -1), units.bias, torch.Generator().manual_seed(0), like)
    assert drawn.sum(1).tolist() == [3, 9, 0]
    torch.testing.assert_close(units.mean(field.expand(3, -1), units.bias, like).sum(1), like.sum(1))


def test_a_document_of_one_word_is_a_softmax_unit():
    document, field = made(ReplicatedSoftmax(5))
    softmax, _ = made(Softmax(1, 5))
    torch.testing.assert_close(document.log_sum(field, document.bias), softmax.log_sum(field, softmax.bias))
    torch.testing.assert_close(document.mean(field, document.bias), softmax.mean(field, softmax.bias))


@pytest.mark.parametrize("units", ALL, ids=lambda u: type(u).__name__)
def test_noise_knows_nothing_of_the_bias(units):
    noise = units.noise(5, torch.Generator().manual_seed(0))
    with torch.no_grad():
        units.bias.fill_(3.0)
    assert noise.shape == (5, units.size)
    assert torch.equal(noise, units.noise(5, torch.Generator().manual_seed(0)))
