"""Machines against brute force and each other: free energies, gradients, sides, mean field, special cases."""

import itertools
import math

import pytest
import torch

from metrics.partition import exact_log_partition
from models.boltzmann.dbm import DBM, JOINT
from models.boltzmann.machine import BoltzmannMachine
from models.boltzmann.rbm import RBM
from models.boltzmann.units import Bernoulli, Gaussian, ReplicatedSoftmax, Softmax


def random_(machine, scale=0.7, seed=0):
    """The machine in float64 with weights and biases of that scale."""
    torch.manual_seed(seed)
    machine = machine.double()
    with torch.no_grad():
        for parameter in machine.parameters():
            parameter.normal_(std=scale)
    return machine


def binary(size):
    """(2^size, size): all binary states."""
    return torch.tensor(list(itertools.product((0.0, 1.0), repeat=size)), dtype=torch.float64)


def test_the_free_energy_sums_the_hidden_units_out():
    """By brute force over h, from both sides; E is the spec's."""
    rbm = random_(RBM(Bernoulli(4), 3))
    v, h = binary(4), binary(3)
    energy = -(v @ rbm.weight @ h.T) - (v @ rbm.visible_bias)[:, None] - h @ rbm.hidden_bias
    torch.testing.assert_close(rbm.free_energy_of(v), -(-energy).logsumexp(1))
    torch.testing.assert_close(rbm.free_energy_of_hidden(h), -(-energy).logsumexp(0))
    joint = (-energy).flatten().softmax(0).unflatten(0, energy.shape)
    torch.testing.assert_close(rbm.hidden_means(v), joint @ h / joint.sum(1, keepdim=True))
    torch.testing.assert_close(rbm.visible_means(h), joint.T @ v / joint.sum(0)[:, None])


@pytest.mark.parametrize(
    "visible",
    [Bernoulli(5), Gaussian(5, 0.8), Softmax(1, 5), ReplicatedSoftmax(5, 7)],
    ids=lambda u: type(u).__name__,
)
def test_gradients_of_free_energies_are_finite_differences(visible):
    rbm = random_(RBM(visible, 4))
    v = torch.tensor([[0.0, 1, 3, 2, 1], [1, 0, 0, 0, 0]], dtype=torch.float64)
    rbm.free_energy_of(v).sum().backward()
    for parameter in rbm.parameters():
        flat, gradient = parameter.data.view(-1), parameter.grad.view(-1)
        for i in range(len(flat)):
            values = []
            for step in (1e-6, -1e-6):
                flat[i] += step
                values.append(float(rbm.free_energy_of(v).detach().sum()))
                flat[i] -= step
            assert (values[0] - values[1]) / 2e-6 == pytest.approx(float(gradient[i]), abs=1e-6)


def test_the_hidden_bias_counts_once_for_each_word():
    """E = -v'Wh - c'v - D b'h, by brute force over h."""
    rbm = random_(RBM(ReplicatedSoftmax(4, words=6), 3))
    v, h = torch.tensor([[2.0, 0, 3, 1], [0, 1, 0, 0]], dtype=torch.float64), binary(3)
    length = v.sum(1, keepdim=True)
    energy = -(v @ rbm.weight @ h.T) - (v @ rbm.visible_bias)[:, None] - length * (h @ rbm.hidden_bias)
    torch.testing.assert_close(rbm.free_energy_of(v), -(-energy).logsumexp(1))


def test_replicated_softmax_of_one_word_is_a_softmax_rbm():
    documents = random_(RBM(ReplicatedSoftmax(5, words=1), 4))
    softmax = random_(RBM(Softmax(1, 5), 4))
    v = torch.eye(5, dtype=torch.float64)
    assert torch.equal(documents.free_energy_of(v), softmax.free_energy_of(v))
    h = binary(4)
    torch.testing.assert_close(documents.visible_means(h), softmax.visible_means(h))
    for rbm in (documents, softmax):
        total = (-rbm.free_energy_of(v)).logsumexp(0).item()
        assert total == pytest.approx(exact_log_partition(rbm.free_energy_of_hidden, 4), abs=1e-10)


def test_a_dbm_without_upper_weights_is_an_rbm():
    """log f differs by the hidden units that hang in the air; so does log Z, and p(v) is the same."""
    rbm = random_(RBM(Bernoulli(6), 4))
    dbm = random_(DBM({"v": Bernoulli(6)}, [4], 5))
    with torch.no_grad():
        dbm.weights["v/0-v/1"].copy_(rbm.weight)
        dbm.units("v/0").bias.copy_(rbm.visible_bias)
        dbm.units("v/1").bias.copy_(rbm.hidden_bias)
        dbm.weights["v/1-joint"].zero_()
        dbm.units(JOINT).bias.zero_()
    v = binary(6)
    bound = dbm.log_density_bound({"v/0": v}, 3)
    torch.testing.assert_close(bound, 5 * math.log(2) - rbm.free_energy_of(v))

    def without_hidden(h):
        return dbm.free_energy({"v/1": h}, dbm.fields({"v/1": h}, dbm.even))

    log_z = exact_log_partition(without_hidden, 4)
    assert log_z == pytest.approx(5 * math.log(2) + exact_log_partition(rbm.free_energy_of, 6), abs=1e-10)


@pytest.mark.parametrize("hidden", [(), (3,), (3, 2)], ids=["restricted", "one layer", "two layers"])
def test_the_bound_of_a_deep_machine_is_below_the_exact_density(hidden):
    """By brute force over all hidden layers; equal in a restricted machine."""
    dbm = random_(DBM({"a": Bernoulli(3), "b": Softmax(1, 3)}, hidden, 2), scale=1.0)
    visible = {
        "a/0": torch.tensor([[1.0, 0, 1]], dtype=torch.float64),
        "b/0": torch.eye(3, dtype=torch.float64)[:1],
    }
    layers = [name for name in dbm.layers if name not in visible]
    sizes = [dbm.units(name).size for name in layers]
    states = binary(sum(sizes))
    full = dict(zip(layers, states.split(sizes, 1), strict=True))
    full |= {name: x.expand(len(states), -1) for name, x in visible.items()}
    energy = -sum((full[name] @ dbm.units(name).bias for name in full), torch.zeros(()))
    for key, weight in dbm.weights.items():
        lower, upper = key.split("-")
        energy = energy - ((full[lower] @ weight) * full[upper]).sum(1)
    exact = float((-energy).logsumexp(0))
    bound = float(dbm.log_density_bound(visible, 60))
    assert bound <= exact + 1e-9
    assert bound == pytest.approx(exact, abs=1e-9 if not hidden else 0.7)


def test_sides_and_the_layers_that_are_doubled():
    dbm = DBM({"a": Bernoulli(3), "b": Gaussian(4)}, (5, 6), 7)
    assert set(dbm.even) == {"a/0", "b/0", "a/2", "b/2"}
    assert set(dbm.odd) == {"a/1", "b/1", JOINT}
    assert dbm.copies(0) == {"a/0": 2, "b/0": 2}
    assert dbm.copies(1) == {"a/1": 2, "b/1": 2, "a/2": 2, "b/2": 2}
    assert dbm.copies(2) == {JOINT: 2}
    assert DBM({"a": Bernoulli(3)}, (), 4).copies(0) == {}
    units = {name: Bernoulli(2) for name in "abc"}
    with pytest.raises(ValueError, match="on one side"):
        BoltzmannMachine(units, [("a", "b"), ("b", "c"), ("a", "c")])


def test_gibbs_sampling_finds_the_exact_distribution():
    """The frequencies of all 16 visible states within five standard errors of their probabilities."""
    rbm = random_(RBM(Bernoulli(4), 3))
    v = binary(4)
    p = (-rbm.free_energy_of(v)).softmax(0)
    drawn = rbm.draw(20_000, 30, torch.Generator().manual_seed(0))
    counts = (drawn @ torch.tensor([8.0, 4, 2, 1], dtype=torch.float64)).long().bincount(minlength=16)
    error = (p * (1 - p) / 20_000).sqrt()
    assert ((counts / 20_000 - p).abs() < 5 * error).all()


@pytest.mark.parametrize("hidden", [(), (5,), (5, 6)], ids=["restricted", "one layer", "two layers"])
def test_what_is_missing_is_inferred_and_what_is_observed_stays(hidden):
    dbm = random_(DBM({"a": Bernoulli(3), "b": Bernoulli(4)}, hidden, 7))
    a = binary(3)
    drawn = dbm.infer({"a/0": a}, 5, torch.Generator().manual_seed(0))
    for state in (dbm.mean_field({"a/0": a}, 5), dbm.infer({"a/0": a}, 5), drawn):
        assert set(state) == set(dbm.layers)
        assert torch.equal(state["a/0"], a)
        assert state["b/0"].shape == (8, 4)
    assert set(drawn[JOINT].unique().tolist()) == {0, 1}


def test_inference_in_a_restricted_machine_is_mean_field():
    """There every hidden layer hears from one side only: nothing is doubled."""
    dbm = random_(DBM({"a": Bernoulli(3), "b": Softmax(2, 3)}, (), 7))
    clamped = {"a/0": binary(3)}
    for found, expected in zip(
        dbm.infer(clamped, 9).values(), dbm.mean_field(clamped, 9).values(), strict=True
    ):
        torch.testing.assert_close(found, expected)


def test_predictions_learn_what_modalities_share():
    """Two modalities that are copies of each other: the loss falls to nothing."""
    torch.manual_seed(0)
    dbm = DBM({"a": Bernoulli(4), "b": Bernoulli(4)}, (), 8)
    bits = (torch.rand(500, 1) < 0.5).float().expand(-1, 4)
    optimizer = torch.optim.Adam(dbm.parameters(), lr=0.05)
    for _ in range(150):
        loss = dbm.prediction_loss({"a/0": bits, "b/0": bits}, 2)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.2 < 8 * math.log(2)


def test_mean_field_is_a_fixed_point():
    dbm = random_(DBM({"a": Bernoulli(3), "b": Bernoulli(4)}, (5, 6), 7))
    clamped = {"a/0": binary(3)}
    state = dbm.mean_field(clamped, 200)
    for layer in dbm.layers:
        if layer not in clamped:
            found = dbm.means(dbm.fields(state, [layer]), state)[layer]
            torch.testing.assert_close(found, state[layer], atol=1e-5, rtol=0)
