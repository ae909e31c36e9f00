"""A job, from the words of a command line to checked objects: models, seeds, device, folders."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import join

import torch

from metrics.groups import FURTHER, METRICS
from metrics.references.inception import find_weights
from mmbench.adapters import find_models, is_collective
from mmbench.data.base import DATASETS
from mmbench.plan.cluster import Cluster
from mmbench.plan.config import Preset, RunConfig, check_observed, get_preset, make_configs, restore_config
from mmbench.storage.records import PRECISIONS, SEEDS, read_config
from mmbench.training.tensorboard import check_tensorboard
from models.errors import InputError, suggest
from models.registry import ModelEntry, load_model_file

__all__ = ["Job", "pick_device", "pick_metrics"]


@dataclass(frozen=True)
class Job:
    """Runs to make: every configuration with every seed.

    Attributes:
        configs: one per model.
        seeds: training seeds.
        label: keeps a variant apart, None for none.
        results: root of the results.
        data_dir: folder of the images, None for the environment's.
        device: to train and evaluate on.
        metrics: groups of metrics to compute.
        inception_weights: file of pytorch-fid's weights, None to look where pytorch-fid keeps them.
        jobs: runs made at once, None for the default.
        looks: at validation images while a run is trained, for its history.
        adopt_precision: take up runs that are there already in the precision that they were begun with.
        command: that makes the same job, without the folders of this machine.
        tensorboard: whether runs write for TensorBoard too.
        origin: the config.json whose run this job makes again, and the hash that it must have; None for other jobs.
        cluster: that makes the runs in the place of this machine, None for none.
        at_will: names of the models that nobody named: a word for all chose them.
    """

    configs: tuple[RunConfig, ...]
    seeds: tuple[int, ...]
    label: str | None
    results: Path
    data_dir: Path | None
    device: torch.device
    metrics: frozenset[str]
    inception_weights: Path | None
    jobs: int | None
    looks: int
    adopt_precision: bool
    command: str
    tensorboard: bool = False
    origin: tuple[Path, str] | None = None
    cluster: Cluster | None = None
    at_will: frozenset[str] = frozenset()

    def without_misfits(self, modalities: int) -> "Job":
        """The job for data of so many modalities: without the models at will that take fewer, as long as others are left."""
        kept = tuple(
            config
            for config in self.configs
            if config.entry.takes(modalities) or config.entry.name not in self.at_will
        )
        if not kept:
            return self
        before, after = (
            ",".join(config.entry.name for config in configs) for configs in (self.configs, kept)
        )
        return replace(
            self, configs=kept, command=self.command.replace(f"--models {before} ", f"--models {after} ", 1)
        )

    @property
    def home(self) -> torch.device:
        """Of this process, which makes judges and statistics: a cluster may have GPUs where this machine has none."""
        return self.device if self.device.type != "cuda" or torch.cuda.is_available() else torch.device("cpu")

    @classmethod
    def from_config(
        cls,
        file: Path,
        label: str | None = None,
        results: Path = Path("results"),
        *,
        data_dir: Path | None = None,
        device: str = "auto",
        metrics: str | None = None,
        inception_weights: Path | None = None,
        jobs: int | None = None,
        looks: int = 0,
        tensorboard: bool = False,
        model_files: Sequence[Path] = (),
        cluster: Cluster | None = None,
    ) -> "Job":
        """A job that makes the run of a config.json again; InputError for a file that is none, or of a model that is not there."""
        stored = read_config(file)
        for path in model_files:
            load_model_file(path)
        try:
            config = restore_config(stored)
            DATASETS.get(config.dataset)
            wanted = pick_metrics(metrics, get_preset(config.preset), inception_weights)
        except InputError as error:
            raise InputError(f"The run of {file} cannot be made again: {error}") from None
        return cls(
            configs=(config,),
            seeds=(stored["seed"],),
            label=_check_label(label or stored.get("label")),
            results=results,
            data_dir=data_dir,
            device=cluster.device(device) if cluster else pick_device(device),
            metrics=wanted,
            inception_weights=inception_weights,
            jobs=_check_count("--jobs", jobs, 1),
            looks=_check_count("--looks", looks, 0) or 0,
            adopt_precision=False,
            command=stored["command"] + (f" --label {label}" if label else ""),
            tensorboard=_check_tensorboard(tensorboard),
            origin=(file, stored["hash"]),
            cluster=cluster,
        )

    @classmethod
    def from_options(
        cls,
        models: str | None,
        dataset: str,
        preset: str | None = None,
        seeds: str | None = None,
        overrides: Sequence[str] = (),
        label: str | None = None,
        results: Path = Path("results"),
        *,
        observe: Sequence[str] = (),
        data_dir: Path | None = None,
        device: str = "auto",
        precision: str = "auto",
        metrics: str | None = None,
        inception_weights: Path | None = None,
        jobs: int | None = None,
        looks: int = 0,
        tensorboard: bool = False,
        model_files: Sequence[Path] = (),
        cluster: Cluster | None = None,
    ) -> "Job":
        """A job from the options of `mmbench run`, in their text form; InputError for the first one that is not usable."""
        entries = _pick_models(models, model_files)
        data = DATASETS.get(dataset)
        chosen = get_preset(preset or data.default_preset)
        where = cluster.device(device) if cluster else pick_device(device)
        configs = make_configs(
            entries,
            dataset,
            chosen.name,
            overrides,
            _pick_precision(precision, where),
            _parse_observed(observe),
        )
        wanted = pick_metrics(metrics, chosen, inception_weights)
        numbers = _parse_seeds(seeds) if seeds is not None else chosen.seeds
        words = ["mmbench", "run", *(word for file in model_files for word in ("--model-file", file.name))]
        words += [
            "--models",
            ",".join(entry.name for entry in entries),
            "--dataset",
            dataset,
            "--preset",
            chosen.name,
        ]
        words += ["--seeds", ",".join(map(str, numbers)), "--precision", configs[0].precision] + [
            word for pair in overrides for word in ("--set", pair)
        ]
        words += [word for pair in observe for word in ("--observe", pair)] + (
            ["--metrics", metrics] if metrics else []
        )
        words += (["--label", label] if label else []) + (["--looks", str(looks)] if looks else [])
        words += ["--data-dir", "DATA"] if data.needs_data_dir else []
        return cls(
            configs=tuple(configs),
            seeds=numbers,
            label=_check_label(label),
            results=results,
            data_dir=data_dir,
            device=where,
            metrics=wanted,
            inception_weights=inception_weights,
            jobs=_check_count("--jobs", jobs, 1),
            looks=_check_count("--looks", looks, 0) or 0,
            adopt_precision=precision == "auto",
            command=join(words),
            tensorboard=_check_tensorboard(tensorboard),
            cluster=cluster,
            at_will=frozenset(
                entry.name
                for word in (models or "").split(",")
                if is_collective(word)
                for entry in find_models(word.strip())
            ),
        )


def _check_label(label: str | None) -> str | None:
    if label is not None and not (
        isinstance(label, str) and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", label)
    ):
        raise InputError(
            f"The label {label!r} is not usable: expected letters, digits, dots, dashes and underscores."
        )
    return label


def _check_tensorboard(wanted: bool) -> bool:
    if wanted:
        check_tensorboard()
    return wanted


def _check_count(option: str, count: int | None, least: int) -> int | None:
    if count is not None and count < least:
        raise InputError(f"{option} {count} is not usable: expected a whole number, at least {least}.")
    return count


def _pick_models(names: str | None, files: Sequence[Path]) -> list[ModelEntry]:
    """The models called `names` and all models of `files`, each once."""
    own = [entry for file in files for entry in load_model_file(file)]
    if names is None and not own:
        raise InputError(
            "No model to run: name some with --models (`mmbench models` lists them, or all), or a file of yours with --model-file."
        )
    chosen = (
        [] if names is None else [entry for word in names.split(",") for entry in find_models(word.strip())]
    )
    if len({entry.name for entry in chosen}) < len(chosen):
        raise InputError(f"--models {names} names a model twice: name each once.")
    return list({entry.name: entry for entry in (*chosen, *own)}.values())


def _parse_seeds(text: str) -> tuple[int, ...]:
    try:
        seeds = tuple(int(word) for word in text.split(","))
    except ValueError:
        raise InputError(
            f"--seeds {text} is not usable: expected whole numbers separated by commas, for example 0,1,2."
        ) from None
    if not all(seed in SEEDS for seed in seeds):
        raise InputError(f"--seeds {text} is not usable: expected numbers from 0 to 2^63 - 1.")
    if len(set(seeds)) < len(seeds):
        raise InputError(
            f"--seeds {text} repeats a seed: two equal runs are not two results; name each seed once."
        )
    return seeds


def _parse_observed(pairs: Sequence[str]) -> dict[str, float]:
    """{"svhn": 0.5} from ["svhn=0.5"]."""
    observed: dict[str, float] = {}
    for pair in pairs:
        name, _, share = pair.partition("=")
        try:
            number = float(share)
        except ValueError:
            number = math.nan
        observed |= check_observed({name.strip(): number}, f"--observe {pair}")
    if len(observed) < len(pairs):
        raise InputError(f"--observe {' --observe '.join(pairs)} names a modality twice: name each once.")
    return observed


def pick_metrics(text: str | None, preset: Preset, inception_weights: Path | None) -> frozenset[str]:
    """The groups of metrics named in `text`; by default the preset's, and FID where its weights are given.

    Raises:
        InputError: for an unknown group, and for weights that are not Inception's or not asked for.
    """
    if text is None:
        names = [*preset.metrics, *(["fid"] if inception_weights else [])]
    else:
        names = [name.strip() for name in text.split(",")]
        for name in names:
            if name not in METRICS + FURTHER:
                raise InputError(f"Unknown metric {name!r} in --metrics: {suggest(name, METRICS + FURTHER)}")
    if inception_weights:
        if "fid" not in names:
            raise InputError(
                f"--inception-weights {inception_weights} is for FID, which --metrics {text} leaves out: add fid there."
            )
        find_weights(inception_weights)  # an InputError now rather than after the judges are trained
    return frozenset(names)


def pick_device(name: str) -> torch.device:
    """The device called `name`; for auto the first of cuda, mps and cpu that is there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    kind, colon, index = name.partition(":")
    counts = {"cpu": 0, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if kind not in counts or (colon and not (kind == "cuda" and index.isdecimal())):
        raise InputError(
            f"Unknown device {name!r}: {suggest(name, ['auto', *counts])} One of several GPUs is named as cuda:0."
        )
    if kind != "cpu" and int(index or 0) >= counts[kind]:
        raise InputError(
            f"The device {name} is not there on this machine: choose --device cpu, or auto for the best there is."
        )
    return torch.device(name)


def _pick_precision(name: str, device: torch.device) -> str:
    """The precision called `name`; for auto bf16 where the processor computes in it, fp32 elsewhere."""
    if name not in ("auto", *PRECISIONS):
        raise InputError(f"Unknown precision {name!r}: {suggest(name, ['auto', *PRECISIONS])}")
    if name != "auto":
        return name
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise InputError(
                "--precision auto asks a GPU, and this machine has none to speak for those of the cluster: name fp32 or bf16."
            )
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    if device.type == "cpu" and hasattr(torch.cpu, "get_capabilities"):  # older releases of torch do not tell
        found = torch.cpu.get_capabilities()
        return "bf16" if found.get("avx512_bf16") or found.get("amx_bf16") else "fp32"
    return "fp32"
