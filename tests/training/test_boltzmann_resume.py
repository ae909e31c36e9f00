"""Machines are resumed to the bit: their persistent chains, and the last stages of deep ones."""

import pytest
import torch
from training_setup import make_batches, make_trainer

from models.conformance import TWO
from models.registry import MODELS
from models.settings import resolve


def made(name):
    entry = MODELS.get(name)
    sizes = {"first_size": 10, "second_size": 8, "joint_size": 12, "chain_steps": 4}
    settings = {
        "rbm": {"joint_size": 12, "training_chains": 5},
        "mdbn": {**sizes, "up_down_share": 0.5},
        "mdbm": {**sizes, "joint_share": 0.5, "training_chains": 5},
    }
    torch.manual_seed(1)
    return entry.model(TWO, resolve(entry.settings, settings[name], name))


@pytest.mark.parametrize("name", ["rbm", "mdbn", "mdbm"])
@pytest.mark.parametrize("at", [7, 15, 22], ids=["early", "where the last stage begins", "late"])
def test_training_goes_on_where_it_was(name, at, tmp_path):
    batches = make_batches()
    whole = make_trainer(made(name), batches, tmp_path / "whole")
    assert whole.run()
    broken = make_trainer(made(name), batches, tmp_path / "broken", stop=lambda: broken.step == at)
    assert not broken.run()
    torch.randn(17)  # whatever happens in between
    last = make_trainer(made(name), batches, tmp_path / "broken")
    assert last.run()
    assert last.history == whole.history
    chains = [key for key in whole.model.state_dict() if key.startswith("chains.")]
    assert len(chains) == {"rbm": 1, "mdbn": 0, "mdbm": 3}[name]
    for key, value in whole.model.state_dict().items():
        assert torch.equal(value, last.model.state_dict()[key]), key
