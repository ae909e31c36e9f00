"""Tuning: the same search for every model, judged on validation images alone. A trial is a run like any other, with a label.

results/<dataset>/<preset>/<model>+trial-<k>/seed-<s>/ holds trial k, results/<dataset>/<preset>/trials.csv all of them in a table.
"""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

import pandas as pd
import torch

from mmbench.console import Console
from mmbench.data import load_data
from mmbench.execution.cached_references import make_references
from mmbench.execution.local import default_jobs, execute
from mmbench.execution.making import MakeRun, Run, is_done
from mmbench.execution.orchestrator import announce, leave_out, lost
from mmbench.execution.signals import Stop, StoppedError
from mmbench.plan.job import Job
from mmbench.storage.files import check_cache, write_atomically
from mmbench.storage.run_folder import prepare_results
from mmbench.tuning.search import Search, objective, was_pruned
from models.errors import InputError
from models.settings import search_space

__all__ = ["METRICS", "tune"]

METRICS = "coherence,fd_clf,probe,sampler"
LOOKS = 4  # at validation images while a trial is trained, the last of them at its end


def tune(job: Job, trials: int) -> int:
    """Make `trials` trials of every model of `job`, with its first seed, and write trials.csv.

    The first trial has the defaults; the settings of each further one are drawn from what the model declares as their `search`. One that
    is worse at a look, at half of its steps or later, than the median of those before it is given up.

    Returns:
        The exit code: 0, 1 if a trial failed, 128 + the signal's number after a signal.

    Raises:
        InputError: for a model that declares no search, without optuna, and as `run_job`.
    """
    console, first = Console(), job.configs[0]
    _check(job, trials)
    prepare_results(job.results, first.dataset, first.preset)
    check_cache()
    data = load_data(first.dataset, job.data_dir, first.data).held_out()
    job = leave_out(job, data, console)
    job = replace(job, looks=LOOKS, command=_command(job, trials))
    searches = tuple(Search(job, config, data) for config in job.configs)
    for search in searches:
        search.check_begun(trials)
    jobs = job.jobs or default_jobs(trials * len(searches), job.device)
    failed: list[Run] = []
    with Stop() as stop:
        try:
            references = make_references(
                data, first.protocol, job.metrics, None, job.device, console, stop.check
            )
            planned = _plan(searches, trials, jobs, console, stop)
            failed = execute(planned, _MakeTrial(job, data, references, searches), jobs, console, stop, lost)
            stop.check()
        except StoppedError:
            console.say("Stopped. What is done is kept: the same command goes on from here.")
            return stop.exit_code
        finally:
            _write_table(searches, trials, console)
    for search in searches:
        console.say(_verdict(search, trials))
    return 1 if any(not was_pruned(run.folder.status) for run in failed) else 0


def _command(job: Job, trials: int) -> str:
    """Of `mmbench tune`, which has neither seeds nor metrics to choose, from that of `mmbench run`."""
    words = (
        job.command.replace("mmbench run ", "mmbench tune ", 1)
        .replace(f" --seeds {job.seeds[0]} ", " ")
        .replace(f" --metrics {METRICS}", "")
    )
    return f"{words} --trials {trials}"


def _check(job: Job, trials: int) -> None:
    if find_spec("optuna") is None:
        raise InputError("Tuning needs optuna: install the extra with pip install 'mmbench[tune]'.")
    if trials < 1:
        raise InputError(f"--trials {trials} is not usable: expected a whole number, at least 1.")
    for config in job.configs:
        if not search_space(config.entry.settings):
            raise InputError(
                f"The model {config.entry.name} has no setting with a `search`: leave it out, or declare one (models/settings.py)."
            )


def _plan(searches: Sequence[Search], trials: int, jobs: int, console: Console, stop: Stop) -> Iterator[Run]:
    """What is left to do, a trial of every model and then the next; each is drawn when there is a process for it."""
    threads = max(1, torch.get_num_threads() // jobs)
    for number in range(trials):
        for search in searches:
            run = search.run(number)
            if not (is_done(run, console) or was_pruned(run.folder.status)):
                announce([run], replace(search.job, label=search.label(number)), search.data, threads, stop)
                yield run


@dataclass(frozen=True)
class _MakeTrial(MakeRun):
    """Makes trials; see MakeRun."""

    searches: tuple[Search, ...]

    def looked(self, run: Run, step: int, metrics: dict[str, float]) -> None:
        (search,) = (search for search in self.searches if search.name == run.config.entry.name)
        search.check(search.number(run), step, metrics)


def _write_table(searches: Sequence[Search], trials: int, console: Console) -> None:
    """trials.csv: a row per trial, with the seconds of training and evaluation, its metrics of validation images and its settings."""
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
                "objective": objective(trial.metrics),
                "last_look": last,
                "last_objective": trial.curve.get(last),
            }
            rows.append({**head, **trial.metrics, **trial.params})
    if not rows:
        return
    text = io.BytesIO()
    pd.DataFrame(rows).to_csv(text, index=False, lineterminator="\n")
    first = searches[0]
    path = first.job.results / first.config.dataset / first.config.preset / "trials.csv"
    write_atomically(path, lambda file: file.write(text.getvalue()))
    console.say(f"wrote {path}")


def _verdict(search: Search, trials: int) -> str:
    """The best trial in a sentence, with the words that choose its settings."""
    done = [trial for trial in search.read(trials) if trial.state == "done"]
    scores = {trial.number: score for trial in done if (score := objective(trial.metrics)) is not None}
    if not scores:
        return f"{search.name}: no trial was finished."
    best = max(done, key=lambda trial: scores.get(trial.number, -1.0))
    words = [
        f"--set {search.name}.{name}={value:.4g}"
        if isinstance(value, float)
        else f"--set {search.name}.{name}={value}"
        for name, value in best.params.items()
    ]
    return f"{search.name}: trial {best.number} of {len(done)} finished ones is the best, {100 * scores[best.number]:.1f} %: {' '.join(words)}"
