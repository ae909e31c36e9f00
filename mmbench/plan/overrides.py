"""`--set` pairs, and the configurations that they and a preset make of models."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from metrics.protocol import Protocol
from mmbench.data.base import DATASETS, DataSettings
from mmbench.plan.config import RunConfig
from mmbench.plan.presets import Training, get_preset
from mmbench.plan.tuned_settings import tuned_settings
from models.errors import InputError, suggest
from models.named_settings import named_values
from models.names import full_key
from models.registry import MODELS, ModelEntry
from models.settings import describe, resolve

__all__ = ["Overrides", "make_configs"]


class Overrides:
    """`--set key=value` pairs: a bare key is for every setting of that name, `MODEL.key` for one model's.

    `MODEL=name` takes the model's settings of that name (see `models.named_settings`).

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

    @property
    def pairs(self) -> list[str]:
        """Each key once, as it counts."""
        return [f"{key}={value}" for key, value in self.values.items()]

    def apply(
        self, cls: type[Any], defaults: Mapping[str, object], owner: str, prefix: str | None = None
    ) -> Any:
        """An instance of `cls`: its `defaults`, then the overrides called `field` or `prefix.field`."""
        names = {str(row["name"]) for row in describe(cls)}
        chosen = {key: value for key, value in self.values.items() if key in names}
        if prefix:
            qualified = {key: value for key, value in self.values.items() if key.startswith(f"{prefix}.")}
            self.used |= set(qualified)
            chosen |= {key.removeprefix(f"{prefix}."): value for key, value in qualified.items()}
        self.used |= set(chosen)
        return resolve(cls, {**defaults, **chosen}, owner)

    def named(self, entry: ModelEntry) -> str:
        """The name of the settings that are asked for of a model, "" for none."""
        self.used |= {entry.name} & self.values.keys()
        return self.values.get(entry.name, "")

    def settings(self, entry: ModelEntry, tuned: Mapping[str, object]) -> Any:
        """The settings of a model: its `tuned` ones, or those of a name, then the overrides.

        Raises:
            InputError: for a name that the model has no settings of, and an override that changes what the
                name stands for.
        """
        if entry.name not in self.values:
            return self.apply(entry.settings, tuned, entry.name, entry.name)
        name = self.named(entry)
        values = named_values(entry.named, name, entry.name)
        chosen = self.apply(entry.settings, values, entry.name, entry.name)
        for key, value in values.items():
            if getattr(chosen, key) != value:
                raise InputError(
                    f"--set {entry.name}={name} means {key}={value}, and another --set means "
                    f"{key}={getattr(chosen, key)}: leave one of them out."
                )
        return chosen

    def check_all_used(self, classes: Iterable[type]) -> None:
        """An InputError for the first key that no settings class took."""
        known = {str(row["name"]) for cls in classes for row in describe(cls)}
        for key, value in self.values.items():
            if key not in self.used:
                model = key if key in MODELS else key.rpartition(".")[0]
                if model in MODELS:
                    raise InputError(
                        f"--set {key}={value} is for {model}, which --models does not name: add {model}, "
                        "or leave the setting out."
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
    preset = get_preset(preset_name, DATASETS.get(dataset).budgets)
    overrides = Overrides(pairs)
    training = overrides.apply(Training, preset.training, "the training budget")
    protocol = overrides.apply(Protocol, preset.protocol, "the evaluation protocol")
    data = overrides.apply(DataSettings, {}, "the data")
    settings = [overrides.settings(entry, tuned_settings(entry, dataset, preset.name)) for entry in entries]
    overrides.check_all_used([Training, Protocol, DataSettings, *(entry.settings for entry in entries)])
    shared = (dataset, preset.name, data, training, protocol, precision, observed or {})
    return [
        RunConfig(entry, chosen, *shared, named=overrides.named(entry))
        for entry, chosen in zip(entries, settings, strict=True)
    ]
