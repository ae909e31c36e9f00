"""What is to be run: presets, overrides from the command line, and the configuration of one run with its hash."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from metrics.groups import METRICS
from metrics.protocol import Protocol
from metrics.references.judges import judge_identity
from mmbench.adapters import find_model, full_key, multivae
from mmbench.data.base import DataSettings, MultimodalData
from mmbench.storage.files import content_hash
from mmbench.storage.records import OBSERVED
from models.errors import InputError, suggest
from models.registry import MODELS, ModelEntry
from models.settings import describe, resolve, setting

__all__ = [
    "PRESETS",
    "Overrides",
    "Preset",
    "RunConfig",
    "Training",
    "check_observed",
    "departures",
    "get_preset",
    "make_configs",
    "restore_config",
]


@dataclass(frozen=True)
class Training:
    """The budget of a run; the learning rate falls by a tenth after 40 % and after 80 % of the steps."""

    steps: int = setting(10_000, "optimiser steps", low=1)
    batch_size: int = setting(256, "pairs per step", low=2)
    learning_rate: float = setting(1e-3, "of Adam, at first", low=0)


@dataclass(frozen=True)
class Preset:
    """A budget with a name.

    Attributes:
        name: on the command line.
        seeds: trained where none are asked for.
        training, protocol: settings that differ from the defaults.
        metrics: computed where none are asked for.
    """

    name: str
    seeds: tuple[int, ...]
    training: Mapping[str, object]
    protocol: Mapping[str, object]
    metrics: tuple[str, ...] = METRICS


QUICK_METRICS = tuple(
    name for name in METRICS if name != "fid"
)  # FID takes hours on a processor: only where it is asked for

PRESETS = {
    preset.name: preset
    for preset in (
        # 100 epochs of 256 pairs over MMVAE's 560,680 training pairs (10 permutations of 56,068)
        Preset("paper", (0, 1, 2), {"steps": 219_016, "learning_rate": 1e-4}, {}),
        # the same protocol, a budget that two cores finish in hours
        Preset("cpu", (0, 1, 2), {"steps": 10_000}, {}),
        # minutes for each model
        Preset("quick", (0,), {"steps": 1_400}, {}, QUICK_METRICS),
        # seconds, to see that everything works; its figures mean nothing
        Preset(
            "smoke",
            (0,),
            {"steps": 20, "batch_size": 64},
            {"draws": 400, "joint_draws": 200, "probe_images": 200, "sampler_images": 200, "judge_steps": 20},
            QUICK_METRICS,
        ),
    )
}


def get_preset(name: str) -> Preset:
    """The preset called `name`, or an InputError that suggests the nearest."""
    if name not in PRESETS:
        raise InputError(f"Unknown preset {name!r}: {suggest(name, PRESETS)}")
    return PRESETS[name]


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides the result of a run except its seed.

    Attributes:
        entry, settings: the model.
        dataset, data: the data set's name and the settings of its pairing.
        training, protocol, precision: how it is trained and judged.
        observed: modality name -> the share of its train items that training sees; of those that are not named it sees all.
    """

    entry: ModelEntry
    settings: Any
    dataset: str
    preset: str
    data: DataSettings
    training: Training
    protocol: Protocol
    precision: str = "fp32"
    observed: Mapping[str, float] = field(default_factory=dict)

    def decisive(self, data: MultimodalData) -> dict[str, object]:
        """What the hash covers, as JSON; the provenance of `data` says which were read.

        Raises:
            InputError: for data of more modalities than the model takes, and for modalities to hide that it needs or that are not there.
        """
        if misfit := self.entry.misfit(self.dataset, len(data.modalities)):
            raise InputError(f"The model {self.entry.name} {misfit}: leave it out of --models.")
        self._check_observed([modality.name for modality in data.modalities])
        shapes = [(1, 8, 8)] + [(8, 27)] * any(m.likelihood == "categorical" for m in data.modalities)
        return {
            "model": self.entry.name,
            "settings": asdict(self.settings),
            "dataset": self.dataset,
            "data": {**data.provenance, "settings": asdict(self.data)},
            "training": {
                **asdict(self.training),
                **({OBSERVED: dict(self.observed)} if self.observed else {}),
            },
            "protocol": asdict(self.protocol),
            # architectures and recipe of the judges of images, and of text where there is some, of whatever shape
            "judge": content_hash([judge_identity(shape, self.protocol) for shape in shapes]),
            "precision": self.precision,
            **({"code": self.entry.file.code} if self.entry.file else {}),
        }

    def _check_observed(self, names: Sequence[str]) -> None:
        for name in self.observed:
            if name not in names:
                raise InputError(f"Unknown modality {name!r} in --observe: {suggest(name, names)}")
        if self.observed and not self.entry.incomplete:
            able = ", ".join(entry.name for entry in MODELS if entry.incomplete)
            raise InputError(
                f"The model {self.entry.name} is trained on complete pairs alone: leave it out, or --observe (others take it: {able})."
            )

    def hash(self, data: MultimodalData) -> str:
        return content_hash(self.decisive(data))


class Overrides:
    """`--set key=value` pairs: a bare key goes wherever a setting has that name, `MODEL.key` to one model alone.

    Raises:
        InputError: for a pair without an equals sign.
    """

    def __init__(self, pairs: Sequence[str]):
        self.values: dict[str, str] = {}
        self.used: set[str] = set()
        for pair in pairs:
            key, equals, value = pair.partition("=")
            if not equals or not key:
                raise InputError(
                    f"--set {pair} is not usable: expected key=value, for example --set steps=500."
                )
            self.values[full_key(key.strip())] = value.strip()

    def apply(
        self, cls: type[Any], defaults: Mapping[str, object], owner: str, prefix: str | None = None
    ) -> Any:
        """An instance of `cls` with `defaults`, then the overrides that name one of its fields (as `key` or `prefix.key`)."""
        names = {str(row["name"]) for row in describe(cls)}
        chosen = {key: value for key, value in self.values.items() if key in names}
        if prefix:
            qualified = {key: value for key, value in self.values.items() if key.startswith(f"{prefix}.")}
            self.used |= set(qualified)
            chosen |= {key.removeprefix(f"{prefix}."): value for key, value in qualified.items()}
        self.used |= set(chosen)
        return resolve(cls, {**defaults, **chosen}, owner)

    def check_all_used(self, classes: Iterable[type]) -> None:
        """An InputError for the first key that no settings class took."""
        known = {str(row["name"]) for cls in classes for row in describe(cls)}
        for key, value in self.values.items():
            if key not in self.used:
                prefix, dot, _ = key.partition(".")
                if dot and (prefix in {entry.name for entry in MODELS} or multivae.is_name(prefix)):
                    raise InputError(
                        f"--set {key}={value} is for {prefix}, which --models does not name: add {prefix}, or leave the setting out."
                    )
                raise InputError(f"Unknown setting {key!r} in --set: {suggest(key, known)}")


def make_configs(
    entries: Sequence[ModelEntry],
    dataset: str,
    preset_name: str,
    pairs: Sequence[str],
    precision: str = "fp32",
    observed: Mapping[str, float] | None = None,
) -> list[RunConfig]:
    """One configuration per model, from a preset and `--set` pairs.

    Raises:
        InputError: for an unknown preset, an unknown setting or a value that a setting does not admit.
    """
    preset = get_preset(preset_name)
    overrides = Overrides(pairs)
    training = overrides.apply(Training, preset.training, "the training budget")
    protocol = overrides.apply(Protocol, preset.protocol, "the evaluation protocol")
    data = overrides.apply(DataSettings, {}, "the data")
    settings = [
        overrides.apply(entry.settings, entry.presets.get(preset.name, {}), entry.name, entry.name)
        for entry in entries
    ]
    overrides.check_all_used([Training, Protocol, DataSettings, *(entry.settings for entry in entries)])
    return [
        RunConfig(entry, chosen, dataset, preset.name, data, training, protocol, precision, observed or {})
        for entry, chosen in zip(entries, settings, strict=True)
    ]


def restore_config(stored: Mapping[str, Any]) -> RunConfig:
    """The configuration in a run's config.json; InputError for a model or settings that are no longer there."""
    if "code" in stored and not any(entry.name == stored["model"] and entry.file for entry in MODELS):
        raise InputError(f"The model {stored['model']} came from a file of yours: name it with --model-file.")
    entry = find_model(stored["model"])
    training = {key: value for key, value in stored["training"].items() if key != OBSERVED}
    return RunConfig(
        entry=entry,
        settings=resolve(entry.settings, stored["settings"], entry.name),
        dataset=stored["dataset"],
        preset=stored["preset"],
        data=resolve(DataSettings, stored["data"].get("settings", {}), "the data"),
        training=resolve(Training, training, "the training budget"),
        protocol=resolve(Protocol, stored["protocol"], "the evaluation protocol"),
        precision=stored["precision"],
        observed=check_observed(stored["training"].get(OBSERVED, {}), f"{OBSERVED} in the training budget"),
    )


def check_observed(shares: Any, what: str) -> dict[str, float]:
    """`shares`, InputError unless it is a mapping from names to shares between 0 and 1, both excluded."""
    good = isinstance(shares, Mapping) and all(
        isinstance(share, float) and 0 < share < 1 for share in shares.values()
    )
    if not good:
        raise InputError(
            f"{what} is not usable: expected modalities and the shares of their items to train on, between 0 and 1, as in svhn=0.5."
        )
    return dict(shares)


def departures(stored: Mapping[str, Any], decisive: Mapping[str, Any]) -> list[str]:
    """Where the config.json `stored` differs from what a run's configuration makes decisive, the code of a model's file included."""
    return _differences({key: stored[key] for key in (*decisive, "code") if key in stored}, decisive)


def _differences(a: Mapping[str, Any], b: Mapping[str, Any], prefix: str = "") -> list[str]:
    """The keys, dotted, under which two JSON objects differ."""
    found = []
    for key in sorted(set(a) | set(b)):
        left, right = a.get(key), b.get(key)
        if isinstance(left, Mapping) and isinstance(right, Mapping):
            found += _differences(left, right, f"{prefix}{key}.")
        elif left != right:
            found.append(f"{prefix}{key} ({left} there, {right} asked for)")
    return found
