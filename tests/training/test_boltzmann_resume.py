"""Machines with persistent chains are resumed to the bit, the joint training of a deep one included."""

import pytest
import torch
from training_setup import make_batches, make_trainer

from models.conformance import TWO
from models.registry import MODELS
from models.settings import resolve


def made(name):
    entry = MODELS.get(name)
    small = {"joint_size": 12, "training_chains": 5, "chain_steps": 4}
    deep = {"first_size": 10, "second_size": 8, "joint_share": 0.5} if name == "mdbm" else {}
    torch.manual_seed(1)
    return entry.model(TWO, resolve(entry.settings, small | deep, name))


@pytest.mark.parametrize("name", ["rbm", "mdbm"])
@pytest.mark.parametrize("at", [7, 15, 22], ids=["early", "where the joint training begins", "late"])
def test_chains_go_on_where_they_were(name, at, tmp_path):
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
    assert len(chains) == (1 if name == "rbm" else 3)
    for key, value in whole.model.state_dict().items():
        assert torch.equal(value, last.model.state_dict()[key]), key
