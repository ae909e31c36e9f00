"""Executors: where runs are made. One after another in this process, or several at once, each in a process of its own."""

import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing import parent_process
from typing import Any, Generic, TypeVar

import torch
import torch.multiprocessing

from mmbench.console import Console, Task
from mmbench.signals import Stop, StoppedError

__all__ = ["Work", "default_jobs", "execute"]

RunT = TypeVar("RunT")
POLL_SECONDS = 0.2  # between two looks at the worker processes
UPDATE_SECONDS = 0.5  # between two messages of one task

Work = Callable[[RunT, Console, Stop], bool]
"""Makes one run; False if it failed. Picklable, and what it holds reaches a worker through shared memory."""


def default_jobs(runs: int, device: torch.device) -> int:
    """One process on an accelerator; on processors one for each physical core that there is a run for."""
    return max(1, min(runs, torch.get_num_threads())) if device.type == "cpu" else 1


def execute(runs: Sequence[RunT], work: Work[RunT], jobs: int, console: Console, stop: Stop, lost: Callable[[RunT, str], None]) -> list[RunT]:
    """Make all runs, `jobs` at a time; those that failed.

    Args:
        runs: in the order in which they start.
        work: makes one.
        jobs: 1 makes them in this process; more start a process for each run, with its share of the threads.
        console: shows all of them.
        stop: once it holds a signal, nothing new starts, what runs is told to stop, and StoppedError is raised.
        lost: called with a run whose process died, and how.
    """
    if jobs == 1:
        return [run for run in runs if not work(run, console, stop)]
    return _Workers(work, jobs, console, stop, lost).execute(runs)


@dataclass
class _Worker(Generic[RunT]):
    run: RunT
    process: Any
    told: bool = False  # to stop


class _Workers(Generic[RunT]):
    """Starts a process per run, shows what they report, and looks after them until the last has ended."""

    def __init__(self, work: Work[RunT], jobs: int, console: Console, stop: Stop, lost: Callable[[RunT, str], None]):
        self.work, self.jobs, self.console, self.stop, self.lost = work, jobs, console, stop, lost
        self.threads = max(1, torch.get_num_threads() // jobs)
        self.context = torch.multiprocessing.get_context("spawn")
        self.messages = self.context.Queue()
        self.shown: dict[tuple[int, int], tuple[ExitStack, Task]] = {}

    def execute(self, runs: Sequence[RunT]) -> list[RunT]:
        waiting, failed = list(runs), []
        working: list[_Worker[RunT]] = []
        stopped = False
        try:
            while waiting or working:
                while waiting and len(working) < self.jobs and self.stop.signal is None:
                    working.append(self._start(waiting.pop(0)))
                self._relay()
                for worker in working:
                    if self.stop.signal is not None and not worker.told:
                        worker.process.terminate()  # SIGTERM: write a checkpoint and leave
                        worker.told = True
                for worker in [each for each in working if not each.process.is_alive()]:
                    working.remove(worker)
                    worker.process.join()
                    stopped |= worker.process.exitcode == _STOPPED
                    if worker.process.exitcode not in (0, _STOPPED):
                        failed.append(worker.run)
                    if worker.process.exitcode not in (0, _STOPPED, _FAILED):
                        self.lost(worker.run, _death(worker.process.exitcode))
                if self.stop.signal is not None and not working:
                    break
            self._relay()
        finally:
            for worker in working:
                worker.process.kill()
            for stack, _ in self.shown.values():
                stack.close()
        if stopped or (waiting and self.stop.signal is not None):
            raise StoppedError
        return failed

    def _start(self, run: RunT) -> _Worker[RunT]:
        process = self.context.Process(target=_work, args=(self.work, run, self.messages, self.threads), daemon=True)
        process.start()
        return _Worker(run, process)

    def _relay(self) -> None:
        """Show what the workers said since the last look, waiting a moment for the first of it."""
        wait = POLL_SECONDS
        while True:
            try:
                kind, key, *rest = self.messages.get(timeout=wait)
            except queue.Empty:
                return
            wait = 0.0
            if kind == "say":
                self.console.say(*rest)
            elif kind == "open":
                stack = ExitStack()
                self.shown[key] = stack, stack.enter_context(self.console.task(*rest))
            elif kind == "update":
                self.shown[key][1].update(*rest)
            else:
                self.shown.pop(key)[0].close()


_FAILED, _STOPPED = 1, 3  # exit codes of a worker whose run failed, or was stopped


def _death(code: int) -> str:
    return f"its process was killed by {signal.Signals(-code).name}" if code < 0 else f"its process ended with exit code {code}"


def _work(work: Work[RunT], run: RunT, messages: Any, threads: int) -> None:
    """The main function of a worker process."""
    torch.set_num_threads(threads)
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    with Stop() as stop:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which then sends SIGTERM
        try:
            done = work(run, _RemoteConsole(messages), stop)
            code = 0 if done else _FAILED
        except StoppedError:
            code = _STOPPED
    messages.close()
    messages.join_thread()
    raise SystemExit(code)


def _leave_with_parent() -> None:
    """Stop, with a checkpoint, if the parent dies without having said so."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


class _RemoteTask(Task):
    """A task of a worker, shown by the parent."""

    def __init__(self, name: str, total: int, messages: Any, key: tuple[int, int]):
        super().__init__(name, total)
        self.messages, self.key, self.sent = messages, key, float("-inf")

    def show(self, done: int, note: str) -> None:
        now = time.monotonic()
        if now - self.sent >= UPDATE_SECONDS:
            self.sent = now
            self.messages.put(("update", self.key, done, note))


class _RemoteConsole(Console):
    """A worker's console: everything goes to the parent."""

    def __init__(self, messages: Any):
        super().__init__()
        self.messages, self.count = messages, 0

    def say(self, line: str) -> None:
        self.messages.put(("say", None, line))

    @contextmanager
    def task(self, name: str, total: int) -> Iterator[Task]:
        self.count += 1
        key = (os.getpid(), self.count)
        self.messages.put(("open", key, name, total))
        try:
            yield _RemoteTask(name, total, self.messages, key)
        finally:
            self.messages.put(("close", key))
