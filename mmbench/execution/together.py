"""Several runs at once in this process: each in a thread, on a GPU each on a stream of its own.

One run is too small to fill a large GPU. A recorded step (`mmbench.training.recorded`) is launched at once
and computed later, so that a host which launches a step of every run in turn has the GPU compute them side
by side. Data and judges are there once.

One thread at a time has the turn. It hands it on where its run asks whether to stop: after every step, and
between two batches of an evaluation. Between two questions a run has the process to itself, random generators
included, so that neither mmbench nor a model has to know of threads.
"""

import random
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import torch

from mmbench.console import Console
from mmbench.execution.executor import DeviceLostError, Lost, Work
from mmbench.execution.relay import UPDATE_SECONDS
from mmbench.execution.signals import Stop, StoppedError
from mmbench.execution.threads import computing_threads
from mmbench.plan.planned import PlannedRun
from models.errors import error_words

__all__ = ["Together", "take_turns"]

RunT = TypeVar("RunT")


@dataclass(frozen=True)
class Together:
    """Threads that take turns; see Executor."""

    jobs: int
    device: torch.device

    @property
    def threads(self) -> int:
        return torch.get_num_threads()

    @property
    def place(self) -> str:
        return str(self.device)

    @property
    def apart(self) -> bool:
        return False

    def execute(
        self, runs: Iterable[PlannedRun], work: Work[PlannedRun], console: Console, stop: Stop, lost: Lost
    ) -> list[PlannedRun]:
        return take_turns(runs, work, self.jobs, self.device, console, stop, lost)


def take_turns(
    runs: Iterable[RunT],
    work: Work[RunT],
    jobs: int,
    device: torch.device,
    console: Console,
    stop: Stop,
    lost: Lost,
) -> list[RunT]:
    """Make all runs, `jobs` of them in turns; those that failed. The arguments are those of an Executor."""
    return _Group(iter(runs), work, jobs, device, console, stop, lost).execute()


class _Group(Generic[RunT]):
    """The threads, which take runs from one iterator until it is exhausted.

    Attributes:
        turns: whose it is.
        abandoned: whether runs are to leave at once, without a checkpoint.
    """

    def __init__(
        self,
        waiting: Iterator[RunT],
        work: Work[RunT],
        jobs: int,
        device: torch.device,
        console: Console,
        stop: Stop,
        lost: Lost,
    ):
        self.waiting, self.work, self.device = waiting, work, device
        self.console, self.stop, self.lost = console, stop, lost
        self.turns = _Turns(jobs)
        self.failed: list[RunT] = []
        self.abandoned = self.exhausted = self.stopped = False
        self.error: BaseException | None = None  # of the plan, or of a thread

    def execute(self) -> list[RunT]:
        before = _RandomStates(self.device)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)  # judges were made on a stream that the runs do not wait for
        threads = [
            threading.Thread(target=self._take_part, args=(number,), daemon=True)
            for number in range(len(self.turns.gates))
        ]
        with computing_threads(torch.get_num_threads()):
            try:
                for thread in threads:
                    thread.start()
                for thread in threads:
                    while thread.is_alive():  # a signal that reaches another thread ends no wait of this one
                        thread.join(UPDATE_SECONDS)
            finally:
                self.abandoned = True  # only after an exception, a second Ctrl-C for one
        before.put_back()
        if self.error is not None:
            raise self.error
        if self.stopped or not self.exhausted:
            raise StoppedError
        return self.failed

    def _take_part(self, number: int) -> None:
        """The main function of a thread."""
        self.turns.gates[number].acquire()
        try:
            with _own_place(self.device):
                while (run := self._next()) is not None:
                    self._make(run)
        except BaseException as error:  # of the plan: raised again once the runs under way have ended
            self.error = error
        finally:
            self.turns.leave()

    def _next(self) -> RunT | None:
        """The run to begin with now; None where nothing more is to begin."""
        if self.stop.signal is not None or self.stopped or self.abandoned or self.error is not None:
            return None
        try:
            return next(self.waiting)
        except StopIteration:
            self.exhausted = True
            return None

    def _make(self, run: RunT) -> None:
        """Make a run; whatever it raises is its own failure."""
        try:
            if not self.work(run, self.console, _Turn(self)):
                self.failed.append(run)
        except StoppedError:
            self.stopped = True
        except DeviceLostError:
            self.failed.append(run)
            raise
        except BaseException as error:
            self.failed.append(run)
            if not self.abandoned:
                self.lost(run, f"its thread ended ({error_words(error)})")


class _Turn(Stop):
    """What a run asks whether it is to stop: the others have their turn before it is told."""

    def __init__(self, group: _Group[Any]):
        super().__init__()
        self.group = group

    def asked(self) -> bool:
        self.group.turns.hand_on(self.group.device)
        self.signal = self.group.stop.signal
        if self.group.abandoned:
            raise KeyboardInterrupt(self.signal)
        return super().asked()


class _Turns:
    """Members in a circle, of which the first has the turn.

    Attributes:
        gates: of the members; whoever has the turn has passed theirs.
    """

    def __init__(self, members: int):
        self.gates = [threading.Lock() for _ in range(members)]
        self.circle = deque(range(members))
        for gate in self.gates[1:]:
            gate.acquire()

    def hand_on(self, device: torch.device) -> None:
        """Let all others have a turn; the random generators are then as they were."""
        if len(self.circle) == 1:
            return
        mine = self.circle[0]
        drawn = _RandomStates(device)
        self.circle.rotate(-1)
        self.gates[self.circle[0]].release()
        self.gates[mine].acquire()
        drawn.put_back()

    def leave(self) -> None:
        """Hand on the turn for good."""
        self.circle.popleft()
        if self.circle:
            self.gates[self.circle[0]].release()


class _RandomStates:
    """The states of torch's, Python's and numpy's global generators, as they are now.

    A GPU's is not copied but exchanged: a recorded step draws from the one that it was recorded with.
    """

    def __init__(self, device: torch.device):
        self.torch, self.python, self.numpy = torch.get_rng_state(), random.getstate(), np.random.get_state()
        self.generator = _generator(device)
        self.cuda = self.generator.graphsafe_get_state() if self.generator is not None else None

    def put_back(self) -> None:
        torch.set_rng_state(self.torch)
        random.setstate(self.python)
        np.random.set_state(self.numpy)
        if self.generator is not None and self.cuda is not None:
            self.generator.graphsafe_set_state(self.cuda)


def _generator(device: torch.device) -> torch.Generator | None:
    """The generator that models draw from on an NVIDIA GPU."""
    if device.type != "cuda":
        return None
    index = torch.cuda.current_device() if device.index is None else device.index
    return torch.cuda.default_generators[index]


def _own_place(device: torch.device) -> AbstractContextManager[object]:
    """On a GPU a stream, and from here on random numbers, that no other thread uses; nothing elsewhere."""
    generator = _generator(device)
    if generator is None:
        return nullcontext()
    generator.graphsafe_set_state(generator.clone_state())
    return torch.cuda.stream(torch.cuda.Stream(device))
