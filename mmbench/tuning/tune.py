"""Tuning: the same search for every model, judged on validation images alone.

A trial is a run like any other, with a label.

results/<dataset>/<preset>/<model>+trial-<k>/seed-<s>/ holds trial k, results/<dataset>/<preset>/trials.csv
all of them in a table.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

from mmbench.console import Console
from mmbench.escape import csv_text
from mmbench.execution.executor import pick_executor
from mmbench.execution.orchestrator import Assignment, Outcome, orchestrate
from mmbench.execution.run_job import prepare
from mmbench.execution.signals import Stop
from mmbench.execution.train import TrainRun, is_done
from mmbench.plan.command import Command
from mmbench.plan.job import Job
from mmbench.plan.planned import PlannedRun, announce
from mmbench.storage.files import DamagedError, write_atomically
from mmbench.tuning.search import Search, was_pruned
from models.errors import InputError
from models.settings import search_space

__all__ = ["METRICS", "tune"]

METRICS = "coherence,fd_clf,probe,retrieval,sampler"
LOOKS = 4  # at validation images while a trial is trained, the last of them at its end


def tune(job: Job, trials: int, console: Console) -> Outcome:
    """Make `trials` trials of every model of `job`, with its first seed, and write trials.csv.

    The first trial has the defaults; the settings of each further one are drawn from what the model declares
    as their `search`. A trial that at a look, at half of its steps or later, is worse than the median of
    those before it is given up.

    Raises:
        InputError: for a model that declares no search, without optuna, and as `run_job`.
    """
    _check(job, trials)
    job, data = prepare(job, console)
    data = data.held_out()
    command = Command("tune", job.command.without("--seeds", "--metrics").options)
    execution = replace(job.execution, looks=LOOKS)
    job = replace(job, execution=execution, command=command.having("--trials", str(trials)))
    searches = tuple(Search(job, config, data) for config in job.configs)
    for search in searches:
        search.check_begun(trials)
    executor = pick_executor(execution, trials * len(searches), job.configs[0], data, console.say)
    assignment = Assignment(
        data=data,
        protocol=job.configs[0].protocol,
        metrics=job.metrics,
        inception_weights=None,
        device=execution.home,
        executor=executor,
        runs=lambda stop: _plan(searches, trials, executor.threads, console, stop),
        work=lambda references: _MakeTrial(execution, job.metrics, data, references, searches),
    )
    try:
        outcome = orchestrate(assignment, console)
    finally:
        _write_table(searches, trials, console)
    if outcome.stopped_by is None:
        for search in searches:
            console.say(_verdict(search, trials))
    kept = tuple(run for run in outcome.failed if not _given_up(run))
    return replace(outcome, failed=kept)


def _check(job: Job, trials: int) -> None:
    """InputError without optuna, without trials, and for a model that has nothing to search, or fixed
    settings.
    """
    if find_spec("optuna") is None:
        raise InputError("Tuning needs optuna: install the extra with pip install 'mmbench[tune]'.")
    if trials < 1:
        raise InputError(f"--trials {trials} is not usable: expected a whole number, at least 1.")
    for config in job.configs:
        if config.named:
            raise InputError(
                f"--set {config.entry.name}={config.named} says what a search would change: leave it out."
            )
        if not search_space(config.entry.settings):
            raise InputError(
                f"The model {config.entry.name} has no setting with a `search`: leave it out, or declare "
                "one (models/settings.py)."
            )


def _plan(
    searches: Sequence[Search], trials: int, threads: int, console: Console, stop: Stop
) -> Iterator[PlannedRun]:
    """What is left to do, trial by trial of every model; each is drawn when there is room for it."""
    environment = searches[0].job.describe_place(threads)
    for number in range(trials):
        for search in searches:
            run = search.run(number)
            if not (is_done(run, console) or _given_up(run)):
                announce([run], environment, stop.check)
                yield run


def _given_up(run: PlannedRun) -> bool:
    """Whether a trial was given up; not where its status is damaged: it is made again."""
    try:
        return was_pruned(run.folder.status)
    except DamagedError:
        return False


@dataclass(frozen=True)
class _MakeTrial(TrainRun):
    """Trains and evaluates trials; see TrainRun."""

    searches: tuple[Search, ...]

    def looked(self, run: PlannedRun, step: int, metrics: dict[str, float]) -> None:
        (search,) = (search for search in self.searches if search.name == run.config.entry.name)
        search.check(search.number(run), step, metrics)


def _write_table(searches: Sequence[Search], trials: int, console: Console) -> None:
    """trials.csv: a row per trial with its seconds, its metrics on validation images and its settings."""
    rows: list[dict[str, Any]] = []
    for search in searches:
        for trial in search.read(trials):
            last = max(trial.curve, default=0)
            head = {
                "model": search.name,
                "trial": trial.number,
                "state": trial.state,
                "seconds": trial.seconds,
            }
            head |= {
                "objective": trial.objective,
                "last_look": last,
                "last_objective": trial.curve.get(last),
            }
            rows.append({**head, **trial.metrics, **trial.params})
    if not rows:
        return
    heads = list(dict.fromkeys(key for row in rows for key in row))
    text = csv_text([heads, *([row.get(head) for head in heads] for row in rows)]).encode()
    first = searches[0]
    path = first.job.results / first.config.dataset / first.config.preset / "trials.csv"
    write_atomically(path, text)
    console.say(f"wrote {path}")


def _verdict(search: Search, trials: int) -> str:
    """The best trial in a sentence, with the words that choose its settings."""
    done = [trial for trial in search.read(trials) if trial.state == "done"]
    scores = {trial.number: score for trial in done if (score := trial.objective) is not None}
    if not scores:
        return f"{search.name}: no trial was finished."
    best = max(done, key=lambda trial: scores.get(trial.number, -1.0))
    words = [
        f"--set {search.name}.{name}={value:.4g}"
        if isinstance(value, float)
        else f"--set {search.name}.{name}={value}"
        for name, value in best.params.items()
    ]
    head = (
        f"{search.name}: trial {best.number} of {len(done)} finished ones is the best, "
        f"{100 * scores[best.number]:.1f} %"
    )
    return f"{head}: {' '.join(words)}"
