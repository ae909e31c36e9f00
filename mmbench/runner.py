"""The runner: makes the runs of a job one after another, each to the end or to a failure that is its own."""

import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from metrics.evaluation import References
from mmbench.config import PRESETS, RunConfig
from mmbench.console import Console, duration
from mmbench.data.base import MultimodalData, load_data
from mmbench.data.batches import Batches
from mmbench.environment import describe_environment
from mmbench.evaluation import evaluate_run, summarise, write_evaluation
from mmbench.files import write_json
from mmbench.job import Job
from mmbench.references import make_references
from mmbench.report import write_report
from mmbench.signals import Stop, StoppedError
from mmbench.store import RunFolder, prepare_results
from mmbench.training import Trainer
from models.base import MultimodalModel

__all__ = ["Run", "make_model", "run_job"]

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


def run_job(job: Job) -> int:
    """Make every run of `job` that is not done, then tables and figures.

    Returns:
        The exit code: 0, 1 if a run failed, 128 + the signal's number if a signal stopped the job.

    Raises:
        InputError: before anything is trained, for data or a results folder that cannot be used.
    """
    console = Console()
    prepare_results(job.results)
    first = job.configs[0]
    data = load_data(first.dataset, job.data_dir, first.data)
    Batches(data.train, data.modalities, first.training.batch_size, 0)  # an InputError now rather than in every run
    runs = _plan(job, data)
    todo = [run for run in runs if run.folder.status["state"] != "done"]
    console.say(f"{first.dataset}, preset {first.preset}: {len(runs)} runs, {len(runs) - len(todo)} of them done, on {job.device}.")
    failed: list[Run] = []
    with Stop() as stop:
        try:
            if todo:
                references = make_references(data, first.protocol, job.metrics, job.inception_weights, job.device, console, stop.check)
                _announce(todo, job, data)
                estimate = _Estimate(job, todo, console)
            for run in todo:
                if not _attempt(run, job, data, references, console, stop, estimate):
                    failed.append(run)
        except StoppedError:
            console.say("Stopped. What is done is kept: the same command goes on from here.")
            return stop.exit_code
    for path in write_report(job.results / first.dataset / first.preset):
        console.say(f"wrote {path}")
    for run in failed:
        console.say(f"FAILED {run.name}: {run.folder.status['error']}")
    return 1 if failed else 0


def _plan(job: Job, data: MultimodalData) -> list[Run]:
    """All runs, seed by seed, their folders checked before any is touched."""
    runs = []
    for seed in job.seeds:
        for config in job.configs:
            folder = RunFolder.of(job.results, config.dataset, config.preset, config.entry.name, job.label, seed)
            decisive = config.decisive(data.provenance)
            run = Run(config, seed, folder, config.hash(data.provenance))
            folder.check_config(run.hash, decisive)
            runs.append(run)
    return runs


def _announce(runs: Sequence[Run], job: Job, data: MultimodalData) -> None:
    """Write the configuration of every run that has none yet; its state is pending from then on."""
    for run in runs:
        if run.folder.config is None:
            description = {
                **run.config.decisive(data.provenance),
                "hash": run.hash,
                "title": run.config.entry.title,
                "label": job.label,
                "preset": run.config.preset,
                "seed": run.seed,
                "modalities": [asdict(modality) for modality in data.modalities],
                "command": job.command,
                "environment": describe_environment(job.device),
            }
            write_json(run.folder.config_file, description)


def _attempt(run: Run, job: Job, data: MultimodalData, references: References, console: Console, stop: Stop, estimate: "_Estimate") -> bool:
    """Train and evaluate one run; False if it failed, with the reason in its folder. StoppedError goes through."""
    began = time.monotonic()
    run.folder.set_status("running")
    try:
        model = make_model(run.config, data, run.seed, job.device)
        trainer = _train(run, model, data, job.device, console, stop, estimate)
        trained = time.monotonic()
        evaluation = evaluate_run(model, data, references, run.config, job.metrics, console, stop)
        write_evaluation(run.folder, run.hash, evaluation)
    except StoppedError:
        raise
    except Exception as error:  # a run's failure is its own: the others go on
        run.folder.set_status("failed", error=f"{type(error).__name__}: {error}", traceback=traceback.format_exc())
        console.say(f"{run.name} failed: {error}")
        return False
    seconds = trained - began
    run.folder.set_status(
        "done",
        train_seconds=round(seconds, 1),
        evaluate_seconds=round(time.monotonic() - trained, 1),
        steps_per_second=round((trainer.step - trainer.resumed_at) / seconds, 2),
    )
    console.say(f"{run.name}: {summarise(evaluation)}  ({duration(seconds)} training, {duration(time.monotonic() - trained)} evaluation)")
    return True


def make_model(config: RunConfig, data: MultimodalData, seed: int, device: torch.device) -> MultimodalModel:
    """A model with the initial weights of `seed`; torch's global generator then goes on to give the noise of training."""
    torch.manual_seed(seed)
    return config.entry.model(data.modalities, config.settings).to(device)


def _train(
    run: Run, model: MultimodalModel, data: MultimodalData, device: torch.device, console: Console, stop: Stop, estimate: "_Estimate"
) -> Trainer:
    batches = Batches(data.train, data.modalities, run.config.training.batch_size, run.seed, device)
    with console.task(f"train {run.name}", run.config.training.steps) as task:

        def report(step: int, row: dict[str, Any]) -> None:
            task.update(step, f"loss {row['loss']:.1f}")
            estimate.update(run, step)

        trainer = Trainer(
            model,
            batches,
            run.config.training,
            run.folder.checkpoint,
            run.hash,
            run.config.precision,
            report,
            lambda: stop.signal is not None,
        )
        try:
            finished = trainer.run()
        finally:
            run.folder.write_history(trainer.history)
    if not finished:
        raise StoppedError
    return trainer


class _Estimate:
    """Says once, after warm-up, how long the whole job will take at the rate measured, and how long other presets would."""

    def __init__(self, job: Job, todo: Sequence[Run], console: Console):
        self.job, self.todo, self.console = job, todo, console
        self.started: float | None = None
        self.first = 0
        self.said = False

    def update(self, run: Run, step: int) -> None:
        now = time.monotonic()
        if self.started is None:
            self.started, self.first = now, step
        elapsed = now - self.started
        if self.said or run is not self.todo[0] or elapsed < WARM_UP_SECONDS:
            return
        self.said = True
        rate = (step - self.first) / elapsed
        steps = sum(each.config.training.steps for each in self.todo)
        line = (
            f"About {rate:.1f} steps per second: training all {len(self.todo)} runs takes about {duration(steps / rate)} if all models are as fast."
        )
        models = len(self.job.configs)
        others = [p for p in (PRESETS["paper"], PRESETS["cpu"]) if p.name != run.config.preset]
        for preset in others:
            total = int(str(preset.training["steps"])) * len(preset.seeds) * models
            line += f" --preset {preset.name}: about {duration(total / rate)}."
        self.console.say(line)
