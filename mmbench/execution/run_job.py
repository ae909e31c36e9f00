"""What `mmbench run` makes: every run of a job that is not done."""

from collections.abc import Iterable
from dataclasses import dataclass

from mmbench.console import Console
from mmbench.data import MultimodalData, load_data
from mmbench.execution.estimate import estimate
from mmbench.execution.executor import pick_executor
from mmbench.execution.orchestrator import Assignment, Outcome, orchestrate
from mmbench.execution.signals import Stop
from mmbench.execution.train import TrainRun, is_done, make_batches
from mmbench.plan.job import Job
from mmbench.plan.planned import PlannedRun, announce, plan_runs
from mmbench.storage.files import check_cache
from mmbench.storage.run_folder import prepare_results

__all__ = ["Made", "leave_out", "prepare", "run_job"]


@dataclass(frozen=True)
class Made:
    """What came of a job.

    Attributes:
        runs: all of them, those that were done before included.
        outcome: of those that were left to do.
    """

    runs: list[PlannedRun]
    outcome: Outcome


def run_job(job: Job, console: Console) -> Made:
    """Make every run of `job` that is not done.

    Raises:
        InputError: before anything is trained, for data or a results folder that cannot be used.
    """
    job, data = prepare(job, console)
    runs = plan_runs(job, data)
    first, execution = job.configs[0], job.execution
    make_batches(first, data, 0, "cpu")  # an InputError now rather than in every run
    todo = [run for run in runs if not is_done(run, console)]
    _mention_other_code([run for run in runs if run not in todo], console)
    executor = pick_executor(execution, len(todo), first, data, console.say)
    precisions = " and ".join(sorted({run.config.precision for run in runs}))
    console.say(
        f"{first.dataset}, preset {first.preset}: {len(runs)} runs, {len(runs) - len(todo)} of them done, "
        f"{executor.jobs} at a time on {executor.place} in {precisions}."
    )
    if not todo:
        return Made(runs, Outcome())

    def begin(stop: Stop) -> Iterable[PlannedRun]:
        announce(todo, job.describe_place(executor.threads), stop.check)
        if execution.home == execution.device:  # a rate measured elsewhere says nothing about GPUs
            console.say(estimate(job, todo, data, executor, stop))
        return todo

    assignment = Assignment(
        data=data,
        protocol=first.protocol,
        metrics=job.metrics,
        inception_weights=job.inception_weights,
        device=execution.home,
        executor=executor,
        runs=begin,
        work=lambda references: TrainRun(execution, job.metrics, data, references),
    )
    return Made(runs, orchestrate(assignment, console))


def _mention_other_code(done: list[PlannedRun], console: Console) -> None:
    """Say which runs need not give today's result: settings are the same, and the code is not."""
    if others := [run.name for run in done if run.made_by_other_code()]:
        console.say(
            f"Done by other code of mmbench than today's, which may give other figures: {', '.join(others)}. "
            "To make them again, give the command a --label, or move their folders elsewhere."
        )


def prepare(job: Job, console: Console) -> tuple[Job, MultimodalData]:
    """The job without models that its data do not suit, and the data.

    Raises:
        InputError: for a results folder or a cache that cannot be written to, and for data that cannot be
            used.
    """
    first = job.configs[0]
    prepare_results(job.results, first.dataset, first.preset)
    check_cache()
    data = load_data(first.dataset, job.data_dir, first.data)
    return leave_out(job, data, console), data


def leave_out(job: Job, data: MultimodalData, console: Console) -> Job:
    """The job without the droppable models that do not take `data`; says which they are."""
    fitting = job.without_misfits(data)
    for config in job.configs:
        if config not in fitting.configs:
            console.say(f"{config.entry.name} is left out: it {config.misfit(data)}.")
    return fitting
