"""Every run starts from the same state of the process, whatever code of a model has run before it.

What a model leaves changed (torch's default dtype, warning filters, the environment, ...) is put back after
its run, and named: in a process of its own no other run would have seen it.
"""

import gc
import locale
import logging
import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
import torch._dynamo  # here, as it sets a filter and a variable: else with the first optimizer of a model
from torch.nn.modules import module

from mmbench.execution.replaced import Functions
from mmbench.storage.files import umask

__all__ = ["same_state", "seed_everything"]


def seed_everything(seed: int) -> None:
    """Seed the generators that a model may draw from: torch's, and the global ones of Python and numpy."""
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)


class _State(NamedTuple):
    """A part of the process's state.

    Attributes:
        name: in words.
        get, set: read it, and put back what `get` gave.
        decides: whether numbers can depend on it: a run then starts with what there was when this module was
            imported, before any model was. With the others it starts with what was there before it.
    """

    name: str
    get: Callable[[], Any]
    set: Callable[[Any], object]
    decides: bool = True


def _flags(owner: object, *names: str) -> tuple[Callable[[], Any], Callable[[Any], object]]:
    """How several attributes of one object are read and set."""

    def put(values: tuple[Any, ...]) -> None:
        for name, value in zip(names, values, strict=True):
            setattr(owner, name, value)

    return lambda: tuple(getattr(owner, name) for name in names), put


def _set_device(device: torch.device) -> None:
    """torch's default device; setting the CPU explicitly would slow every call of a factory function."""
    torch.set_default_device(None if device.type == "cpu" else device)


def _deterministic() -> tuple[bool, bool]:
    return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()


def _set_deterministic(found: tuple[bool, bool]) -> None:
    torch.use_deterministic_algorithms(found[0], warn_only=found[1])


_DEVICES = ("cpu", "cuda")


def _autocast() -> tuple[Any, ...]:
    """Whether it is on, and how many contexts of it are open.

    A context that was entered and never left keeps torch from forgetting the weights that it has cast: each
    training after it would use weights of its first step.
    """
    torch.autocast_increment_nesting()
    depth = torch.autocast_decrement_nesting()
    kinds = ((torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)) for kind in _DEVICES)
    return depth, torch.is_autocast_cache_enabled(), *kinds


def _set_autocast(found: tuple[Any, ...]) -> None:
    """Put back what `_autocast` gave; contexts left open are closed without their objects."""
    depth, cached, *kinds = found
    for kind, (enabled, dtype) in zip(_DEVICES, kinds, strict=True):
        torch.set_autocast_enabled(kind, enabled)
        torch.set_autocast_dtype(kind, dtype)
    torch.set_autocast_cache_enabled(cached)
    while (now := _autocast()[0]) != depth:
        (torch.autocast_decrement_nesting if now > depth else torch.autocast_increment_nesting)()
    torch.clear_autocast_cache()


def _flushes_denormals() -> bool:
    """Of this thread; torch can only be told, not asked."""
    return not (torch.full((1,), 1e-40, dtype=torch.float32, device="cpu") * 1.0).item()


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


def _folder() -> str | None:
    """The working directory; None where it was deleted."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        return None


def _set_folder(folder: str | None) -> None:
    if folder is not None:
        os.chdir(folder)


def _set_locale(found: str) -> None:
    locale.setlocale(locale.LC_ALL, found)


def _set_path(folders: list[str]) -> None:
    sys.path[:] = folders


def _logging() -> tuple[Any, ...]:
    root = logging.getLogger()
    return root.manager.disable, root.level, tuple(root.handlers)


def _set_logging(found: tuple[Any, ...]) -> None:
    root = logging.getLogger()
    logging.disable(found[0])
    root.setLevel(found[1])
    root.handlers[:] = found[2]


def _handlers() -> dict[int, Any]:
    """What handles the signals that stop a run, and an alarm."""
    names = ("SIGINT", "SIGTERM", "SIGHUP", "SIGALRM")
    return {number: signal.getsignal(number) for name in names if (number := getattr(signal, name, None))}


def _set_handlers(handlers: dict[int, Any]) -> None:
    """Put handlers back; only the main thread may, and only those that Python set can be."""
    if threading.current_thread() is threading.main_thread():
        for number, handler in handlers.items():
            if handler is not None:
                signal.signal(number, handler)


def _set_collecting(on: bool) -> None:
    (gc.enable if on else gc.disable)()


_HOOKS = (module._global_forward_hooks, module._global_forward_pre_hooks, module._global_backward_hooks)


def _hooks() -> tuple[Any, ...]:
    return tuple(dict(hooks) for hooks in _HOOKS)


def _set_hooks(found: tuple[Any, ...]) -> None:
    for hooks, kept in zip(_HOOKS, found, strict=True):
        hooks.clear()
        hooks.update(kept)


_STATES = (
    _State("torch's default dtype", torch.get_default_dtype, torch.set_default_dtype),
    _State("torch's default device", torch.get_default_device, _set_device),
    _State("gradients", torch.is_grad_enabled, torch.set_grad_enabled),
    _State("autocast", _autocast, _set_autocast),
    _State("deterministic algorithms", _deterministic, _set_deterministic),
    _State("anomaly detection", torch.is_anomaly_enabled, torch.set_anomaly_enabled),
    _State(
        "the precision of products", torch.get_float32_matmul_precision, torch.set_float32_matmul_precision
    ),
    _State(
        "flags of cuDNN",
        *_flags(torch.backends.cudnn, "enabled", "benchmark", "deterministic", "allow_tf32"),
    ),
    _State("flags of oneDNN", *_flags(torch.backends.mkldnn, "enabled")),
    _State("flushing of denormal numbers", _flushes_denormals, torch.set_flush_denormal),
    _State("hooks on all modules", _hooks, _set_hooks),
    _State("numpy's handling of floating-point errors", np.geterr, lambda found: np.seterr(**found)),
    _State(
        "how numpy prints", np.get_printoptions, lambda found: np.set_printoptions(**found), decides=False
    ),
    _State("warning filters", lambda: list(warnings.filters), _set_filters, decides=False),
    _State("environment variables", lambda: dict(os.environ), _set_environment, decides=False),
    _State("the working directory", _folder, _set_folder, decides=False),
    _State("the umask", umask, os.umask, decides=False),
    _State("the locale", partial(locale.setlocale, locale.LC_ALL), _set_locale, decides=False),
    _State("sys.path", lambda: list(sys.path), _set_path, decides=False),
    _State("the recursion limit", sys.getrecursionlimit, sys.setrecursionlimit, decides=False),
    _State("standard output", *_flags(sys, "stdout", "stderr"), decides=False),
    _State("logging", _logging, _set_logging, decides=False),
    _State("garbage collection", gc.isenabled, _set_collecting, decides=False),
    _State("signal handlers", _handlers, _set_handlers, decides=False),
)

# changed by torch.compile on its own account, which is nothing to tell of a model
_COMPILER_SETS = ("environment variables", "sys.path", "the recursion limit")

_AT_FIRST = {state.name: state.get() for state in _STATES if state.decides}


@contextmanager
def same_state(say: Callable[[str], object]) -> Iterator[None]:
    """The block starts from the usual state, and the process is afterwards as it was before.

    So are the random generators of torch, Python and numpy, though a block may draw from them: nothing is
    said of that.

    Args:
        say: told what the block has left changed.
    """
    with torch.inference_mode(False):  # the outermost: to leave it turns gradients back to what they were
        before = {state.name: state.get() for state in _STATES}
        drawn = torch.get_rng_state(), random.getstate(), np.random.get_state()
        functions = Functions()
        for state in _STATES:
            if state.decides and before[state.name] != _AT_FIRST[state.name]:
                state.set(_AT_FIRST[state.name])
        begun = {state.name: state.get() for state in _STATES}
        try:
            yield
        finally:
            changed = functions.put_back()  # first: the rest is done with functions of torch and numpy
            changed += [state.name for state in _STATES if state.get() != begun[state.name]]
            for state in _STATES:
                if state.get() != before[state.name]:
                    state.set(before[state.name])
            torch.set_rng_state(drawn[0])
            random.setstate(drawn[1])
            np.random.set_state(drawn[2])
            if "torch._inductor.compile_fx" in sys.modules:
                changed = [name for name in changed if name not in _COMPILER_SETS]
            if changed:
                say(f"the model's code has changed {', '.join(changed)}: put back for what comes after it.")
