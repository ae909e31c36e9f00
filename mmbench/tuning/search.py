"""The search for one model's settings: its trials on disk, the next one to try, and which to give up.

What was tried is read from the trials' own folders whenever something is decided: there is no other memory.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from metrics.objective import objective, with_failures
from mmbench.data.base import MultimodalData
from mmbench.execution.train import GivenUpError
from mmbench.plan.config import RunConfig
from mmbench.plan.job import Job
from mmbench.plan.planned import PlannedRun, plan_run
from mmbench.plan.tuned_settings import tuned_settings
from mmbench.storage.differences import differences
from mmbench.storage.files import DamagedError
from mmbench.storage.history import read_history
from mmbench.storage.records import LOOK
from mmbench.storage.run_folder import RunFolder
from mmbench.storage.runs import StoredRun, read_run
from models.errors import InputError
from models.settings import resolve, search_space

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution

__all__ = ["Search", "Trial", "was_pruned"]

PREFIX = "trial-"  # of the labels of trials
STARTUP = (
    4  # trials before the sampler learns from them, and before one is held against the median of the others
)


def was_pruned(status: Mapping[str, Any]) -> bool:
    """Whether this status of a run is that of a trial that was given up."""
    return bool(status.get("given_up"))


@dataclass(frozen=True)
class Trial:
    """A trial that has begun.

    Attributes:
        number: from 0 on; trial 0 has the defaults.
        run: as its folder holds it.
        searched: names of the settings that are searched.
    """

    number: int
    run: StoredRun
    searched: tuple[str, ...]

    @property
    def state(self) -> str:
        """Of its run, or "pruned"."""
        return "pruned" if was_pruned(self.run.status) else self.run.state

    @property
    def params(self) -> dict[str, Any]:
        """The settings that are searched."""
        return {name: self.run.config["settings"].get(name) for name in self.searched}

    @property
    def metrics(self) -> dict[str, float | None]:
        """Of validation images, once the trial is done."""
        return self.run.metrics

    @property
    def objective(self) -> float | None:
        """Of the metrics, once the trial is done."""
        return objective(with_failures(self.run.metrics, self.run.reasons))

    @cached_property
    def curve(self) -> dict[int, float]:
        """Step -> objective, at the looks so far."""
        found = {}
        for row in read_history(self.run.folder).to_dict("records"):
            looked = {n.removeprefix(LOOK): v for n, v in row.items() if n.startswith(LOOK)}
            if all(math.isnan(v) for v in looked.values()):  # no look at this step
                continue
            if (value := objective(looked)) is not None:
                found[int(row["step"])] = value
        return found

    @property
    def seconds(self) -> float | None:
        """Of training and evaluation, once the trial is done."""
        return self.run.seconds


@dataclass(frozen=True)
class Search:
    """The trials of one model.

    Attributes:
        job: whose results folder, first seed and command the trials have.
        config: of trial 0.
        data: with validation images in the place of test images.
    """

    job: Job
    config: RunConfig
    data: MultimodalData

    @cached_property
    def name(self) -> str:
        return self.config.entry.name

    @cached_property
    def space(self) -> "dict[str, BaseDistribution]":
        """The searched settings and what they are drawn from: numbers log-uniformly."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        found: dict[str, BaseDistribution] = {}
        for name, values in search_space(self.config.entry.settings).items():
            default = getattr(self.config.settings, name)
            if isinstance(default, float):
                found[name] = FloatDistribution(values[0], values[1], log=True)
            elif isinstance(default, int) and not isinstance(default, bool):
                found[name] = IntDistribution(values[0], values[1], log=True)
            else:
                found[name] = CategoricalDistribution(values)
        return found

    def label(self, number: int) -> str:
        return f"{PREFIX}{number:02}"

    def number(self, run: PlannedRun) -> int:
        """Which trial `run` is."""
        return int(run.folder.path.parent.name.removeprefix(f"{self.name}+{PREFIX}"))

    def check_begun(self, trials: int) -> None:
        """InputError if one of the first `trials` was begun with another budget, data or fixed settings."""
        for number in range(trials):
            if self._folder(number).config is not None:
                self.run(number)

    def run(self, number: int) -> PlannedRun:
        """Trial `number`, as it was begun or newly drawn; InputError as `check_begun`."""
        folder = self._folder(number)
        begun = folder.config
        asked = asdict(self.config.settings)
        chosen = begun["settings"] if begun else {**asked, **self._draw(number)}
        settings: Any = resolve(self.config.entry.settings, chosen, self.name)
        held = {name: value for name, value in asked.items() if name not in self.space}
        if found := differences({name: getattr(settings, name) for name in held}, held):
            raise InputError(
                f"{folder.path} holds a trial of a search with other settings: {'; '.join(map(str, found))}. "
                "Search elsewhere with --results, or move the trials away."
            )
        about = {"label": self.label(number), "command": str(self.job.command)}
        config = replace(self.config, settings=settings)
        run = plan_run(config, self.job.seeds[0], folder, self.data, about)
        run.check_folder()
        return run

    def read(self, trials: int) -> list[Trial]:
        """Those of the first `trials` that have begun, without damaged ones, which are to be made again."""
        found = []
        for number in range(trials):
            folder = self._folder(number)
            if folder.config is not None:
                try:
                    found.append(Trial(number, read_run(folder.path), tuple(self.space)))
                except DamagedError:
                    continue
        return found

    def check(self, number: int, step: int, metrics: Mapping[str, float | None]) -> None:
        """Raise GivenUpError if trial `number`, with these `metrics` after `step`, is to be given up.

        At half of its steps at the earliest: one that starts slowly can end well.
        """
        from optuna.pruners import MedianPruner
        from optuna.trial import TrialState, create_trial

        value = objective(metrics)
        if value is None or step == self.config.training.steps:
            return
        others = self._study([trial for trial in self.read(number) if trial.state == "done"])
        pruner = MedianPruner(n_startup_trials=STARTUP, n_warmup_steps=self.config.training.steps // 2)
        if pruner.prune(others, create_trial(state=TrialState.RUNNING, intermediate_values={step: value})):
            raise GivenUpError(
                f"at step {step} its objective is {100 * value:.1f} %, below the median of the finished "
                "trials before it"
            )

    def _folder(self, number: int) -> RunFolder:
        """Where a trial is."""
        return RunFolder.of(
            self.job.results,
            self.config.dataset,
            self.config.preset,
            self.name,
            self.label(number),
            self.job.seeds[0],
        )

    def _study(self, trials: Sequence[Trial]) -> "Study":
        """What optuna knows of the done and the pruned among `trials`."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(direction="maximize")
        states = {"done": optuna.trial.TrialState.COMPLETE, "pruned": optuna.trial.TrialState.PRUNED}
        for trial in trials:
            value = trial.objective
            if trial.state in states and (value is not None or trial.curve):
                value = value if trial.state == "done" else None
                made = optuna.trial.create_trial(
                    state=states[trial.state],
                    value=value,
                    params=trial.params,
                    distributions=self.space,
                    intermediate_values=trial.curve,
                )
                study.add_trial(made)
        return study

    def _draw(self, number: int) -> dict[str, Any]:
        """The searched settings of trial `number`.

        Those of trial 0 are the model's defaults, even where others were chosen for the data set, but for
        what --set says; the others come from a tree-structured Parzen estimator (Bergstra et al. 2011).
        """
        from optuna.samplers import TPESampler

        if number == 0:
            entry = self.config.entry
            defaults, chosen = (
                entry.settings(),
                tuned_settings(entry, self.config.dataset, self.config.preset),
            )
            replaced = [
                name
                for name, value in chosen.items()
                if name in self.space and getattr(self.config.settings, name) == value
            ]  # not by --set
            return {name: getattr(defaults, name) for name in replaced}
        study = self._study(self.read(number))
        # by the number: a search that is taken up goes on as it would have
        study.sampler = TPESampler(seed=number, n_startup_trials=STARTUP)
        return study.ask(self.space).params
