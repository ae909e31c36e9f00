"""The cluster that makes the runs of a job, and what each run gets there, from the options of a command."""

from dataclasses import dataclass

import torch

from models.errors import InputError, suggest

__all__ = ["Cluster", "pick_cluster"]

EXECUTORS = ("local", "ray")


@dataclass(frozen=True)
class Cluster:
    """A Ray cluster, in the place of this machine.

    Attributes:
        address: of Ray; "auto" for the cluster that this machine belongs to.
        cpus, gpus: that a run takes of its node; without a GPU it is made on processors.
    """

    address: str
    cpus: int
    gpus: float

    def device(self, name: str) -> torch.device:
        """What runs are made on there; InputError where `name` says otherwise."""
        kind = "cuda" if self.gpus else "cpu"
        if name not in ("auto", kind):
            raise InputError(
                f"--device {name} is not what runs get on the cluster: leave it out, and choose with "
                "--gpus-per-run."
            )
        return torch.device(kind)


def pick_cluster(executor: str, address: str | None, cpus: int | None, gpus: float | None) -> Cluster | None:
    """The cluster that options of `mmbench run` describe, None where runs are made on this machine.

    Raises:
        InputError: for the first option that is not usable.
    """
    if executor not in EXECUTORS:
        raise InputError(f"Unknown executor {executor!r}: {suggest(executor, EXECUTORS)}")
    options = {"--ray-address": address, "--cpus-per-run": cpus, "--gpus-per-run": gpus}
    if executor == "local":
        if given := [option for option, value in options.items() if value is not None]:
            raise InputError(f"{given[0]} is for a cluster: add --executor ray, or leave it out.")
        return None
    if cpus is not None and cpus < 1:
        raise InputError(f"--cpus-per-run {cpus} is not usable: expected a whole number, at least 1.")
    if gpus is not None and not 0 <= gpus <= 1:
        raise InputError(
            f"--gpus-per-run {gpus:g} is not usable: a run takes one GPU, or a share between 0 and 1 of one."
        )
    return Cluster(address or "auto", cpus or 1, gpus or 0.0)
