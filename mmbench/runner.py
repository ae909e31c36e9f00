"""The runner: from a job to finished runs, tables and figures."""

from collections.abc import Sequence
from dataclasses import asdict

import torch

from mmbench.console import Console
from mmbench.data.base import MultimodalData, load_data
from mmbench.data.batches import Batches
from mmbench.environment import describe_environment
from mmbench.executors import default_jobs, execute
from mmbench.files import write_json
from mmbench.job import Job
from mmbench.references import make_references
from mmbench.report import write_report
from mmbench.run import MakeRun, Run
from mmbench.signals import Stop, StoppedError
from mmbench.store import RunFolder, prepare_results

__all__ = ["run_job"]


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
    jobs = job.jobs or default_jobs(len(todo), job.device)
    console.say(
        f"{first.dataset}, preset {first.preset}: {len(runs)} runs, {len(runs) - len(todo)} of them done, "
        f"{jobs} at a time on {job.device} in {first.precision}."
    )
    failed: list[Run] = []
    with Stop() as stop:
        try:
            if todo:
                references = make_references(data, first.protocol, job.metrics, job.inception_weights, job.device, console, stop.check)
                _announce(todo, job, data, threads=max(1, torch.get_num_threads() // jobs))
                work = MakeRun(job, data, references, sum(run.config.training.steps for run in todo), jobs, todo[0])
                failed = execute(todo, work, jobs, console, stop, _lost)
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


def _announce(runs: Sequence[Run], job: Job, data: MultimodalData, threads: int) -> None:
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
                "environment": {**describe_environment(job.device), "threads": threads},
            }
            write_json(run.folder.config_file, description)


def _lost(run: Run, how: str) -> None:
    """A run whose process died could not write its own failure."""
    run.folder.set_status("failed", error=f"{how}: the next run goes on from its last checkpoint", traceback=None)
