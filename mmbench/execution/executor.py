"""Executors: where runs are made. What every one of them offers, and which one a job gets."""

import shutil
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol, TypeVar

import torch

from mmbench.console import Console
from mmbench.data.base import MultimodalData
from mmbench.execution.signals import Stop
from mmbench.plan.config import RunConfig
from mmbench.plan.job import Execution
from mmbench.plan.planned import PlannedRun
from models.errors import InputError

__all__ = [
    "DONE",
    "FAILED",
    "RAISED",
    "STOPPED",
    "DeviceLostError",
    "Executor",
    "Lost",
    "Work",
    "default_jobs",
    "pick_executor",
]

RunT = TypeVar("RunT")

DONE, FAILED, STOPPED, RAISED = "done", "failed", "stopped", "raised"
"""How a run ends in another process: done, failed or stopped, or with an exception that nobody caught."""

Work = Callable[[RunT, Console, Stop], bool]
"""Makes one run; False if it failed. Picklable: the tensors that it holds reach a worker in shared memory."""

Lost = Callable[..., None]
"""Called with a run whose process died before it could record its failure, how it died, and a traceback."""


class DeviceLostError(InputError):
    """A failure has left the GPU so that no run can go on in this process."""


class Executor(Protocol):
    """Where runs are made.

    Attributes:
        jobs: runs made at once.
        threads: of torch, for each of them.
        place: in words, after "on".
        apart: whether runs are made in processes of their own, whose rates do not hang on each other's.
    """

    @property
    def jobs(self) -> int: ...
    @property
    def threads(self) -> int: ...
    @property
    def place(self) -> str: ...
    @property
    def apart(self) -> bool: ...

    def execute(
        self, runs: Iterable[PlannedRun], work: Work[PlannedRun], console: Console, stop: Stop, lost: Lost
    ) -> list[PlannedRun]:
        """Make all runs; those that failed.

        Args:
            runs: in the order in which they start; each is asked for when there is room for it.
            work: makes one.
            console: shows all of them.
            stop: once it holds a signal, nothing new starts, what runs is told to stop, and StoppedError is
                raised.
            lost: called with a run that was lost.
        """


def pick_executor(
    execution: Execution, runs: int, config: RunConfig, data: MultimodalData, say: Callable[[str], object]
) -> Executor:
    """The executor that a job asks for.

    Args:
        execution: of the job.
        runs: how many there are to make.
        config: of one of them, for a measurement on a GPU.
        data: that all of them read.
        say: told where the machine has less room than was asked for.

    Raises:
        InputError: without Ray, and for a cluster that cannot be reached or has no node for a run.
    """
    from mmbench.execution.local import Local

    if execution.cluster:
        if find_spec("ray") is None:
            raise InputError(
                "--executor ray needs the package ray: install the extra with pip install 'mmbench[ray]'."
            )
        from mmbench.execution.ray_executor import RayExecutor  # an extra, imported when it is needed

        return RayExecutor(execution.cluster, execution.jobs)
    step = execution.step_of(config.training.steps)
    if execution.device.type == "cuda" and step != "eager":
        from mmbench.execution.rate import best_jobs
        from mmbench.execution.together import Together

        jobs = execution.jobs or best_jobs(config, data, execution.device, step, runs)
        return Together(jobs, execution.device) if jobs > 1 else Local(1, execution.device, runs)
    jobs = execution.jobs or default_jobs(runs, execution.device)
    if jobs > 1 and not _shared_memory_holds(data.nbytes):
        say(
            f"Shared memory (/dev/shm) has too little room for the data of {jobs} processes: one run at a "
            "time."
        )
        jobs = 1
    return Local(jobs, execution.device, runs)


def default_jobs(runs: int, device: torch.device) -> int:
    """One on a GPU that runs do not share in turns; on a CPU one for each core that there is a run for."""
    return max(1, min(runs, torch.get_num_threads())) if device.type == "cpu" else 1


def _shared_memory_holds(size: int) -> bool:
    """Whether `size` bytes fit into shared memory with room to spare; containers often have little."""
    folder = Path("/dev/shm")
    return not folder.exists() or shutil.disk_usage(folder).free > 2 * size
