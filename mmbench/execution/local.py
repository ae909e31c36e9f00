"""Executors: where runs are made. On this machine one after another, or several at once, each in a process of its own; or on a Ray cluster."""

import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from multiprocessing import connection, parent_process, resource_tracker
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch
import torch.multiprocessing

from mmbench.console import Console
from mmbench.execution.making import Run
from mmbench.execution.relay import UPDATE_SECONDS, Relay, RemoteConsole
from mmbench.execution.signals import Stop, StoppedError
from mmbench.plan.job import Job
from models.errors import InputError

__all__ = ["Executor", "Local", "Work", "default_jobs", "execute", "pick_executor"]

RunT = TypeVar("RunT")
FAILED, STOPPED = (
    4,
    3,
)  # exit codes of a worker whose run failed and says so in its folder, or was stopped; 1 is any other exception

Work = Callable[[RunT, Console, Stop], bool]
"""Makes one run; False if it failed. Picklable, and the tensors that it holds reach a worker through shared memory."""


class Executor(Protocol):
    """Where runs are made.

    Attributes:
        jobs: runs made at once.
        threads: of torch, for each of them.
        place: in words, after "on".
    """

    @property
    def jobs(self) -> int: ...
    @property
    def threads(self) -> int: ...
    @property
    def place(self) -> str: ...

    def execute(
        self, runs: Iterable[Run], work: Work[Run], console: Console, stop: Stop, lost: Callable[..., None]
    ) -> list[Run]:
        """Make all runs; those that failed. As the function `execute`; `lost` may be given a traceback after its two arguments."""


@dataclass(frozen=True)
class Local:
    """Processes on this machine; see Executor."""

    jobs: int
    device: torch.device

    @property
    def threads(self) -> int:
        return max(1, torch.get_num_threads() // self.jobs)

    @property
    def place(self) -> str:
        return str(self.device)

    def execute(
        self, runs: Iterable[Run], work: Work[Run], console: Console, stop: Stop, lost: Callable[..., None]
    ) -> list[Run]:
        return execute(runs, work, self.jobs, console, stop, lost)


def pick_executor(job: Job, runs: int, size: int, say: Callable[[str], object]) -> Executor:
    """The executor that `job` asks for.

    Args:
        runs: how many there are to make.
        size: bytes of the data that all of them read.
        say: told where the machine has less room than was asked for.

    Raises:
        InputError: without Ray, and for a cluster that cannot be reached or has no node for a run.
    """
    if job.cluster:
        if find_spec("ray") is None:
            raise InputError(
                "--executor ray needs the package ray: install the extra with pip install 'mmbench[ray]'."
            )
        from mmbench.execution.ray_executor import RayExecutor  # an extra, imported when it is needed

        return RayExecutor(job.cluster, job.jobs)
    jobs = job.jobs or default_jobs(runs, job.device)
    if jobs > 1 and not _shared_memory_holds(size):
        say(
            f"Shared memory (/dev/shm) has too little room for the data of {jobs} processes: one run at a time."
        )
        jobs = 1
    return Local(jobs, job.device)


def default_jobs(runs: int, device: torch.device) -> int:
    """One process on an accelerator; on processors one for each physical core that there is a run for."""
    return max(1, min(runs, torch.get_num_threads())) if device.type == "cpu" else 1


def _shared_memory_holds(size: int) -> bool:
    """Whether `size` bytes fit into the machine's shared memory with room to spare; containers often have little."""
    folder = Path("/dev/shm")
    return not folder.exists() or shutil.disk_usage(folder).free > 2 * size


def execute(
    runs: Iterable[RunT],
    work: Work[RunT],
    jobs: int,
    console: Console,
    stop: Stop,
    lost: Callable[[RunT, str], None],
) -> list[RunT]:
    """Make all runs, `jobs` at a time; those that failed.

    Args:
        runs: in the order in which they start; each is asked for when there is a process for it.
        work: makes one.
        jobs: 1 makes them in this process; more start a process for each run, with its share of the threads.
        console: shows all of them.
        stop: once it holds a signal, nothing new starts, what runs is told to stop, and StoppedError is raised.
        lost: called with a run whose process could not start or died, and how.
    """
    if jobs == 1:
        return [run for run in runs if not work(run, console, stop)]
    return _Workers(work, jobs, console, stop, lost).execute(runs)


@dataclass
class _Worker(Generic[RunT]):
    """A run, its process, the pipe that it reports through, and what shows that."""

    run: RunT
    process: Any
    pipe: Any
    relay: Relay
    told: bool = False  # to stop
    ended: bool = False  # its pipe: a process takes a while to end after that, in which the pipe would wake the parent again and again


class _Workers(Generic[RunT]):
    """Starts a process per run, shows what they report, and looks after them until the last has ended."""

    def __init__(
        self, work: Work[RunT], jobs: int, console: Console, stop: Stop, lost: Callable[[RunT, str], None]
    ):
        self.work, self.jobs, self.console, self.stop, self.lost = work, jobs, console, stop, lost
        self.threads = max(1, torch.get_num_threads() // jobs)
        self.context = torch.multiprocessing.get_context("spawn")
        self.working: list[_Worker[RunT]] = []
        self.failed: list[RunT] = []
        self.stopped = self.exhausted = False

    def execute(self, runs: Iterable[RunT]) -> list[RunT]:
        waiting = iter(runs)
        try:
            while self._fill(waiting) or self.working:
                waited = [w.process.sentinel for w in self.working] + [
                    w.pipe for w in self.working if not w.ended
                ]
                connection.wait(waited, timeout=UPDATE_SECONDS)
                for worker in list(self.working):
                    self._relay(worker)
                    if not worker.process.is_alive():
                        self._end(worker)
                    elif self.stop.signal is not None and not worker.told:
                        worker.process.terminate()  # SIGTERM: write a checkpoint and leave
                        worker.told = True
        finally:
            for worker in self.working:  # only after an exception, a second Ctrl-C for one
                worker.process.kill()
                worker.process.join()
                _close(worker)
        if self.stopped or not self.exhausted:
            raise StoppedError
        return self.failed

    def _fill(self, waiting: Iterator[RunT]) -> bool:
        """Start runs until all processes have one; False where nothing more is to start."""
        while len(self.working) < self.jobs and not self.exhausted and self.stop.signal is None:
            try:
                self._start(next(waiting))
            except StopIteration:
                self.exhausted = True
        return not self.exhausted and self.stop.signal is None

    def _start(self, run: RunT) -> None:
        receiver, sender = self.context.Pipe(duplex=False)
        process = self.context.Process(target=_work, args=(self.work, run, sender, self.threads), daemon=True)
        try:
            with _interrupts_held_back():
                process.start()
        except Exception as error:  # what cannot be pickled, no memory, no processes: this run's failure
            self.failed.append(run)
            self.lost(run, f"its process could not start ({type(error).__name__}: {error})")
            return
        finally:
            sender.close()  # the worker has its own end: when it dies, the pipe ends
        self.working.append(_Worker(run, process, receiver, Relay(self.console)))

    def _relay(self, worker: _Worker[RunT]) -> None:
        """Show what a worker has said since the last look."""
        try:
            while worker.pipe.poll():
                worker.relay.show(worker.pipe.recv())
        except (EOFError, OSError):  # the end, or half a message of a process that was killed
            worker.ended = True

    def _end(self, worker: _Worker[RunT]) -> None:
        """A worker has ended: by its exit code its run is done, stopped, failed or lost."""
        self._relay(worker)
        self.working.remove(worker)
        worker.process.join()
        _close(worker)
        code = worker.process.exitcode
        if self.stop.signal is not None and code in (STOPPED, -signal.SIGTERM, -signal.SIGINT):
            self.stopped = True
        elif code != 0:
            self.failed.append(worker.run)
            if code != FAILED:
                how = (
                    f"was killed by {signal.Signals(-code).name}"
                    if code < 0
                    else f"ended with exit code {code}"
                )
                self.lost(
                    worker.run,
                    "its process was told to stop by a signal" if code == STOPPED else f"its process {how}",
                )


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Processes that start inside are deaf to Ctrl-C: it reaches the parent alone, which tells its workers, and which hears it afterwards."""
    if hasattr(signal, "pthread_sigmask"):
        resource_tracker.ensure_running()  # the first process would start it otherwise, which unblocks Ctrl-C
        usual = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, usual)
    else:  # Windows: one that comes meanwhile is lost
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)


def _close(worker: _Worker[Any]) -> None:
    worker.pipe.close()
    worker.relay.close()


def _work(work: Work[RunT], run: RunT, pipe: Any, threads: int) -> None:
    """The main function of a worker process."""
    torch.set_num_threads(threads)

    def send(message: tuple[Any, ...]) -> None:
        with suppress(
            OSError
        ):  # the parent is gone: nobody reads, and this process is about to be told to stop
            pipe.send(message)

    threading.Thread(target=_leave_with_parent, daemon=True).start()
    with Stop(patient=True) as stop:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            code = 0 if work(run, RemoteConsole(send), stop) else FAILED
        except StoppedError:
            code = STOPPED
        pipe.close()
        raise SystemExit(code)


def _leave_with_parent() -> None:
    """Stop, with a checkpoint, if the parent dies without having said so."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
