"""One run: a model trained and evaluated in its folder, to the end or to a failure that is its own."""

import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from metrics.evaluation.evaluate import References
from mmbench.console import Console, duration, summarise
from mmbench.data.base import MultimodalData
from mmbench.data.batches import Batches
from mmbench.data.pairing import hide
from mmbench.execution.evaluating import evaluate_run, write_evaluation
from mmbench.execution.signals import Stop, StoppedError
from mmbench.plan.config import RunConfig
from mmbench.plan.environment import describe_environment
from mmbench.plan.job import Job
from mmbench.storage.files import DamagedError, WriteError, write_json
from mmbench.storage.records import LOOK
from mmbench.storage.run_folder import RunFolder
from mmbench.storage.samples import load_samples
from mmbench.training.tensorboard import Board
from mmbench.training.trainer import Trainer
from models.base import MultimodalModel
from models.errors import InputError

__all__ = ["MakeRun", "Run", "computing_threads", "is_done", "make_batches", "seconds_per_step"]

LOOKED = frozenset({"coherence", "probe"})
LOOK_DRAWS = 2_000  # joint draws of a look: its standard error of 1 % is enough for a curve
NOTE_SECONDS = 5.0  # between two notes of the step in status.json, each of which takes a millisecond
MEASURE_SECONDS = 1.0  # of training steps behind an estimate


@dataclass(frozen=True)
class Run:
    """One configuration with one seed, and its folder."""

    config: RunConfig
    seed: int
    folder: RunFolder
    hash: str

    @property
    def name(self) -> str:
        return f"{self.folder.path.parent.name} seed {self.seed}"

    @property
    def threads(self) -> int:
        """That it was begun with, whatever others are there now: sums in other parts have other last bits."""
        config = self.folder.config or {}
        return config.get("environment", {}).get("threads") or torch.get_num_threads()


@dataclass(frozen=True)
class MakeRun:
    """Makes runs of one job, in this process or, pickled, in another: what an executor is given.

    Attributes:
        job: device and metrics.
        data, references: shared by all runs.
    """

    job: Job
    data: MultimodalData
    references: References

    def __getstate__(self) -> dict[str, Any]:
        """Networks go to other processes through a CPU's memory: not every system can share a GPU's (Windows cannot, nor can two machines)."""
        self.references.to("cpu")
        return vars(self)

    def __call__(self, run: Run, console: Console, stop: Stop) -> bool:
        """Train and evaluate `run`; False if it failed, with the reason in its folder. StoppedError goes through."""
        stop.check()
        waiting = partial(console.say, f"{run.name}: waiting for another command that is at work on it.")
        try:
            with run.folder.lock(waiting, stop.check):
                run.folder.check_config(run.hash, run.config.decisive(self.data))
                return self._make_or_fail(run, console, stop)
        except (
            InputError
        ) as error:  # no lock to be had, or the folder is another run's by now: nothing in it is touched
            console.say(f"{run.name} failed: {error}")
            return False

    def _make_or_fail(self, run: Run, console: Console, stop: Stop) -> bool:
        """As `__call__`, with the run's lock held."""
        with suppress(DamagedError):  # is made again below
            if run.folder.is_done():
                console.say(f"{run.name} is done: another command made it meanwhile.")
                return True
        try:
            with computing_threads(run.threads):
                self._make(run, console, stop)
        except StoppedError:
            raise
        except (
            Exception,
            SystemExit,
        ) as error:  # a run's failure is its own, a model that calls sys.exit too: the others go on
            with suppress(
                WriteError
            ):  # on a full disk the run stays as it was last written, and is taken up there
                run.folder.set_status(
                    "failed", error=f"{type(error).__name__}: {error}", traceback=traceback.format_exc()
                )
            console.say(f"{run.name} failed: {error}")
            return False
        return True

    def _make(self, run: Run, console: Console, stop: Stop) -> None:
        """Train and evaluate; what goes wrong is raised."""
        if self.job.cluster:
            _note_environment(run, self.job.device)
        self.references.to(self.job.device)
        run.folder.set_status("running")
        torch.manual_seed(run.seed)  # initial weights; the same generator then gives the noise of training
        model = run.config.entry.model(self.data.modalities, run.config.settings).to(self.job.device)
        with Board(run.folder.path / "tensorboard" if self.job.tensorboard else None) as board:
            trainer = self._train(run, model, board, console, stop)
            began = time.monotonic()
            evaluation = evaluate_run(
                model, self.data, self.references, run.config, self.job.metrics, console, stop
            )
            write_evaluation(run.folder, run.hash, run.seed, evaluation)
            if self.job.tensorboard:
                board.add_samples(load_samples(run.folder.samples), trainer.history[-1])
        assert trainer.checkpoints is not None
        trainer.checkpoints.previous.unlink(
            missing_ok=True
        )  # while the run is not done: nobody looks after one that is
        training, evaluating = trainer.seconds, time.monotonic() - began
        run.folder.set_status(
            "done",
            train_seconds=round(training, 1),
            evaluate_seconds=round(evaluating, 1),
            steps_per_second=round(trainer.step / training, 2),
        )
        console.say(
            f"{run.name} is done: {summarise(evaluation.metrics)} "
            f"({duration(training)} training, {duration(evaluating)} evaluation)"
        )

    def looked(self, run: Run, step: int, metrics: dict[str, float]) -> None:
        """Called with what a look after `step` found, once the history has it; what it raises makes the run a failed one."""

    def _train(self, run: Run, model: MultimodalModel, board: Board, console: Console, stop: Stop) -> Trainer:
        config = run.config
        batches = make_batches(config, self.data, run.seed, self.job.device)
        notes = _Notes(run.folder)
        with console.task(f"train {run.name}", config.training.steps) as task:

            def report(step: int, row: dict[str, Any]) -> None:
                task.update(step, f"loss {row['loss']:.1f}")
                board.add_row(row)
                notes.note(step)
                if metrics := {
                    name.removeprefix(LOOK): value for name, value in row.items() if name.startswith(LOOK)
                }:
                    self.looked(run, step, metrics)

            def stopped() -> bool:
                return stop.signal is not None

            looking = _light(config), self.data.held_out()

            def look(step: int) -> dict[str, float]:
                found = evaluate_run(
                    model, looking[1], self.references, looking[0], LOOKED, console, stop
                ).metrics
                return {f"{LOOK}{name}": value for name, value in found.items() if value is not None}

            where = run.folder.checkpoint, run.hash, config.precision
            trainer = Trainer(
                model, batches, config.training, *where, report, stopped, console.say, look, self.job.looks
            )
            try:
                finished = trainer.run()
            except Exception:
                with suppress(WriteError):  # the error under way is the one to report
                    _write_history(run, trainer)
                raise
        _write_history(run, trainer)
        notes.write(trainer.step)
        if not finished:
            raise StoppedError
        return trainer


def _note_environment(run: Run, device: torch.device) -> None:
    """A run that begins on a cluster says where: its node is another machine than the one that planned it."""
    config = run.folder.config
    assert config is not None
    if run.folder.status["state"] == "pending":
        write_json(
            run.folder.config_file,
            config | {"environment": config["environment"] | describe_environment(device)},
        )


class _Notes:
    """Notes of the step in status.json, for who asks from elsewhere or after a crash."""

    def __init__(self, folder: RunFolder):
        self.folder, self.written = folder, float("-inf")

    def note(self, step: int) -> None:
        """Write it down unless that was done a moment ago."""
        if time.monotonic() - self.written >= NOTE_SECONDS:
            self.write(step)

    def write(self, step: int) -> None:
        with suppress(
            WriteError
        ):  # a run does not fail for it: the next checkpoint tells whether the disk is full
            self.folder.set_status("running", step=step)
        self.written = time.monotonic()


def _light(config: RunConfig) -> RunConfig:
    """`config` with as few draws as a look needs."""
    draws = min(LOOK_DRAWS, config.protocol.joint_draws)
    return replace(config, protocol=replace(config.protocol, draws=max(draws, 2), joint_draws=draws))


def _write_history(run: Run, trainer: Trainer) -> None:
    if (
        trainer.history
    ):  # otherwise training did not get as far as its first row, nor to its checkpoint: what is there stays
        run.folder.write_history(trainer.history)


@contextmanager
def computing_threads(count: int) -> Iterator[None]:
    """torch computes with `count` threads inside of the block."""
    usual = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(usual)


def is_done(run: Run, console: Console) -> bool:
    """Whether nothing of `run` is left to do; a damaged result is named, and is to be made again."""
    try:
        return run.folder.is_done()
    except DamagedError as error:
        console.say(
            f"{run.name}: the file {error.path} {error.problem}. The run goes on from its checkpoint."
        )
        return False


def make_batches(config: RunConfig, data: MultimodalData, seed: int, device: torch.device | str) -> Batches:
    """Those of training. Of what `config.observed` names all models and seeds see the same items, throughout."""
    names, train = list(data.train.items), data.train
    if config.observed:
        shares = {names.index(name): share for name, share in config.observed.items()}
        counts = [len(items) for items in train.items.values()]
        train = replace(train, pairs=hide(train.pairs, counts, shares, config.data.pairing_seed))
    return Batches(train, data.modalities, config.training.batch_size, seed, device)


def seconds_per_step(config: RunConfig, data: MultimodalData, device: torch.device, stop: Stop) -> float:
    """Measured over some training steps after a first one, on a model that is thrown away; fewer of them once `stop` holds a signal."""
    model = config.entry.model(data.modalities, config.settings).to(device)
    batches = make_batches(config, data, 0, device)
    ends: list[float] = []

    def enough() -> bool:
        ends.append(time.monotonic())
        return stop.signal is not None or ends[-1] - ends[0] > MEASURE_SECONDS

    Trainer(model, batches, config.training, None, precision=config.precision, stop=enough).run()
    return (ends[-1] - ends[0]) / max(len(ends) - 1, 1)
