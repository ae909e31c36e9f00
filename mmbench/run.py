"""One run: a model trained and evaluated in its folder, to the end or to a failure that is its own."""

import time
import traceback
from dataclasses import dataclass
from typing import Any

import torch

from metrics.evaluation import References
from mmbench.config import PRESETS, RunConfig
from mmbench.console import Console, duration
from mmbench.data.base import MultimodalData
from mmbench.data.batches import Batches
from mmbench.evaluation import evaluate_run, summarise, write_evaluation
from mmbench.job import Job
from mmbench.signals import Stop, StoppedError
from mmbench.store import RunFolder
from mmbench.training import Trainer
from models.base import MultimodalModel

__all__ = ["MakeRun", "Run"]

WARM_UP_SECONDS = 5.0  # of training before the whole job's time is estimated


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


@dataclass(frozen=True)
class MakeRun:
    """Makes runs of one job, in this process or, pickled, in another: what an executor is given.

    Attributes:
        job: device and metrics.
        data, references: shared by all runs.
        ahead: training steps of all runs that are to be made, for the estimate of the job's time.
        jobs: runs made at once.
        first: the run that measures the rate for the estimate.
    """

    job: Job
    data: MultimodalData
    references: References
    ahead: int
    jobs: int
    first: Run

    def __call__(self, run: Run, console: Console, stop: Stop) -> bool:
        """Train and evaluate `run`; False if it failed, with the reason in its folder. StoppedError goes through."""
        began = time.monotonic()
        run.folder.set_status("running")
        try:
            torch.manual_seed(run.seed)  # initial weights; the same generator then gives the noise of training
            model = run.config.entry.model(self.data.modalities, run.config.settings).to(self.job.device)
            trainer = self._train(run, model, console, stop)
            trained = time.monotonic()
            evaluation = evaluate_run(model, self.data, self.references, run.config, self.job.metrics, console, stop)
            write_evaluation(run.folder, run.hash, evaluation)
        except StoppedError:
            raise
        except Exception as error:  # a run's failure is its own: the others go on
            run.folder.set_status("failed", error=f"{type(error).__name__}: {error}", traceback=traceback.format_exc())
            console.say(f"{run.name} failed: {error}")
            return False
        training, evaluating = trained - began, time.monotonic() - trained
        run.folder.set_status(
            "done",
            train_seconds=round(training, 1),
            evaluate_seconds=round(evaluating, 1),
            steps_per_second=round((trainer.step - trainer.resumed_at) / training, 2),
        )
        console.say(f"{run.name}: {summarise(evaluation)}  ({duration(training)} training, {duration(evaluating)} evaluation)")
        return True

    def _train(self, run: Run, model: MultimodalModel, console: Console, stop: Stop) -> Trainer:
        config = run.config
        batches = Batches(self.data.train, self.data.modalities, config.training.batch_size, run.seed, self.job.device)
        estimate = _Estimate(self, console) if run.folder.path == self.first.folder.path else None
        with console.task(f"train {run.name}", config.training.steps) as task:

            def report(step: int, row: dict[str, Any]) -> None:
                task.update(step, f"loss {row['loss']:.1f}")
                if estimate:
                    estimate.update(step)

            def stopped() -> bool:
                return stop.signal is not None

            trainer = Trainer(model, batches, config.training, run.folder.checkpoint, run.hash, config.precision, report, stopped)
            try:
                finished = trainer.run()
            finally:
                run.folder.write_history(trainer.history)
        if not finished:
            raise StoppedError
        return trainer


class _Estimate:
    """Says once, after warm-up, how long the whole job will take at the rate measured, and how long other presets would."""

    def __init__(self, make: MakeRun, console: Console):
        self.make, self.console = make, console
        self.start: tuple[float, int] | None = None
        self.said = False

    def update(self, step: int) -> None:
        now = time.monotonic()
        if self.start is None:
            self.start = now, step
        elapsed = now - self.start[0]
        if self.said or elapsed < WARM_UP_SECONDS or step == self.start[1]:
            return
        self.said = True
        rate = (step - self.start[1]) / elapsed * self.make.jobs
        models = len(self.make.job.configs)
        line = f"About {rate:.1f} steps per second: training takes about {duration(self.make.ahead / rate)} if all models are as fast."
        for preset in (PRESETS["paper"], PRESETS["cpu"]):
            if preset.name != self.make.first.config.preset:
                steps = int(str(preset.training["steps"])) * len(preset.seeds) * models
                line += f" --preset {preset.name}: about {duration(steps / rate)}."
        self.console.say(line)
