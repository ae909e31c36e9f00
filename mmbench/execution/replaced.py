"""Functions of torch, numpy and this suite that somebody's code has replaced by its own."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

__all__ = ["Functions"]

_MODULES = (torch, torch.nn, torch.nn.functional, torch.nn.init, torch.optim, torch.distributions, np)
_OURS = ("models", "metrics", "mmbench")
_CHANGEABLE = 1 << 9  # a flag of a class whose attributes can be set
_TORCH = str(Path(torch.__file__).parent)


class Functions:
    """What stands under the names of modules and their classes now; of the suite, those imported by now."""

    def __init__(self) -> None:
        ours = [module for name, module in list(sys.modules.items()) if name.partition(".")[0] in _OURS]
        self._found = [(owner, _callables(owner)) for owner in _owners([*_MODULES, *ours])]

    def put_back(self) -> list[str]:
        """Undo every replacement since then; what was replaced, as "torch.relu"."""
        replaced = []
        for owner, before in self._found:
            now = _callables(owner)
            hidden = {name for name in now.keys() - before.keys() if _inherits(owner, name)}
            for name in sorted({name for name in before if now.get(name) is not before[name]} | hidden):
                if not _is_of_torch(now.get(name)):
                    replaced.append(f"{owner.__name__}.{name}")
                    if name in hidden:
                        delattr(owner, name)
                    else:
                        setattr(owner, name, before[name])
        return replaced


def _owners(modules: Iterable[Any]) -> Iterator[Any]:
    """The modules, and the classes in them that are written in Python: others keep their methods."""
    seen: set[int] = set()
    for module in modules:
        yield module
        for value in list(vars(module).values()):
            if isinstance(value, type) and value.__flags__ & _CHANGEABLE and id(value) not in seen:
                seen.add(id(value))
                yield value


def _callables(owner: Any) -> dict[str, Any]:
    return {name: value for name, value in list(vars(owner).items()) if callable(value)}


def _inherits(owner: Any, name: str) -> bool:
    """Whether a name in a class hides one of a class above it."""
    return isinstance(owner, type) and any(name in vars(base) for base in owner.__mro__[1:])


def _is_of_torch(value: Any) -> bool:
    """Whether torch itself has put it there: it wraps some methods when they are first needed.

    And one of its classes depends on the default dtype.
    """
    if isinstance(value, type):
        return value.__module__.partition(".")[0] == "torch"
    code = getattr(value, "__code__", None)
    return code is not None and code.co_filename.startswith(_TORCH)
