"""One run: a model trained and evaluated in its folder, to the end or to a failure that is its own."""

import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from metrics.objective import objective, with_failures
from metrics.references.statistics import References
from mmbench.console import Console, duration, summarise
from mmbench.data.base import MultimodalData, Split
from mmbench.data.batches import Batches
from mmbench.data.pairing import fill_batches, hide
from mmbench.execution.evaluating import evaluate_run, write_evaluation
from mmbench.execution.executor import DeviceLostError
from mmbench.execution.isolation import same_state, seed_everything
from mmbench.execution.signals import Stop, StoppedError
from mmbench.execution.threads import computing_threads
from mmbench.plan.config import RunConfig
from mmbench.plan.environment import describe_environment
from mmbench.plan.job import Execution
from mmbench.plan.planned import PlannedRun
from mmbench.storage.files import DamagedError, WriteError, write_json
from mmbench.storage.records import LOOK
from mmbench.storage.run_folder import RunFolder
from mmbench.storage.samples import load_samples
from mmbench.training.checkpoints import Checkpoints
from mmbench.training.kept import Best
from mmbench.training.memory import PeakMemory
from mmbench.training.recorded import wait_for
from mmbench.training.tensorboard import Board
from mmbench.training.trainer import Trainer, Watch
from models.base import MultimodalModel
from models.errors import InputError, error_words

__all__ = ["GivenUpError", "TrainRun", "is_done", "make_batches", "trained_rows"]

LOOKED = frozenset({"coherence", "probe"})
LOOK_DRAWS = 2_000  # joint draws of a look: its standard error of 1 % is enough for a curve
TRACE = 20_000  # characters of a traceback that are kept, its end
NOTE_SECONDS = 5.0  # between two notes of the step in status.json, each of which takes a millisecond


class GivenUpError(Exception):
    """Raised by `TrainRun.looked` to end a run that is not worth its remaining steps; no fault of the run."""


@dataclass(frozen=True)
class TrainRun:
    """Trains and evaluates planned runs, in this process or, pickled, in another: what executors are given.

    Attributes:
        execution: device, looks, TensorBoard.
        metrics: groups of metrics to compute.
        data, references: shared by all runs.
    """

    execution: Execution
    metrics: frozenset[str]
    data: MultimodalData
    references: References

    def __call__(self, run: PlannedRun, console: Console, stop: Stop) -> bool:
        """Train and evaluate `run`; False if it failed, with the reason in its folder.

        Raises:
            StoppedError: after a signal, once the checkpoint is written.
            DeviceLostError: where its failure has lost the GPU.
        """
        stop.check()
        waiting = partial(console.say, f"{run.name}: waiting for another command that is at work on it.")
        try:
            with run.folder.lock(waiting, stop.check):
                run.check_folder()
                return self._make_or_fail(run, console, stop)
        except DeviceLostError:
            raise
        # no lock, or the folder is another run's by now: nothing in it is touched
        except InputError as error:
            console.say(f"{run.name} failed: {error}")
            return False

    def _make_or_fail(self, run: PlannedRun, console: Console, stop: Stop) -> bool:
        """As `__call__`, with the run's lock held."""
        with suppress(DamagedError):  # is made again below
            if run.folder.is_done():
                console.say(f"{run.name} is done: another command made it meanwhile.")
                return True
        if self.execution.cluster:
            _note_environment(run, self.execution.device)
        begun = run.folder.config
        try:
            with computing_threads(run.threads), same_state(lambda line: console.say(f"{run.name}: {line}")):
                self._make(run, console, stop)
        # whatever a model raises, sys.exit() and CancelledError too, is the failure of this run
        except BaseException as error:
            if stop.caused(error):
                raise
            with suppress(WriteError):  # on a full disk the run stays as it was, and is taken up there
                _restore_config(run.folder, begun)
                given_up = {"given_up": True} if isinstance(error, GivenUpError) else {}
                trace = traceback.format_exc()[-TRACE:]
                run.folder.set_status("failed", error=error_words(error), traceback=trace, **given_up)
            console.say(f"{run.name} failed: {error_words(error)}")
            _check_device(self.execution.device)
            return False
        return True

    def _make(self, run: PlannedRun, console: Console, stop: Stop) -> None:
        """Train and evaluate; what goes wrong is raised."""
        references = self.references.on(self.execution.device)
        memory = PeakMemory(self.execution.device)
        run.folder.set_status("running")
        seed_everything(run.seed)
        built = run.config.entry.build(self.data.modalities, run.config.settings, self.data.class_count)
        model = built.to(self.execution.device)
        if built.remark:
            console.say(f"{run.name}: {built.remark}.")
        with Board(run.folder.path / "tensorboard" if self.execution.tensorboard else None) as board:
            trainer = self._train(run, model, board, references, console, stop)
            began = time.monotonic()
            evaluation = evaluate_run(model, self.data, references, run.config, self.metrics, console, stop)
            write_evaluation(
                run.folder, run.hash, run.seed, evaluation, lambda line: console.say(f"{run.name}: {line}")
            )
            if self.execution.tensorboard:
                board.add_samples(load_samples(run.folder.samples), trainer.history[-1])
        best = trainer.kept if isinstance(trainer.kept, Best) else None
        if best and not best.step:
            console.say(
                f"{run.name}: no look had a figure to keep weights by, so it has those of its last step."
            )
        assert trainer.checkpoints is not None
        # before the run is done: later nobody looks for it
        trainer.checkpoints.previous.unlink(missing_ok=True)
        training, evaluating = trainer.seconds, time.monotonic() - began
        run.folder.set_status(
            "done",
            train_seconds=round(training, 1),
            look_seconds=round(trainer.look_seconds, 1),
            compile_seconds=round(trainer.compile_seconds, 1),
            evaluate_seconds=round(evaluating, 1),
            **({"remark": built.remark} if built.remark else {}),
            **({"kept_step": best.step} if best else {}),
            steps_per_second=round((trainer.step - trainer.compile_steps) / training, 2),
            **memory.found(),
        )
        console.say(
            f"{run.name} is done: {summarise(evaluation.metrics)} "
            f"({duration(training)} training, {duration(evaluating)} evaluation)"
        )

    def looked(self, run: PlannedRun, step: int, metrics: dict[str, float]) -> None:
        """Called with what a look after `step` found; if it raises, the run fails."""

    def _train(
        self,
        run: PlannedRun,
        model: MultimodalModel,
        board: Board,
        references: References,
        console: Console,
        stop: Stop,
    ) -> Trainer:
        """The trainer, at the end of the budget; StoppedError once a signal has stopped it."""
        notes = _Notes(run.folder)
        light, held_out = _light(run.config), self.data.held_out()
        with console.task(f"train {run.name}", run.config.training.steps) as task:

            def report(step: int, row: dict[str, Any]) -> None:
                task.update(step, f"loss {row['loss']:.1f}")
                board.add_row(row)
                notes.note(step)
                if metrics := _looked(row):
                    self.looked(run, step, metrics)

            def look(step: int) -> dict[str, float]:
                found = evaluate_run(model, held_out, references, light, LOOKED, console, stop)
                values = with_failures(found.metrics, found.missing)
                return {f"{LOOK}{name}": v for name, v in values.items() if v is not None}

            def score(found: Mapping[str, float]) -> float | None:
                return objective(_looked(found))

            trainer = Trainer(
                model,
                make_batches(run.config, self.data, run.seed, self.execution.device),
                run.config.training,
                Checkpoints(run.folder.checkpoint, run.hash, run.seed),
                run.config.precision,
                Watch(report, stop.asked, console.say, look, self.execution.looks, score),
                self.execution.step_of(run.config.training.steps),
            )
            try:
                finished = trainer.run()
            except BaseException:
                with suppress(WriteError):  # the error under way is the one to report
                    _write_history(run, trainer)
                raise
        _write_history(run, trainer)
        notes.write(trainer.step)
        if not finished:
            raise StoppedError
        return trainer


def _check_device(device: torch.device) -> None:
    """Raise where a failure has lost the GPU: after a failed assertion every call to it fails."""
    try:
        wait_for(device)
    except RuntimeError as error:
        raise DeviceLostError(
            f"The device {device} computes no more in this process ({error_words(error).splitlines()[0]}): "
            "the same command makes the runs that are left."
        ) from None


def _restore_config(folder: RunFolder, begun: dict[str, Any] | None) -> None:
    """Write config.json again if the model has deleted or changed it: reports name folders without one."""
    try:
        whole = folder.config == begun
    except InputError:
        whole = False
    if begun is not None and not whole:
        write_json(folder.config_file, begun)


def _looked(row: Mapping[str, Any]) -> dict[str, float]:
    """What a look found, by metric, from a row of history; empty where there was none."""
    return {name.removeprefix(LOOK): value for name, value in row.items() if name.startswith(LOOK)}


def _note_environment(run: PlannedRun, device: torch.device) -> None:
    """A run that begins on a cluster says where: its node is another machine than the one that planned it."""
    config = run.folder.config
    assert config is not None
    if run.folder.status["state"] == "pending":
        here = config["environment"] | describe_environment(device)
        write_json(run.folder.config_file, config | {"environment": here})


class _Notes:
    """Notes of the step in status.json, for who asks from elsewhere or after a crash."""

    def __init__(self, folder: RunFolder):
        self.folder, self.written = folder, float("-inf")

    def note(self, step: int) -> None:
        """Write it down unless that was done a moment ago."""
        if time.monotonic() - self.written >= NOTE_SECONDS:
            self.write(step)

    def write(self, step: int) -> None:
        with suppress(WriteError):  # no reason to fail: the next checkpoint tells whether the disk is full
            self.folder.set_status("running", step=step)
        self.written = time.monotonic()


def _light(config: RunConfig) -> RunConfig:
    """`config` with as few draws as a look needs."""
    draws = min(LOOK_DRAWS, config.protocol.joint_draws)
    return replace(config, protocol=replace(config.protocol, draws=max(draws, 2), joint_draws=draws))


def _write_history(run: PlannedRun, trainer: Trainer) -> None:
    """The rows so far; before the first one there is nothing to write over what is there."""
    if trainer.history:
        run.folder.write_history(trainer.history)


def is_done(run: PlannedRun, console: Console) -> bool:
    """Whether nothing of `run` is left to do; a damaged result is named, and is to be made again."""
    try:
        return run.folder.is_done()
    except DamagedError as error:
        console.say(
            f"{run.name}: the file {error.path} {error.problem}. The run goes on from its checkpoint."
        )
        return False


def make_batches(config: RunConfig, data: MultimodalData, seed: int, device: torch.device | str) -> Batches:
    """The batches of training; where `config.observed` hides items, they are the same for all models.

    Of data whose rows lack modalities, a model that misses none is trained on the complete rows.

    Raises:
        InputError: where there are too few pairs for a batch, or no complete row for such a model.
    """
    names, train = list(data.train.items), data.train
    if config.observed:
        shares = {names.index(name): share for name, share in config.observed.items()}
        counts = [len(items) for items in train.items.values()]
        train = replace(train, pairs=hide(train.pairs, counts, shares, config.data.pairing_seed))
    size = config.training.batch_size
    train = trained_rows(train, size, config.entry.incomplete)
    return Batches(train, data.modalities, size, seed, device, config.entry.uses_labels)


def trained_rows(train: Split, batch_size: int, incomplete: bool) -> Split:
    """The train split that batches are made of; where items are paired by row, repeated to fill batches.

    Args:
        incomplete: whether the model takes batches that lack modalities; else complete rows alone are left.

    Raises:
        InputError: where no row is left.
    """
    if train.rows is None:
        return train
    pairs = train.pairs if incomplete else train.pairs[(train.pairs >= 0).all(1)]
    if not len(pairs):
        raise InputError(
            "The model is trained on complete rows alone, and every train row lacks a modality: choose a "
            "model that takes incomplete ones (`mmbench models`)."
        )
    return replace(train, pairs=fill_batches(pairs, batch_size))
