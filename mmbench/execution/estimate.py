"""How long a job will take: the rate of every model, measured over a second of training steps.

Where the runs are made in processes of their own, so are these steps: a model that ends its process, or is
killed for want of memory, ends no other run's.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mmbench.console import Console, duration
from mmbench.data.base import DATASETS, MultimodalData
from mmbench.execution.executor import Executor
from mmbench.execution.isolation import same_state
from mmbench.execution.local import in_processes
from mmbench.execution.rate import seconds_per_step
from mmbench.execution.signals import Stop
from mmbench.execution.threads import computing_threads
from mmbench.plan.config import RunConfig
from mmbench.plan.job import Execution, Job
from mmbench.plan.planned import PlannedRun
from mmbench.plan.presets import Training, get_preset
from mmbench.plan.tuned_settings import tuned_settings
from models.errors import InputError
from models.settings import resolve, search_space

__all__ = ["estimate"]

UNKNOWN, FAILED = -1.0, -2.0  # in the place of seconds


def estimate(
    job: Job, todo: Sequence[PlannedRun], data: MultimodalData, executor: Executor, stop: Stop
) -> str:
    """How long training will take at the rates measured now, and how long other presets would."""
    begun = {run.config.entry.name: run.threads for run in todo}
    threads = [begun.get(config.entry.name, executor.threads) for config in job.configs]
    at_once = 1 if executor.apart else executor.jobs
    measure = _Measure(tuple(zip(job.configs, threads, strict=True)), data, job.execution, at_once)
    costs = _measure(measure, executor.apart, stop)
    stop.check()
    left = [costs.get(run.config.entry.name, 0.0) * _steps_left(run) for run in todo]
    unknown = ", ".join(c.entry.name for c in job.configs if c.entry.name not in costs)
    without = f" without {unknown}, which failed its first steps" if unknown else ""
    took = duration(_makespan(left, executor.jobs))
    parts = [f"Training at the rate of this machine: about {took}{without}"]
    current = job.configs[0].preset
    parts += [_elsewhere(job, name, costs, executor.jobs) for name in ("paper", "cpu") if name != current]
    return "; ".join(parts) + "."


@dataclass(frozen=True)
class _Measure:
    """Measures models one after another.

    Attributes:
        configs: their configurations, each with the number of threads to compute with.
        data, execution: to train with.
        at_once: runs that take turns.
    """

    configs: tuple[tuple[RunConfig, int], ...]
    data: MultimodalData
    execution: Execution
    at_once: int

    def __call__(self, rates: Tensor, console: Console, stop: Stop) -> bool:
        """Write seconds per step of every configuration that is UNKNOWN in `rates`; FAILED where it fails."""
        for index, (config, threads) in enumerate(self.configs):
            if stop.signal is not None or rates[index] != UNKNOWN:
                continue
            rates[index] = FAILED  # unless this process lives to say more
            try:
                with computing_threads(threads), same_state(lambda line: None):
                    step = self.execution.step_of(config.training.steps)
                    device = self.execution.device
                    rates[index] = seconds_per_step(config, self.data, device, stop, step, self.at_once)
            except BaseException as error:  # a model that cannot be trained says why in its run
                if stop.caused(error):
                    raise
        return True


def _measure(measure: _Measure, apart: bool, stop: Stop) -> dict[str, float]:
    """Seconds per step by the name of the model, without those that failed.

    Args:
        measure: does it.
        apart: whether it is done in a process of its own; where that dies, another one measures the rest.
        stop: ends it early.
    """
    rates = torch.full((len(measure.configs),), UNKNOWN, dtype=torch.float64)
    if apart:
        rates.share_memory_()
        known = -1
        while known < (known := int((rates != UNKNOWN).sum())) < len(rates):
            in_processes([rates], measure, 1, Console(), stop, lambda run, how: None)
    else:
        measure(rates, Console(), stop)
    names = (config.entry.name for config, _ in measure.configs)
    return {name: rate for name, rate in zip(names, rates.tolist(), strict=True) if rate >= 0}


def _elsewhere(job: Job, name: str, costs: dict[str, float], jobs: int) -> str:
    """How long the preset called `name` would take, as far as its settings cost as much as those at hand."""
    current, dataset = job.configs[0].preset, DATASETS.get(job.configs[0].dataset)
    preset = get_preset(name, dataset.budgets)
    budget = resolve(Training, preset.training, f"the preset {name}")
    same = [c for c in job.configs if _costs(c, name) == _costs(c, current)]
    others = ", ".join(c.entry.name for c in job.configs if c not in same)
    # A step is taken to cost as much as its pairs. Where it has a cost of its own, as on a GPU, that is too
    # much for a larger batch: better than the time of a small one, and a smoke run can still say something.
    pairs = [budget.batch_size / config.training.batch_size for config in same]
    each = [costs.get(c.entry.name, 0.0) * budget.steps * share for c, share in zip(same, pairs, strict=True)]
    took = _makespan(each * len(preset.seeds), jobs)
    without = f" without {others}, which has other settings there" if others else ""
    return f"--preset {name}: about {duration(took)}{without}"


def _makespan(seconds: Sequence[float], jobs: int) -> float:
    """The least seconds that runs of so many take, `jobs` at a time: none is made by two of them."""
    return max(max(seconds), sum(seconds) / min(jobs, len(seconds))) if seconds else 0.0


def _steps_left(run: PlannedRun) -> int:
    """Steps that a run has still to make, as far as its status tells."""
    try:
        step = run.folder.status.get("step", 0)
    except InputError:  # there is no status that can be read
        step = 0
    return max(0, run.config.training.steps - step)


def _costs(config: RunConfig, preset: str) -> dict[str, object]:
    """What a preset changes of a model and a step's time depends on: not what a search chooses."""
    searched = search_space(config.entry.settings)
    chosen = tuned_settings(config.entry, config.dataset, preset)
    return {name: value for name, value in chosen.items() if name not in searched}
