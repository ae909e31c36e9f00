"""The runner: from a job to finished runs, tables and figures."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

from metrics.groups import metric_group
from mmbench.console import Console, duration
from mmbench.data import MultimodalData, load_data
from mmbench.execution.cached_references import make_references
from mmbench.execution.local import Executor, pick_executor
from mmbench.execution.making import MakeRun, Run, computing_threads, is_done, make_batches, seconds_per_step
from mmbench.execution.signals import Stop, StoppedError
from mmbench.plan.config import PRESETS, departures
from mmbench.plan.environment import describe_environment
from mmbench.plan.job import Job
from mmbench.report import write_report
from mmbench.report.status import tabulate_runs
from mmbench.storage.files import check_cache, write_json
from mmbench.storage.records import read_config
from mmbench.storage.run_folder import RunFolder, prepare_results
from models.errors import InputError
from models.registry import ModelEntry
from models.settings import search_space

__all__ = ["announce", "leave_out", "lost", "plan", "run_job"]


def run_job(job: Job) -> int:
    """Make every run of `job` that is not done, then tables and figures.

    Returns:
        The exit code: 0, 1 if a run failed, 128 + the signal's number if a signal stopped the job.

    Raises:
        InputError: before anything is trained, for data or a results folder that cannot be used.
    """
    console = Console()
    first = job.configs[0]
    prepare_results(job.results, first.dataset, first.preset)
    check_cache()
    data = load_data(first.dataset, job.data_dir, first.data)
    job = leave_out(job, data, console)
    runs = plan(job, data)
    make_batches(first, data, 0, "cpu")  # an InputError now rather than in every run
    todo = [run for run in runs if not is_done(run, console)]
    executor = pick_executor(job, len(todo), _size(data), console.say)
    precisions = " and ".join(
        sorted({run.config.precision for run in runs})
    )  # those that runs were begun with, under auto
    console.say(
        f"{first.dataset}, preset {first.preset}: {len(runs)} runs, {len(runs) - len(todo)} of them done, "
        f"{executor.jobs} at a time on {executor.place} in {precisions}."
    )
    failed: list[Run] = []
    with Stop() as stop:
        try:
            if todo:
                references = make_references(
                    data, first.protocol, job.metrics, job.inception_weights, job.home, console, stop.check
                )
                announce(todo, job, data, executor.threads, stop)
                if job.home == job.device:  # a rate measured elsewhere says nothing about GPUs
                    console.say(_estimate(job, todo, data, executor, stop))
                failed = executor.execute(todo, MakeRun(job, data, references), console, stop, lost)
                stop.check()
        except StoppedError:
            console.say("Stopped. What is done is kept: the same command goes on from here.")
            return stop.exit_code
    for line in tabulate_runs(run.folder.path for run in runs):
        console.say(line)
    for run in failed:
        console.say(f"FAILED {run.name}: {_failure(run)}")
    for path in write_report(job.results / first.dataset / first.preset, console.say):
        console.say(f"wrote {path}")
    _mention_missing(runs, job, console)
    return 1 if failed else 0


def _size(data: MultimodalData) -> int:
    """Bytes of its tensors."""
    splits = (data.train, data.validation, data.test)
    return sum(
        t.nbytes for split in splits for t in (*split.items.values(), *split.labels.values(), split.pairs)
    )


def leave_out(job: Job, data: MultimodalData, console: Console) -> Job:
    """The job without models that nobody named and that do not take the modalities of `data`; says which."""
    fitting = job.without_misfits(len(data.modalities))
    for config in job.configs:
        if config not in fitting.configs:
            console.say(
                f"{config.entry.name} is left out: it {config.entry.misfit(config.dataset, len(data.modalities))}."
            )
    return fitting


def plan(job: Job, data: MultimodalData) -> list[Run]:
    """All runs, seed by seed, their folders checked before any is touched."""
    runs = []
    for seed in job.seeds:
        for config in job.configs:
            folder = RunFolder.of(
                job.results, config.dataset, config.preset, config.entry.name, job.label, seed
            )
            begun = folder.config
            if job.adopt_precision and begun and begun["precision"] != config.precision:
                config = replace(config, precision=begun["precision"])  # begun on another machine
            run = Run(config, seed, folder, config.hash(data))
            if job.origin:
                _check_origin(*job.origin, run, data)
            folder.check_config(run.hash, config.decisive(data))
            runs.append(run)
    return runs


def _check_origin(file: Path, hash: str, run: Run, data: MultimodalData) -> None:
    """InputError unless `run` has the configuration of the config.json `file`, whose hash is `hash`."""
    if run.hash != hash:
        found = "; ".join(departures(read_config(file), run.config.decisive(data))) or "its hash"
        raise InputError(
            f"The run of {file} was made with other data or code: {found}. Name its data with --data-dir, its model's file with --model-file."
        )


def announce(runs: Sequence[Run], job: Job, data: MultimodalData, threads: int, stop: Stop) -> None:
    """Write the configuration of every run that has none yet; its state is pending from then on."""
    environment = {
        **describe_environment(job.home),
        "threads": threads,
    }  # asks git, which takes longer than to write a configuration
    for run in runs:
        if run.folder.config is not None:
            run.folder.check_config(
                run.hash, run.config.decisive(data)
            )  # another command may have begun it since the runs were planned
            continue
        with run.folder.lock(lambda: None, stop.check):  # whoever holds it is writing the configuration
            run.folder.check_config(run.hash, run.config.decisive(data))
            if run.folder.config is not None:
                continue
            description = {
                **run.config.decisive(data),
                "hash": run.hash,
                "title": run.config.entry.title,
                "label": job.label,
                "preset": run.config.preset,
                "seed": run.seed,
                "modalities": [asdict(modality) for modality in data.modalities],
                "command": job.command,
                "environment": environment,
            }
            write_json(run.folder.config_file, description)


def _estimate(job: Job, todo: Sequence[Run], data: MultimodalData, executor: Executor, stop: Stop) -> str:
    """How long training will take at the rates measured now, and how long other presets would."""
    costs, jobs, threads = {}, executor.jobs, executor.threads
    begun = {run.config.entry.name: run.threads for run in todo}
    for config in job.configs:
        name = config.entry.name
        with (
            suppress(Exception, SystemExit),
            computing_threads(begun.get(name, threads)),
        ):  # a model that cannot be trained says why in its run
            costs[name] = seconds_per_step(config, data, job.device, stop)
        stop.check()
    seconds = sum(costs.get(run.config.entry.name, 0.0) * run.config.training.steps for run in todo)
    unknown = ", ".join(c.entry.name for c in job.configs if c.entry.name not in costs)
    parts = [
        f"Training at the rate of this machine: about {duration(seconds / jobs)}"
        + (f" without {unknown}, which failed its first steps" if unknown else "")
    ]
    current = job.configs[0].preset
    for preset in (PRESETS["paper"], PRESETS["cpu"]):
        if preset.name != current:
            same = [c for c in job.configs if _costs(c.entry, preset.name) == _costs(c.entry, current)]
            others = ", ".join(c.entry.name for c in job.configs if c not in same)
            steps = int(str(preset.training["steps"])) * len(preset.seeds)
            took = sum(costs.get(c.entry.name, 0.0) for c in same) * steps / jobs
            parts.append(
                f"--preset {preset.name}: about {duration(took)}"
                + (f" without {others}, which has other settings there" if others else "")
            )
    return "; ".join(parts) + "."


def _costs(entry: ModelEntry, preset: str) -> dict[str, object]:
    """What a preset changes of a model, but for what a search chooses: that decides how good a step is, not how long it takes."""
    searched = search_space(entry.settings)
    return {name: value for name, value in entry.presets.get(preset, {}).items() if name not in searched}


def _mention_missing(runs: Sequence[Run], job: Job, console: Console) -> None:
    """Runs that were done before this job may lack metrics that it asks for."""
    for run in runs:
        found = run.folder.metrics
        if found and run.folder.status["state"] == "done":
            held = {metric_group(name) for name in found["metrics"]}
            lacking = sorted(job.metrics - held)
            if lacking:
                file = run.config.entry.file
                command = f"mmbench evaluate {run.folder.path} --metrics {','.join(lacking)}" + (
                    f" --model-file {file.path}" if file else ""
                )
                console.say(f"{run.name} was evaluated without {', '.join(lacking)}: `{command}`.")


class _HeldError(Exception):
    """Another command is at work on the run."""


def lost(run: Run, how: str, traceback: str | None = None) -> None:
    """A run whose process died could not write its own failure."""

    def leave() -> None:
        raise _HeldError

    with (
        suppress(_HeldError, InputError),
        run.folder.lock(leave, leave),
    ):  # what cannot be written: the next run finds it running, and takes it up
        if run.folder.status["state"] != "done":
            run.folder.set_status(
                "failed", error=f"{how}: the next run goes on from its last checkpoint", traceback=traceback
            )


def _failure(run: Run) -> str:
    """Why it failed, as far as its folder can tell."""
    try:
        return run.folder.status.get(
            "error",
            "its process died after it was done, or its folder could not be written to or is another run's",
        )
    except InputError as error:
        return str(error)
