"""The one orchestrator: it makes the references and then the runs, until all are made or a signal stops it.

`mmbench run`, `mmbench tune` and `mmbench evaluate` differ in the runs and in what is done with each.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from metrics.protocol import Protocol
from metrics.references.statistics import References
from mmbench.console import Console
from mmbench.data.base import MultimodalData
from mmbench.execution.cached_references import make_references
from mmbench.execution.executor import Executor, Lost, Work
from mmbench.execution.signals import Stop, StoppedError
from mmbench.plan.planned import PlannedRun
from mmbench.storage.locks import HeldError, give_up
from models.errors import InputError

__all__ = ["Assignment", "Outcome", "lost", "orchestrate"]


@dataclass(frozen=True)
class Assignment:
    """What a command has to make.

    Attributes:
        data: that all of its runs share.
        protocol, metrics, inception_weights: what decides the judges and the statistics of real images.
        device: of this process, which makes those.
        executor: where the runs are made.
        runs: called once the references are there; gives the runs in order, each when there is room for it.
        work: from the references to what makes a run.
    """

    data: MultimodalData
    protocol: Protocol
    metrics: frozenset[str]
    inception_weights: Path | None
    device: torch.device
    executor: Executor
    runs: Callable[[Stop], Iterable[PlannedRun]]
    work: Callable[[References], Work[PlannedRun]]


@dataclass(frozen=True)
class Outcome:
    """How it went.

    Attributes:
        failed: runs that failed.
        stopped_by: the signal that stopped the command, None where it came to its end.
    """

    failed: tuple[PlannedRun, ...] = ()
    stopped_by: int | None = None

    @property
    def exit_code(self) -> int:
        """0, 1 if a run failed, 128 + the signal's number if one stopped the command, as shells have it."""
        return int(bool(self.failed)) if self.stopped_by is None else 128 + self.stopped_by


def orchestrate(assignment: Assignment, console: Console) -> Outcome:
    """Make all runs of the assignment.

    Raises:
        InputError: for references that cannot be made, and whatever `assignment.runs` raises.
    """
    with Stop() as stop:
        try:
            references = make_references(
                assignment.data,
                assignment.protocol,
                assignment.metrics,
                assignment.inception_weights,
                assignment.device,
                console,
                stop.check,
            )
            work, lose = assignment.work(references), partial(lost, console.say)
            given: list[PlannedRun] = []
            failed = assignment.executor.execute(
                _noting(assignment.runs(stop), given), work, console, stop, lose
            )
            stop.check()
            failed += _unfinished(given, failed, lose)
        except StoppedError:
            console.say("Stopped. What is done is kept: the same command goes on from here.")
            return Outcome(stopped_by=stop.signal)
    return Outcome(tuple(failed))


def _noting(runs: Iterable[PlannedRun], given: list[PlannedRun]) -> Iterator[PlannedRun]:
    """The runs; each that was asked for is added to `given`."""
    for run in runs:
        given.append(run)
        yield run


def _unfinished(
    given: Sequence[PlannedRun], failed: Sequence[PlannedRun], lose: Lost
) -> Iterator[PlannedRun]:
    """The runs among `given` that an executor took for done while their folders do not say so."""
    known = {run.folder.path for run in failed}
    for run in given:
        if run.folder.path not in known and not _says_done(run):
            lose(run, "it ended as if it were done, and its status.json does not say so")
            yield run


def _says_done(run: PlannedRun) -> bool:
    try:
        return run.folder.status["state"] == "done"
    except InputError:  # there is no status that can be read
        return False


def lost(say: Callable[[str], object], run: PlannedRun, how: str, traceback: str | None = None) -> None:
    """Record the failure of a run whose process died before it could do so itself.

    Where it cannot be written down it is said: the next command finds the run running, and takes it up.
    """
    try:
        with suppress(HeldError), run.folder.lock(give_up, give_up):
            if run.folder.status["state"] != "done":
                error = f"{how}: the next run goes on from its last checkpoint"
                run.folder.set_status("failed", error=error, traceback=traceback)
    except InputError as error:
        say(f"{run.name}: {how}. {error}")
