"""Runs on this machine: one after another in this process, or several at once in processes of their own."""

import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import connection, parent_process, resource_tracker
from typing import Any, Generic, TypeVar

import torch
import torch.multiprocessing

from mmbench.console import Console
from mmbench.execution.executor import DONE, FAILED, STOPPED, DeviceLostError, Lost, Work
from mmbench.execution.relay import UPDATE_SECONDS, Relay, RemoteConsole
from mmbench.execution.signals import STOPPING, Stop, StoppedError
from mmbench.plan.planned import PlannedRun
from mmbench.streams import keep_streams
from models.errors import error_words

__all__ = ["Local", "execute", "in_processes"]

RunT = TypeVar("RunT")
END = "end"  # of a worker's messages: how its run ended
LINGER_SECONDS = 10.0  # that a process has to end after it said how its run did


@dataclass(frozen=True)
class Local:
    """Processes on this machine; see Executor.

    Attributes:
        jobs: runs made at once.
        device: of them.
        runs: how many there are to make: fewer than `jobs` share the cores among themselves.
    """

    jobs: int
    device: torch.device
    runs: int

    @property
    def threads(self) -> int:
        return max(1, torch.get_num_threads() // max(1, min(self.jobs, self.runs)))

    @property
    def place(self) -> str:
        return str(self.device)

    @property
    def apart(self) -> bool:
        return self.jobs > 1

    def execute(
        self, runs: Iterable[PlannedRun], work: Work[PlannedRun], console: Console, stop: Stop, lost: Lost
    ) -> list[PlannedRun]:
        return execute(runs, work, self.jobs, console, stop, lost)


def execute(
    runs: Iterable[RunT],
    work: Work[RunT],
    jobs: int,
    console: Console,
    stop: Stop,
    lost: Lost,
) -> list[RunT]:
    """Make all runs, `jobs` at a time; those that failed.

    Args:
        runs: in the order in which they start; each is asked for when there is a process for it.
        work: makes one.
        jobs: 1 makes them in this process; more start a process for each run, with its share of the threads.
        console: shows all of them.
        stop: once it holds a signal, nothing new starts, what runs is told to stop, and StoppedError is
            raised.
        lost: called with a run whose process could not start or died, and how.
    """
    if jobs == 1:
        return [run for run in runs if not work(run, console, stop)]
    return in_processes(runs, work, jobs, console, stop, lost)


def in_processes(
    runs: Iterable[RunT],
    work: Work[RunT],
    jobs: int,
    console: Console,
    stop: Stop,
    lost: Lost,
) -> list[RunT]:
    """As `execute`, always with a process for each run: whatever ends it ends none of the others."""
    return _Workers(work, jobs, console, stop, lost).execute(runs)


@dataclass
class _Worker(Generic[RunT]):
    """A run and the process that makes it.

    Attributes:
        pipe: that the process reports through.
        relay: shows what it reports.
        told: whether it was told to stop.
        closed: whether the pipe has ended. The process takes a while to end after that, in which the pipe
            would wake the parent again and again.
        how: the run ended, as the process said at the end: DONE, FAILED or STOPPED; None where it said
            nothing, whatever its exit code.
        ended: when it said so.
    """

    run: RunT
    process: Any
    pipe: Any
    relay: Relay
    told: bool = False
    closed: bool = False
    how: str | None = None
    ended: float | None = None


class _Workers(Generic[RunT]):
    """Starts a process per run, shows what they report, and looks after them until the last has ended."""

    def __init__(self, work: Work[RunT], jobs: int, console: Console, stop: Stop, lost: Lost):
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
                    w.pipe for w in self.working if not w.closed
                ]
                connection.wait(waited, timeout=UPDATE_SECONDS)
                for worker in list(self.working):
                    self._relay(worker)
                    if not worker.process.is_alive():
                        self._end(worker)
                    elif worker.ended is not None and time.monotonic() - worker.ended > LINGER_SECONDS:
                        worker.process.kill()  # a thread that a model has left would hold it for ever
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
        """Start the process of a run; for want of memory or files, say, it cannot, and the run has failed."""
        receiver, sender = self.context.Pipe(duplex=False)
        process = self.context.Process(target=_work, args=(self.work, run, sender, self.threads), daemon=True)
        problem = None
        try:
            with _interrupts_held_back():
                process.start()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # what a model does when it is pickled is its author's too
            problem = f"its process could not start ({error_words(error)})"
        sender.close()  # the worker has its own end: when it dies, the pipe ends
        if problem is not None:
            receiver.close()  # first: too many open files may be the reason, and to write it down takes some
            self.failed.append(run)
            self.lost(run, problem)
            return
        self.working.append(_Worker(run, process, receiver, Relay(self.console)))

    def _relay(self, worker: _Worker[RunT]) -> None:
        """Show what a worker has said since the last look."""
        try:
            while worker.pipe.poll():
                message = worker.pipe.recv()
                if message[0] == END:
                    worker.how, worker.ended = message[1], time.monotonic()
                else:
                    worker.relay.show(message)
        except (EOFError, OSError):  # the end, or half a message of a process that was killed
            worker.closed = True

    def _end(self, worker: _Worker[RunT]) -> None:
        """A worker has ended: its run is done, stopped or failed if it said so, and lost otherwise."""
        self._relay(worker)
        self.working.remove(worker)
        worker.process.join()
        _close(worker)
        code = worker.process.exitcode
        stopping = self.stop.signal is not None
        if stopping and (worker.how == STOPPED or -code in STOPPING):
            self.stopped = True
        elif worker.how != DONE:
            self.failed.append(worker.run)
            if worker.how == STOPPED:
                self.lost(worker.run, "its process was told to stop by a signal")
            elif worker.how is None:
                killed = f"was killed by {signal.Signals(-code).name}" if code < 0 else ""
                self.lost(worker.run, f"its process {killed or f'ended with exit code {code}'}")


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Processes that start inside of the block do not hear Ctrl-C.

    It reaches the parent alone, once the block has ended, and the parent tells its workers.
    """
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
    keep_streams()
    torch.set_num_threads(threads)

    def send(message: tuple[Any, ...]) -> None:
        # the parent is gone: nobody reads, and this process is about to be told to stop
        with suppress(OSError):
            pipe.send(message)

    threading.Thread(target=_leave_with_parent, daemon=True).start()
    with Stop(patient=True) as stop:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            how = DONE if work(run, RemoteConsole(send), stop) else FAILED
        except DeviceLostError:  # for this process alone, and the run's folder says why
            how = FAILED
        except StoppedError:
            how = STOPPED
        send((END, how))
        pipe.close()


def _leave_with_parent() -> None:
    """Stop, with a checkpoint, if the parent dies without having said so."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
