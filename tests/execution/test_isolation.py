"""Every run starts from the same state of the process; what a model leaves changed is put back and named."""

import gc
import io
import locale
import logging
import os
import random
import signal
import sys
import warnings

import numpy as np
import pytest
import torch

import metrics.frechet
from mmbench.execution.isolation import _STATES, same_state, seed_everything

CHANGES = {
    "torch's default dtype": lambda: torch.set_default_dtype(torch.float64),
    "torch's default device": lambda: torch.set_default_device("meta"),
    "gradients": lambda: torch.set_grad_enabled(False),
    "autocast": lambda: torch.autocast("cpu", torch.float16).__enter__(),
    "deterministic algorithms": lambda: torch.use_deterministic_algorithms(True, warn_only=True),
    "anomaly detection": lambda: torch.set_anomaly_enabled(True),
    "the precision of products": lambda: torch.set_float32_matmul_precision("medium"),
    "flags of cuDNN": lambda: setattr(torch.backends.cudnn, "benchmark", True),
    "flags of oneDNN": lambda: setattr(torch.backends.mkldnn, "enabled", False),
    "flushing of denormal numbers": lambda: torch.set_flush_denormal(True),
    "hooks on all modules": lambda: torch.nn.modules.module.register_module_forward_hook(lambda *_: None),
    "numpy's handling of floating-point errors": lambda: np.seterr(all="raise"),
    "how numpy prints": lambda: np.set_printoptions(precision=2),
    "warning filters": lambda: warnings.simplefilter("error"),
    "environment variables": lambda: os.environ.update(LEFT="here"),
    "the working directory": lambda: os.chdir("/"),
    "the umask": lambda: os.umask(0o7),
    "the locale": lambda: locale.setlocale(
        locale.LC_ALL, "C.UTF-8" if locale.setlocale(locale.LC_ALL) == "C" else "C"
    ),
    "sys.path": lambda: sys.path.insert(0, "/nowhere"),
    "the recursion limit": lambda: sys.setrecursionlimit(12345),
    "standard output": lambda: setattr(sys, "stdout", io.StringIO()),
    "logging": lambda: logging.disable(logging.CRITICAL),
    "garbage collection": gc.disable,
    "signal handlers": lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN),
}


def test_every_part_of_the_state_is_tried():
    assert {state.name for state in _STATES} == CHANGES.keys()


@pytest.mark.parametrize("state", _STATES, ids=lambda state: state.name)
def test_what_a_model_leaves_changed_is_put_back_and_named(state, monkeypatch):
    monkeypatch.delitem(sys.modules, "torch._inductor.compile_fx", raising=False)  # of a test before
    before, said = state.get(), []
    with same_state(said.append):
        CHANGES[state.name]()
        assert state.get() != before
    assert state.get() == before
    (line,) = said
    # torch imports more of itself for deterministic algorithms, which changes warning filters too
    names = line.removeprefix("the model's code has changed ").partition(": put back")[0].split(", ")
    assert state.name in names
    assert len(names) == 1 or state.name == "deterministic algorithms"


@pytest.mark.parametrize("state", [s for s in _STATES if s.decides], ids=lambda state: state.name)
def test_a_run_starts_with_the_usual_state_whatever_was_imported(state):
    """A plugin's import, or the code around this, may have changed it: no run depends on which came first."""
    usual, said = state.get(), []
    try:
        CHANGES[state.name]()
        changed = state.get()
        with same_state(said.append):
            assert state.get() == usual
        assert state.get() == changed
    finally:
        state.set(usual)
    assert said == []


def test_an_exception_leaves_nothing_behind():
    said = []

    def fail():
        torch.set_default_dtype(torch.float64)
        raise KeyError

    with pytest.raises(KeyError), same_state(said.append):
        fail()
    assert torch.get_default_dtype() == torch.float32
    assert "torch's default dtype" in said[0]


def test_replaced_functions_are_put_back_and_named():
    originals = torch.relu, torch.nn.Linear.forward, np.mean, metrics.frechet.frechet_distance
    said = []
    with same_state(said.append):
        torch.relu = np.mean = metrics.frechet.frechet_distance = None
        torch.nn.Linear.forward = lambda self, x: x
        torch.Tensor.sum = lambda self: 3  # hides the one of the class above
    assert (torch.relu, torch.nn.Linear.forward, np.mean, metrics.frechet.frechet_distance) == originals
    assert torch.ones(2).sum() == 2
    (line,) = said
    names = (
        "torch.relu",
        "Linear.forward",
        "Tensor.sum",
        "numpy.mean",
        "metrics.frechet.frechet_distance",
    )
    assert all(name in line for name in names)


def test_what_torch_wraps_itself_is_no_ones_fault():
    said = []
    with same_state(said.append):
        weight = torch.nn.Parameter(torch.zeros(2))
        optimizer = torch.optim.SGD([weight], lr=1.0)  # wraps its step when the first one is made
        weight.sum().backward()
        optimizer.step()
        torch.distributions.Normal(0.0, 1.0).sample()
    assert said == []


def test_what_the_compiler_changes_itself_is_no_ones_fault():
    before, said = (list(sys.path), dict(os.environ), sys.getrecursionlimit()), []
    with same_state(said.append):
        weight = torch.zeros(2, requires_grad=True)
        torch.compile(lambda x: (2 * x).sin().sum(), dynamic=False)(weight).backward()
    assert said == []
    assert (sys.path, dict(os.environ), sys.getrecursionlimit()) == before


def test_weights_that_autocast_has_cast_do_not_outlive_it():
    """A context that was never left keeps torch's cache of cast weights, for all that is trained after it."""

    def train():
        torch.manual_seed(0)
        layer, x = torch.nn.Linear(4, 1), torch.ones(8, 4)
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
        for _ in range(3):
            with torch.autocast("cpu", torch.bfloat16):
                loss = layer(x).float().square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return loss.item()

    alone = train()
    with same_state(lambda line: None), torch.inference_mode():  # to leave this turns autocast off, no more
        torch.autocast("cpu", torch.bfloat16).__enter__()
    assert train() == alone


def test_inference_mode_that_was_entered_and_never_left():
    with same_state(lambda line: None):
        mode = torch.inference_mode()
        mode.__enter__()
        assert torch.is_inference_mode_enabled()
    assert not torch.is_inference_mode_enabled()
    with same_state(lambda line: None):
        assert not torch.is_inference_mode_enabled()
    del mode


def test_random_generators_begin_with_the_seed_and_go_on_as_before():
    def draw():
        return torch.rand(1).item(), random.random(), np.random.rand()

    state = torch.get_rng_state(), random.getstate(), np.random.get_state()
    usual = draw()
    torch.set_rng_state(state[0])
    random.setstate(state[1])
    np.random.set_state(state[2])
    said, drawn = [], []
    for _ in range(2):
        with same_state(said.append):
            seed_everything(2**40 + 3)
            drawn.append(draw())
    assert drawn[0] == drawn[1]
    assert draw() == usual
    assert said == []
