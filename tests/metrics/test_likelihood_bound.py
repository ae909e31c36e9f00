"""The bracket of a model's log-likelihood, against values that enumeration gives."""

import pytest
import torch
from evaluation_setup import TWO, TinyVAE, make_setup

from metrics.evaluation.evaluate import evaluate
from metrics.images import as_float
from metrics.missing import Lack
from metrics.partition import exact_log_partition
from models.boltzmann.dbm import JOINT
from models.registry import MODELS
from models.settings import resolve

SMALL = {"joint_size": 6}
DEEP = {**SMALL, "first_size": 5, "second_size": 4}


def made(name, settings):
    """A model with weights that matter, and statistics of the data that are not the initial ones."""
    entry = MODELS.get(name)
    torch.manual_seed(0)
    model = entry.model(TWO, resolve(entry.settings, settings, name))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.2)
    setup = make_setup()
    model.see({key: as_float(images) for key, (images, _) in setup["train"].items()})
    return model.eval(), setup


def bracket_of(model, setup):
    found = evaluate(model, **setup, metrics=["likelihood_bound"]).metrics
    return found["likelihood_bound_low"], found["likelihood_bound_high"]


def test_the_bracket_of_a_shallow_machine_holds_the_exact_value():
    """p(x) of binary pixels and colours in [0, 1], by enumeration of the hidden units: the standardisation
    counts.
    """
    model, setup = made("rbm", SMALL)
    low, high = bracket_of(model, setup)
    tuples = setup["tuples"]["a"]
    batch = {m.name: as_float(setup["test"][m.name][0][tuples[:, i]]) for i, m in enumerate(TWO)}
    states, _ = model.draw(batch, torch.Generator().manual_seed(0))
    machine = model.machine.double()

    def of_joint(h):
        return machine.free_energy({JOINT: h}, machine.fields({JOINT: h}, machine.even))

    log_z = exact_log_partition(of_joint, 6)
    state = machine.clamp({name: v.double() for name, v in states.items()})
    log_f = -machine.free_energy(state, machine.fields(state, machine.odd))
    statistics = model.of("b").standardisation
    exact = ((log_f - log_z).mean() - statistics.std.log().sum()).item()
    assert low == pytest.approx(exact, abs=0.3)
    assert high == pytest.approx(exact, abs=0.3)


@pytest.mark.parametrize("name", ["mdbn", "mdbm"])
def test_deep_machines_have_a_bracket(name):
    """Weak machines: both ends agree, and repeat to the bit."""
    model, setup = made(name, DEEP)
    low, high = bracket_of(model, setup)
    assert low == pytest.approx(high, abs=0.5)
    assert (low, high) == bracket_of(model, setup)


def test_other_models_have_none():
    found = evaluate(TinyVAE(), **make_setup(), metrics=["likelihood_bound"])
    assert found.metrics == {"likelihood_bound_low": None, "likelihood_bound_high": None}
    assert {missing.kind for missing in found.missing.values()} == {Lack.NOT_DEFINED}
