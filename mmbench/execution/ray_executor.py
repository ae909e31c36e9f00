"""Runs on a Ray cluster: an actor per run, on a node that has room; its files come back as it writes them.

Nodes share nothing but the network. The data and the judges go into Ray's object store once; a worker makes
its run in a scratch folder (see remote.py), and this process, which holds the run's lock, puts what it writes
into the results folder. A run whose worker is lost goes on elsewhere from what has arrived.
"""

import json
import logging
import pickle
import socket
import time
import traceback
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayError

from mmbench.console import Console
from mmbench.execution.executor import DONE, RAISED, STOPPED, Lost, Work
from mmbench.execution.ray_nodes import host_class, needed_versions, share
from mmbench.execution.relay import UPDATE_SECONDS, Relay
from mmbench.execution.remote import file_names
from mmbench.execution.signals import Stop, StoppedError
from mmbench.plan.cluster import Cluster
from mmbench.plan.environment import code_hash
from mmbench.plan.planned import PlannedRun
from mmbench.storage.archives import read_torch
from mmbench.storage.files import WriteError, write_atomically
from mmbench.storage.locks import HeldError, give_up
from mmbench.training.checkpoints import previous_path
from models.errors import InputError

__all__ = ["RayExecutor"]

ANSWER_SECONDS = 10.0  # for an address to answer, with which Ray alone has minutes of patience
RETRIES = 3  # of a run whose worker is lost, until its checkpoint is of a later step than at the last loss
PATIENCE = 60.0  # seconds until a run without a worker is mentioned


class RayExecutor:
    """See Executor.

    Args:
        cluster: where it is, and what a run takes of it.
        jobs: runs at once; None for as many as there is room for, nodes that join later included.

    Raises:
        InputError: for a cluster that cannot be reached, or without a node for a run.
    """

    def __init__(self, cluster: Cluster, jobs: int | None):
        self.cluster, self.wanted = cluster, jobs
        _connect(cluster.address)
        if not (jobs or self._room()):
            gpus = f" and {cluster.gpus:g} GPUs" if cluster.gpus else ""
            raise InputError(
                f"No node of the Ray cluster has {cluster.cpus} processors{gpus} for a run: change "
                "--cpus-per-run or --gpus-per-run, "
                "or say with --jobs how many runs to ask for at once where the cluster grows on demand."
            )

    @property
    def jobs(self) -> int:
        return self.wanted or max(1, self._room())

    @property
    def threads(self) -> int:
        return self.cluster.cpus

    @property
    def place(self) -> str:
        return f"{'GPUs' if self.cluster.gpus else 'processors'} of Ray's {len(_nodes())} nodes"

    @property
    def apart(self) -> bool:
        return True

    def execute(
        self, runs: Iterable[PlannedRun], work: Work[PlannedRun], console: Console, stop: Stop, lost: Lost
    ) -> list[PlannedRun]:
        """See Executor.

        Raises:
            InputError: for a node that lacks what the runs need, once the runs under way have been stopped.
        """
        return _Workers(self, work, console, stop, lost).execute(runs)

    def _room(self) -> int:
        """Runs that the nodes take at once."""
        cpus, gpus = self.cluster.cpus, self.cluster.gpus
        return sum(
            min(int(has.get("CPU", 0) / cpus), int(has.get("GPU", 0) / gpus) if gpus else 10**6)
            for has in _nodes()
        )


def _connect(address: str) -> None:
    """Connect this process to the cluster; InputError where none answers."""
    if ray.is_initialized():
        return
    host, _, port = address.rpartition(":")
    try:
        if port.isdecimal() and not host.startswith("ray:"):
            socket.create_connection((host, int(port)), timeout=ANSWER_SECONDS).close()
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, OverflowError, RuntimeError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(". ")
        raise InputError(
            f"There is no Ray cluster at {address} ({reason}): start one with `ray start --head`, or give "
            "its address with --ray-address."
        ) from None


def _nodes() -> list[dict[str, float]]:
    """What the living nodes have of each resource."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


@dataclass
class _Worker:
    """A run, its actor, what the actor was asked last, what shows its messages, and the run's lock."""

    run: PlannedRun
    attempt: int  # how often its worker was lost without getting further
    step: int  # of the checkpoint that it begins with
    actor: Any
    asked: Any
    relay: Relay
    lock: ExitStack
    since: float
    begun: bool = False
    told: bool = False  # to stop; while it has not begun, that it waits

    def ask(self) -> None:
        self.asked = self.actor.news.remote()


class _Workers:
    """Starts an actor per run, writes and shows what it reports, and looks after it until it has ended."""

    def __init__(
        self, executor: RayExecutor, work: Work[PlannedRun], console: Console, stop: Stop, lost: Lost
    ):
        self.executor, self.console, self.stop, self.lost = executor, console, stop, lost
        cluster = executor.cluster
        takes = {"num_cpus": cluster.cpus, "num_gpus": cluster.gpus}
        self.host: Any = ray.remote(host_class()).options(
            **takes, max_concurrency=2, scheduling_strategy="SPREAD"
        )
        self.work = share(work)
        self.again: deque[tuple[PlannedRun, int]] = deque()  # lost ones, with the number of times
        self.held: list[
            tuple[PlannedRun, int]
        ] = []  # that other commands are at work on, to be asked about again
        self.mentioned: set[str] = set()  # of those
        self.working: list[_Worker] = []
        self.failed: list[PlannedRun] = []
        self.stopped = self.exhausted = False
        self.refused: str | None = None  # why a node cannot be used

    @property
    def stopping(self) -> bool:
        return self.stop.signal is not None or self.refused is not None

    def execute(self, runs: Iterable[PlannedRun]) -> list[PlannedRun]:
        waiting = iter(runs)
        try:
            while self._fill(waiting) or self.working:
                asked = [worker.asked for worker in self.working]
                if asked:
                    asked, _ = ray.wait(asked, num_returns=len(asked), timeout=UPDATE_SECONDS)
                else:
                    time.sleep(UPDATE_SECONDS)  # all that is left is held by other commands
                for worker in list(self.working):
                    if worker.asked in asked:
                        self._hear(worker)
                    elif not worker.begun:
                        self._be_patient(worker)
                    if self.stopping and worker in self.working:
                        self._tell_to_stop(worker)
        finally:
            for worker in list(self.working):  # only after an exception, a second Ctrl-C for one
                self._leave(worker)
        if self.refused is not None:
            raise InputError(self.refused)
        if self.stopped or self._is_left():
            raise StoppedError
        return self.failed

    def _is_left(self) -> bool:
        return bool(self.again or self.held or not self.exhausted)

    def _fill(self, waiting: Iterator[PlannedRun]) -> bool:
        """Start runs until there are as many as may be; False where nothing more is to start."""
        self.again.extend(self.held)
        self.held.clear()
        while not self.stopping and self._is_left() and len(self.working) < self.executor.jobs:
            if self.again:
                self._start(*self.again.popleft())
            elif (run := next(waiting, None)) is not None:
                self._start(run, 0)
            else:
                self.exhausted = True
                break
        return not self.stopping and self._is_left()

    def _start(self, run: PlannedRun, attempt: int) -> None:
        """Give a run an actor, with its lock held here; one that another command holds is kept for later."""
        lock = ExitStack()
        try:
            lock.enter_context(run.folder.lock(give_up, lambda: None))
            files = {name: (run.folder.path / name).read_bytes() for name in file_names(run.folder.path)}
        except HeldError:
            self.held.append((run, attempt))
            if run.name not in self.mentioned:
                self.mentioned.add(run.name)
                self.console.say(f"{run.name}: waiting for another command that is at work on it.")
            return
        except (InputError, OSError) as error:  # the folder cannot be written to or read
            lock.close()
            self._fail(run, f"its folder cannot be used ({error})")
            return
        try:
            arguments = needed_versions(run), code_hash(), pickle.dumps(run)
        except KeyboardInterrupt:
            raise
        except BaseException:  # of a model's module or class: the other runs go on
            lock.close()
            self._fail(run, "it cannot be sent to a worker", traceback.format_exc())
            return
        actor = self.host.remote()
        asked = actor.begin.remote(*arguments, files, [self.work], self.executor.threads)
        self.working.append(
            _Worker(run, attempt, _step(run), actor, asked, Relay(self.console), lock, time.monotonic())
        )

    def _be_patient(self, worker: _Worker) -> None:
        if not worker.told and time.monotonic() - worker.since > PATIENCE:
            worker.told = True
            self.console.say(f"{worker.run.name}: has no worker yet: no node may have room for it.")

    def _tell_to_stop(self, worker: _Worker) -> None:
        if not worker.begun:  # has nothing to lose
            self.stopped = True
            self._leave(worker)
        elif not worker.told:
            worker.told = True
            worker.actor.stop.remote()

    def _leave(self, worker: _Worker) -> None:
        """Done with this actor, whatever it does."""
        self.working.remove(worker)
        worker.relay.close()
        worker.lock.close()
        ray.kill(worker.actor)

    def _hear(self, worker: _Worker) -> None:
        """The actor has answered, or will no more."""
        try:
            answer = ray.get(worker.asked)
        except RayError as error:
            self._lose(worker, str(error))
            return
        if not worker.begun:
            self._begin(worker, *answer)
            return
        try:
            for message in answer:
                if message[0] == "file":
                    self._write(worker.run, *message[1:])
                elif message[0] == "end":
                    self._end(worker, *message[1:])
                    return
                else:
                    worker.relay.show(message)
        except WriteError as error:
            self._leave(worker)
            self._fail(worker.run, f"its files could not be written ({error})", traceback.format_exc())
            return
        worker.ask()

    def _begin(self, worker: _Worker, node: str, problem: str | None) -> None:
        """The node has answered that it makes the run, or why it cannot: then no other run starts either."""
        if problem is not None:
            self.refused = (
                f"The Ray node {node} cannot make {worker.run.name}: {problem} Put there what is here, "
                "then give the same command again."
            )
            self._leave(worker)
            return
        worker.begun, worker.told = True, False
        worker.ask()

    def _write(self, run: PlannedRun, name: str, content: bytes) -> None:
        """Put a file that a worker wrote into the results folder."""
        path, checkpoint = run.folder.path / name, run.folder.checkpoint
        # no reason to fail, as on this machine: the next checkpoint tells whether the disk is full
        note = path == run.folder.status_file and json.loads(content).get("state") == "running"
        with suppress(WriteError) if note else nullcontext():
            write_atomically(
                path,
                content,
                previous_path(checkpoint) if path == checkpoint else None,
            )

    def _lose(self, worker: _Worker, why: str) -> None:
        """A worker has died: its run starts again elsewhere, unless that was tried too often at one step."""
        self._leave(worker)
        attempt = worker.attempt if _step(worker.run) == worker.step else 0
        if self.stopping:
            self.stopped = True
        elif attempt < RETRIES:
            self.console.say(
                f"{worker.run.name}: its worker was lost; it goes on elsewhere (retry {attempt + 1} of "
                f"{RETRIES})."
            )
            self.again.append((worker.run, attempt + 1))
        else:
            self._fail(worker.run, f"its worker was lost {RETRIES + 1} times at one step", why)

    def _end(self, worker: _Worker, how: str, trace: str | None) -> None:
        """A worker has said how its run ended."""
        if how == DONE:
            with suppress(OSError):  # as after a local run: nobody looks after it now
                previous_path(worker.run.folder.checkpoint).unlink(missing_ok=True)
        self._leave(worker)
        if how == STOPPED:
            self.stopped = True
        elif how == RAISED:
            assert trace is not None
            self._fail(worker.run, f"its worker raised {trace.splitlines()[-1]}", trace)
        elif how != DONE:
            self.failed.append(worker.run)

    def _fail(self, run: PlannedRun, how: str, trace: str | None = None) -> None:
        self.failed.append(run)
        self.lost(run, how, trace)


def _step(run: PlannedRun) -> int:
    """That of the run's checkpoint, 0 where there is none to go on from."""
    try:
        step = read_torch(run.folder.checkpoint)["step"]
    except (OSError, ValueError, LookupError, TypeError):
        return 0
    return step if isinstance(step, int) else 0
