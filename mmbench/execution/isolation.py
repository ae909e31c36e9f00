"""Every run starts from the same state of the process, whatever code of a model has run before it.

What a model leaves changed (torch's default dtype, warning filters, the environment, ...) is put back after
its run, and named: in a process of its own no other run would have seen it.
"""

import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import numpy as np
import torch

__all__ = ["same_state"]


class _State(NamedTuple):
    """A part of the process's state.

    Attributes:
        name: in words.
        get, set: read it, and put back what `get` gave.
        usual: what a run starts with; None for what it was before the run.
    """

    name: str
    get: Callable[[], Any]
    set: Callable[[Any], object]
    usual: Any = None


def _set_device(device: torch.device) -> None:
    """torch's default device; setting the CPU explicitly would slow every call of a factory function."""
    torch.set_default_device(None if device.type == "cpu" else device)


def _set_environment(variables: dict[str, str]) -> None:
    """The variables of the process, those that came in removed and those that went put back."""
    for name in os.environ.keys() - variables.keys():
        del os.environ[name]
    os.environ.update(variables)


def _set_filters(filters: list[Any]) -> None:
    """Python's warning filters."""
    warnings.filters[:] = filters  # type: ignore[index]  # a list, though typeshed promises a sequence only
    with suppress(AttributeError):  # forgets which warnings were shown under the other filters
        warnings._filters_mutated()  # type: ignore[attr-defined]


def _handlers() -> dict[int, Any]:
    """What handles the signals that stop a run."""
    numbers = [getattr(signal, name, None) for name in ("SIGINT", "SIGTERM", "SIGHUP")]
    return {number: signal.getsignal(number) for number in numbers if number is not None}


def _set_handlers(handlers: dict[int, Any]) -> None:
    """Put handlers back; only the main thread may, and only those that Python set can be."""
    if threading.current_thread() is threading.main_thread():
        for number, handler in handlers.items():
            if handler is not None:
                signal.signal(number, handler)


_STATES = (
    _State("torch's default dtype", torch.get_default_dtype, torch.set_default_dtype, torch.float32),
    _State("torch's default device", torch.get_default_device, _set_device, torch.device("cpu")),
    _State("gradients", torch.is_grad_enabled, torch.set_grad_enabled, True),
    _State(
        "deterministic algorithms",
        torch.are_deterministic_algorithms_enabled,
        torch.use_deterministic_algorithms,
    ),
    _State("anomaly detection", torch.is_anomaly_enabled, torch.set_anomaly_enabled, False),
    _State(
        "the precision of products", torch.get_float32_matmul_precision, torch.set_float32_matmul_precision
    ),
    _State("numpy's handling of floating-point errors", np.geterr, lambda found: np.seterr(**found)),
    _State("warning filters", lambda: list(warnings.filters), _set_filters),
    _State("environment variables", lambda: dict(os.environ), _set_environment),
    _State("the working directory", os.getcwd, os.chdir),
    _State("signal handlers", _handlers, _set_handlers),
)


@contextmanager
def same_state(say: Callable[[str], object]) -> Iterator[None]:
    """The block starts from the usual state, and the process is afterwards as it was before.

    Random generators are no part of it: a run seeds torch's itself.

    Args:
        say: told what the block has left changed.
    """
    before = {state.name: state.get() for state in _STATES}
    for state in _STATES:
        if state.usual is not None and before[state.name] != state.usual:
            state.set(state.usual)
    begun = {state.name: state.get() for state in _STATES}
    try:
        yield
    finally:
        changed = [state.name for state in _STATES if state.get() != begun[state.name]]
        for state in _STATES:
            if state.get() != before[state.name]:
                state.set(before[state.name])
        if changed:
            say(f"the model's code has changed {', '.join(changed)}: put back for what comes after it.")
