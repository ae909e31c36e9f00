"""Partition functions: exact sums, annealed sampling from both sides, and a published RBM."""

import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from metrics.partition import (
    SCHEDULE,
    exact_log_partition,
    likelihood_bracket,
    log_partition,
    reverse_log_partition,
    schedule,
)
from models.boltzmann.annealing import AnnealingPath, base_rates
from models.boltzmann.dbm import DBM
from models.boltzmann.dbn import DBN
from models.boltzmann.rbm import RBM
from models.boltzmann.units import Bernoulli, Gaussian, ReplicatedSoftmax, Softmax

PUBLISHED = 451.28  # log Z in the paper
SHORT = schedule((0.5, 100), (0.9, 800), (1.0, 2_000))


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def random_(machine, scale=0.5, seed=0):
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in machine.parameters():
            parameter.normal_(std=scale)
    return machine


def exact(rbm, hidden):
    """log Z of an RBM by its hidden units, in float64, leaving it in float32."""
    value = exact_log_partition(rbm.double().free_energy_of_hidden, hidden)
    rbm.float()
    return value


@pytest.mark.parametrize(
    "visible",
    [Bernoulli(40), Gaussian(12, 0.9), Softmax(6, 4), ReplicatedSoftmax(9, words=5)],
    ids=lambda units: type(units).__name__,
)
def test_both_estimates_are_within_a_tenth_of_the_exact_value(visible):
    """AIS from below, reverse AIS from draws of the model from above; by enumeration of 10 hidden units."""
    rbm = random_(RBM(visible, 10), 0.3)
    truth = exact(rbm, 10)
    betas, path = schedule((1.0, 1_000)), rbm.path()
    forward = log_partition(path, betas, 200, seeded(1))
    draws = rbm.draw(200, 500, seeded(2))
    back = reverse_log_partition(path, {"visible": draws}, betas, seeded(3))
    assert forward.value == pytest.approx(truth, abs=0.1)
    assert back.value == pytest.approx(truth, abs=0.1)
    assert forward.low < truth < forward.high
    assert len(forward.chains) == len(back.chains) == 200


def test_either_side_gives_the_same_exact_value():
    rbm = random_(RBM(Bernoulli(12), 7)).double()
    by_visible = exact_log_partition(rbm.free_energy_of, 12)
    assert by_visible == pytest.approx(exact_log_partition(rbm.free_energy_of_hidden, 7), abs=1e-9)


def test_few_betas_make_the_bracket_wide_on_the_right_sides():
    """Of strong weights AIS is too low and reverse AIS too high; more betas bring them together."""
    rbm = random_(RBM(Bernoulli(30), 12), 1.2)
    truth = exact(rbm, 12)
    draws = rbm.draw(300, 2_000, seeded(5))
    gaps = []
    for count in (5, 500):
        betas = schedule((1.0, count))
        forward = log_partition(rbm.path(), betas, 300, seeded(1))
        back = reverse_log_partition(rbm.path(), {"visible": draws}, betas, seeded(2))
        assert float(forward.chains.mean()) < truth < back.value
        gaps.append(back.value - float(forward.chains.mean()))
    assert gaps[1] < gaps[0] / 5


def test_without_weights_annealing_is_exact():
    """log Z = H log 2 + sum softplus(c) for b = 0, whatever the schedule, the chains and the base."""
    rbm = RBM(Bernoulli(20), 8)
    with torch.no_grad():
        rbm.weight.zero_()
        rbm.visible_bias.normal_(generator=seeded())
    truth = 8 * math.log(2) + float(torch.nn.functional.softplus(rbm.visible_bias.detach().double()).sum())
    betas = schedule((1.0, 3))
    path = rbm.path(rbm.visible_bias.detach())  # the machine itself: all weights are equal
    forward = log_partition(path, betas, 5, seeded())
    assert forward.value == pytest.approx(truth, abs=1e-4)
    assert forward.chains.std() < 1e-4
    back = reverse_log_partition(path, {"visible": torch.ones(5, 20)}, betas, seeded())
    assert back.value == pytest.approx(truth, abs=1e-4)


def test_a_deep_machine_is_annealed_with_its_odd_layers_summed_out():
    """Against enumeration of its odd side, the first hidden layers and the joint one."""
    dbm = random_(DBM({"a": Bernoulli(6), "b": Gaussian(3)}, (4, 3), 3), 0.4)

    dbm.double()

    def of_odd(x):
        state = dict(zip(dbm.odd, x.split([dbm.units(name).size for name in dbm.odd], 1), strict=True))
        return dbm.free_energy(state, dbm.fields(state, dbm.even))

    truth = exact_log_partition(of_odd, 11)
    dbm.float()
    forward = log_partition(AnnealingPath(dbm), schedule((1.0, 1_000)), 200, seeded(1))
    assert forward.value == pytest.approx(truth, abs=0.1)


def test_the_bound_of_a_deep_belief_network_is_below_the_exact_likelihood():
    """The exact one by enumeration of both hidden layers; the bound is the mean of many draws."""
    dbn = random_(DBN({"v": Bernoulli(5)}, (4,), 3), 0.6)
    rbm = dbn.pathway("v")[0]
    v = torch.tensor([[1.0, 0, 1, 1, 0]])
    states = ((torch.arange(16)[:, None] & 2 ** torch.arange(4)) > 0).float()
    top = {"v/0": states}
    with torch.no_grad():
        log_f = -dbn.top.free_energy(top, dbn.top.fields(top, dbn.top.odd))
        below = rbm.log_prob({"visible": v.expand(16, -1)}, {"hidden": states})
    truth = float((log_f + below).logsumexp(0))
    draws = dbn.log_density_bound({"v": v.expand(4_000, -1)}, seeded())
    assert float(draws.mean()) < truth
    # importance weights: their mean is right, whatever their logarithms are on average
    assert float(draws.logsumexp(0)) - math.log(4_000) == pytest.approx(truth, abs=0.05)


def test_a_bracket_holds_the_exact_likelihood():
    rbm = random_(RBM(Bernoulli(20), 10), 0.5)
    truth = exact(rbm, 10)
    v = rbm.draw(500, 1_000, seeded(1))
    log_f = -rbm.free_energy_of(v).detach()
    betas = schedule((1.0, 300))
    forward = log_partition(rbm.path(), betas, 100, seeded(2))
    back = reverse_log_partition(rbm.path(), {"visible": v[:100]}, betas, seeded(3))
    bracket = likelihood_bracket(log_f, forward, back)
    mean = float(log_f.double().mean()) - truth
    assert bracket.low == pytest.approx(mean, abs=0.1)
    assert bracket.high == pytest.approx(mean, abs=0.1)
    assert bracket.low_error == pytest.approx(float(log_f.std()) / math.sqrt(500), rel=0.1)


def test_estimates_come_from_the_generator():
    rbm = random_(RBM(Bernoulli(10), 5))
    before = torch.get_rng_state()
    first, again, other = (
        log_partition(rbm.path(), schedule((1.0, 20)), 10, seeded(seed)) for seed in (0, 0, 1)
    )
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(first.chains, again.chains)
    assert not torch.equal(first.chains, other.chains)


@pytest.mark.parametrize("parts", [(), ((0.5, 3),), ((0.5, 3), (0.4, 2), (1.0, 2))], ids=str)
def test_a_schedule_must_rise_to_one(parts):
    with pytest.raises(ValueError, match="rises to 1"):
        schedule(*parts)


@pytest.fixture(scope="module")
def published():
    """The published RBM, its test images (10000, 784) and the path from its base-rate model.

    The file rbm_cd25_500.npz is looked for in MMBENCH_REFERENCE, and in the folder `reference` beside that of
    the data.
    """
    data = os.environ.get("MMBENCH_DATA")
    folder = os.environ.get("MMBENCH_REFERENCE") or (data and Path(data).parent / "reference")
    path = folder and Path(folder) / "rbm_cd25_500.npz"
    if not (path and path.exists()):
        pytest.skip("no rbm_cd25_500.npz: set MMBENCH_REFERENCE to the folder that holds it")
    with np.load(path) as arrays:
        found = {key: torch.from_numpy(arrays[key]) for key in ("weight", "visible_bias", "hidden_bias")}
        test = torch.from_numpy(np.unpackbits(arrays["test"], axis=1)[:, :784]).float()
        base = base_rates(torch.from_numpy(arrays["train_mean"]))
    rbm = RBM(Bernoulli(784), 500)
    with torch.no_grad():
        for key, value in found.items():
            getattr(rbm, key).copy_(value)
    return rbm, test, rbm.path(base)


def test_the_published_rbm_has_the_published_likelihood(published):
    rbm, test, _ = published
    log_f = -rbm.free_energy_of(test).detach()
    assert float(log_f.double().mean()) == pytest.approx(364.926, abs=0.001)
    assert float(log_f.double().mean()) - PUBLISHED == pytest.approx(-86.35, abs=0.05)


def test_a_short_look_at_the_published_rbm(published):
    """A fifth of the published schedule and half the chains: the bracket holds the published value."""
    _, test, path = published
    forward = log_partition(path, SHORT, 50, seeded(1))
    back = reverse_log_partition(path, {"visible": test[::200]}, SHORT, seeded(2))
    assert forward.value == pytest.approx(PUBLISHED, abs=1.0)
    assert float(forward.chains.mean()) < PUBLISHED < back.value
    assert back.value - float(forward.chains.mean()) < 6


@pytest.mark.slow
def test_annealing_the_published_rbm(published):
    """The published schedule and number of chains: log Z within 0.3 nats, a bracket 1.2 nats wide at most."""
    rbm, test, path = published
    forward = log_partition(path, SCHEDULE, 100, seeded(1))
    assert forward.value == pytest.approx(PUBLISHED, abs=0.3)
    assert forward.low < PUBLISHED < forward.high
    back = reverse_log_partition(path, {"visible": test[::100]}, SCHEDULE, seeded(2))
    bracket = likelihood_bracket(-rbm.free_energy_of(test).detach(), forward, back)
    assert bracket.low < bracket.high
    assert bracket.high - bracket.low < 1.2
    assert bracket.low < -86.34 + 3 * bracket.low_error
    assert bracket.high > -86.34 - 3 * bracket.high_error
