"""A job: what one command is to do, from the words of a command line to checked objects."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from mmbench.data.base import DATASETS, MultimodalData
from mmbench.data.own import register_data_file
from mmbench.plan import choices
from mmbench.plan.cluster import Cluster, pick_cluster
from mmbench.plan.command import Command, repeated
from mmbench.plan.config import RunConfig, restore_config
from mmbench.plan.environment import describe_environment
from mmbench.plan.overrides import Overrides, make_configs
from mmbench.plan.presets import get_preset
from mmbench.storage.records import AUTO, read_config
from mmbench.storage.run_folder import RunFolder
from models.errors import InputError
from models.model_file import load_model_file
from models.registry import ModelEntry

__all__ = ["Execution", "Job", "JobOptions", "Origin", "check_job"]


# Compiling takes 18 to 20 s on an H200 and saves CNF-MVAE 1.0 ms a step, MoPoE 0.4: 20,000 to 45,000 steps
COMPILED_FROM = 40_000


@dataclass(frozen=True)
class JobOptions:
    """The options of `mmbench run` as they are given, unchecked; docs/command-line.md explains each."""

    models: str | None = None
    dataset: str | None = None
    preset: str | None = None
    seeds: str | None = None
    overrides: Sequence[str] = ()
    observe: Sequence[str] = ()
    config: Path | None = None
    label: str | None = None
    results: Path = Path("results")
    data_dir: Path | None = None
    data_file: Path | None = None
    device: str = "auto"
    precision: str = "auto"
    step: str = "auto"
    metrics: str | None = None
    inception_weights: Path | None = None
    jobs: int | None = None
    looks: int = 0
    tensorboard: bool = False
    model_files: Sequence[Path] = ()
    executor: str = "local"
    ray_address: str | None = None
    cpus_per_run: int | None = None
    gpus_per_run: float | None = None


@dataclass(frozen=True)
class Execution:
    """How runs are made: nothing of this is part of a result.

    Attributes:
        device: to train and evaluate on.
        jobs: runs made at once, None for the default.
        looks: at validation images while a run is trained, for its history.
        tensorboard: whether runs write for TensorBoard too.
        cluster: that makes the runs in the place of this machine, None for none.
        step: how training steps are made, one of `mmbench.storage.shapes.STEPS`, or auto.
    """

    device: torch.device
    jobs: int | None = None
    looks: int = 0
    tensorboard: bool = False
    cluster: Cluster | None = None
    step: str = "auto"

    def step_of(self, steps: int) -> str:
        """How the steps of a training of so many are made."""
        if self.step != "auto":
            return self.step
        if self.device.type != "cuda":
            return "eager"
        return "compiled" if steps >= COMPILED_FROM else "captured"

    @property
    def home(self) -> torch.device:
        """The device of this process, which trains the judges: it may lack the GPUs that a cluster has."""
        return self.device if self.device.type != "cuda" or torch.cuda.is_available() else torch.device("cpu")


@dataclass(frozen=True)
class Origin:
    """The config.json whose run a job makes again.

    Attributes:
        file: its path.
        stored: what it holds.
    """

    file: Path
    stored: Mapping[str, Any]


@dataclass(frozen=True)
class Job:
    """Runs to make: every configuration with every seed.

    Attributes:
        configs: one per model.
        seeds: training seeds.
        label: keeps a variant apart, None for none; settings with a name are apart without it.
        results: root of the results.
        data_dir: folder of the images, None for that of the environment.
        metrics: groups of metrics to compute.
        inception_weights: file of pytorch-fid's weights, None to look where pytorch-fid keeps them.
        execution: how the runs are made.
        command: that makes the same job, without the folders of this machine.
        adopt_precision: whether runs that have begun go on in the precision that they were begun with.
        origin: the config.json whose run this job makes again, None for other jobs.
        droppable: names of models that came in with `all` or the like, and may be left out where the data do
            not suit them.
    """

    configs: tuple[RunConfig, ...]
    seeds: tuple[int, ...]
    label: str | None
    results: Path
    data_dir: Path | None
    metrics: frozenset[str]
    inception_weights: Path | None
    execution: Execution
    command: Command
    adopt_precision: bool = False
    origin: Origin | None = None
    droppable: frozenset[str] = field(default_factory=frozenset)

    def label_of(self, config: RunConfig) -> str | None:
        """The label of the runs of `config`: without one of the job, the name of its settings."""
        return self.label or config.named or None

    def folder(self, config: RunConfig, seed: int) -> RunFolder:
        """Where the run of `config` with `seed` goes."""
        name, label = config.entry.name, self.label_of(config)
        return RunFolder.of(self.results, config.dataset, config.preset, name, label, seed)

    def describe_place(self, threads: int) -> dict[str, object]:
        """What config.json says of where a run is made: no part of its hash."""
        auto = {"precision": AUTO} if self.adopt_precision else {}
        step = self.execution.step_of(self.configs[0].training.steps)
        made = {"step": step} if step != "eager" else {}
        return {**describe_environment(self.execution.home), "threads": threads, **made, **auto}

    def without_misfits(self, data: MultimodalData) -> "Job":
        """The job for these data: without droppable models that do not take them, if any are left."""
        kept = tuple(
            config
            for config in self.configs
            if config.entry.name not in self.droppable or config.misfit(data) is None
        )
        if not kept or kept == self.configs:
            return self
        names = ",".join(config.entry.name for config in kept)
        return replace(self, configs=kept, command=self.command.having("--models", names))


def check_job(options: JobOptions) -> Job:
    """The job that the options describe.

    Raises:
        InputError: for the first option that is not usable.
    """
    if options.config is not None:
        return _job_again(options, options.config)
    entries = choices.pick_models(options.models, options.model_files)
    dataset = choices.pick_dataset(options.dataset, options.data_file)
    preset = get_preset(options.preset or dataset.default_preset)
    execution = _execution(options)
    configs = make_configs(
        entries,
        dataset.name,
        preset.name,
        options.overrides,
        choices.pick_precision(options.precision, execution.device),
        choices.parse_observed(options.observe),
    )
    seeds = preset.seeds if options.seeds is None else choices.parse_seeds(options.seeds)
    metrics = choices.pick_metrics(options.metrics, preset, options.inception_weights)
    return Job(
        configs=tuple(configs),
        seeds=seeds,
        label=choices.check_label(options.label),
        results=options.results,
        data_dir=options.data_dir,
        metrics=metrics,
        inception_weights=options.inception_weights,
        execution=execution,
        command=_command(options, configs[0], seeds, entries, metrics),
        adopt_precision=options.precision == "auto",
        droppable=choices.collective_names(options.models),
    )


def _execution(options: JobOptions) -> Execution:
    """How the job is made."""
    cluster = pick_cluster(options.executor, options.ray_address, options.cpus_per_run, options.gpus_per_run)
    device = cluster.device(options.device) if cluster else choices.pick_device(options.device)
    return Execution(
        device=device,
        jobs=choices.check_count("--jobs", options.jobs, 1),
        looks=choices.check_count("--looks", options.looks, 0) or 0,
        tensorboard=choices.check_tensorboard(options.tensorboard),
        cluster=cluster,
        step=choices.pick_step(options.step, device),
    )


def _command(
    options: JobOptions,
    config: RunConfig,
    seeds: Sequence[int],
    entries: Sequence[ModelEntry],
    metrics: Iterable[str],
) -> Command:
    """The job in words, complete for another machine with the same data and model files."""
    dataset = DATASETS.get(config.dataset)
    pairs = [
        *repeated("--model-file", dict.fromkeys(file.name for file in options.model_files)),
        ("--models", ",".join(entry.name for entry in entries)),
        ("--data-file", dataset.file.name) if dataset.file else ("--dataset", config.dataset),
        ("--preset", config.preset),
        ("--seeds", ",".join(map(str, seeds))),
        ("--precision", config.precision),
        *repeated("--set", Overrides(options.overrides).pairs),
        *repeated("--observe", options.observe),
        *_measured(options, metrics),
        *([("--label", options.label)] if options.label else []),
        *([("--data-dir", "DATA")] if dataset.needs_data_dir else []),
    ]
    return Command("run", tuple(pairs))


def _measured(options: JobOptions, metrics: Iterable[str]) -> list[tuple[str, str]]:
    """What is computed, in words: the metrics where they were chosen, and the looks.

    The weights of Inception, whose file is this machine's own, are what asks for FID.
    """
    chosen = options.metrics is not None or options.inception_weights is not None
    return [
        *([("--metrics", ",".join(sorted(metrics)))] if chosen else []),
        *([("--looks", str(options.looks))] if options.looks else []),
    ]


_OF_THE_CONFIG = ("models", "dataset", "preset", "seeds", "overrides", "observe", "precision")


def _job_again(options: JobOptions, file: Path) -> Job:
    """The job that makes the run of a config.json again."""
    for name in _OF_THE_CONFIG:
        if getattr(options, name) not in (None, (), [], "auto"):
            option = "--set" if name == "overrides" else f"--{name}"
            raise InputError(f"--config {file} says what {option} says: leave one of them out.")
    stored = read_config(file, "give the config.json of a run, as it was written")
    for path in options.model_files:
        load_model_file(path)
    if options.data_file is not None:
        register_data_file(options.data_file)
    try:
        config = restore_config(stored)
        choices.check_known(config.dataset, stored)
        metrics = choices.pick_metrics(options.metrics, get_preset(config.preset), options.inception_weights)
        command = Command.parse(stored["command"])
    except ValueError as error:  # an InputError is one
        raise InputError(f"The run of {file} cannot be made again: {error}") from None
    begun = stored.get("label")
    if config.named and begun == config.named:  # not a label of the job: the settings gave it
        begun = None
    label = choices.check_label(options.label or begun)
    command = command.without("--metrics", "--looks")
    for option, value in (*_measured(options, metrics), *([("--label", label)] if label else [])):
        command = command.having(option, value)
    return Job(
        configs=(config,),
        seeds=(stored["seed"],),
        label=label,
        results=options.results,
        data_dir=options.data_dir,
        metrics=metrics,
        inception_weights=options.inception_weights,
        execution=_execution(options),
        command=command,
        origin=Origin(file, stored),
    )
