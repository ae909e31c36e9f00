"""What the nodes of a Ray cluster get: the class of the actors, what all runs share, and version checks."""

import warnings
from collections.abc import Mapping
from functools import cache
from importlib.metadata import packages_distributions, version
from typing import Any

import numpy as np
import ray
import torch
from ray.util import deregister_serializer, register_serializer

from mmbench.plan.environment import PACKAGES
from mmbench.plan.planned import PlannedRun

__all__ = ["host_class", "needed_versions", "share"]


def needed_versions(run: PlannedRun) -> dict[str, str]:
    """The packages that must be the same on a worker, with their versions here.

    They are this suite, the packages that decide its numbers, and those that the model is from.
    """
    entry = run.config.entry
    names = {"mmbench", *PACKAGES, *entry.packages}
    if entry.file is None:
        names |= set(_distributions().get(entry.model.__module__.partition(".")[0], ()))
    return {name: version(name) for name in sorted(names)}


@cache
def _distributions() -> Mapping[str, list[str]]:
    """Module -> the packages that it comes from."""
    return packages_distributions()


def share(work: Any) -> Any:
    """`work` in the object store, where the processes of a node read its tensors without copying them."""
    register_serializer(torch.Tensor, serializer=_as_array, deserializer=_as_tensor)
    try:
        return ray.put(work)
    finally:
        deregister_serializer(torch.Tensor)


def _as_array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy()


def _as_tensor(array: np.ndarray) -> torch.Tensor:
    with warnings.catch_warnings():
        # nor is anything that runs share written to
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)


def host_class() -> type:
    """The class of the actors.

    Made in a function, it reaches a node by value: it can say what is missing there, this suite included.
    """

    class Host:
        """Makes one run."""

        def begin(self, wanted: dict, code: str, run: bytes, files: dict, work: list, threads: int) -> tuple:
            """The name of the node, and why it cannot make the run, None if it can: then it has begun.

            What it raises passes, such as a full disk: the run may have better luck on another node.
            """
            import pickle
            import platform
            from importlib.metadata import PackageNotFoundError, version

            import ray

            node = f"{platform.node()} ({ray.util.get_node_ip_address()})"
            for name, here in wanted.items():
                try:
                    there = version(name)
                except PackageNotFoundError:
                    return node, f"it has no {name}, which is {here} on this machine."
                if there != here:
                    return node, f"it has {name} {there}, which is {here} on this machine."
            try:
                from mmbench.execution.remote import Session
                from mmbench.plan.environment import code_hash

                if code_hash() != code:
                    return (
                        node,
                        "its mmbench has other code than that of this machine, though the version is the "
                        "same.",
                    )
                own = pickle.loads(run)
            except BaseException as error:  # a model's module may raise anything
                return node, f"{type(error).__name__}: {error}."
            self.session = Session(own, files, ray.get(work[0]), threads)
            return node, None

        def news(self) -> list:
            return self.session.news()

        def stop(self) -> None:
            self.session.tell_to_stop()

    return Host
