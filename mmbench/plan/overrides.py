"""`--set` pairs, and the configurations that they and a preset make of models."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from metrics.protocol import Protocol
from mmbench.data.base import DataSettings
from mmbench.plan.config import RunConfig
from mmbench.plan.presets import Training, get_preset
from mmbench.plan.tuned_settings import tuned_settings
from models.errors import InputError, suggest
from models.names import full_key
from models.registry import MODELS, ModelEntry
from models.settings import describe, resolve

__all__ = ["Overrides", "make_configs"]


class Overrides:
    """`--set key=value` pairs: a bare key is for every setting of that name, `MODEL.key` for one model's.

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

    def check_all_used(self, classes: Iterable[type]) -> None:
        """An InputError for the first key that no settings class took."""
        known = {str(row["name"]) for cls in classes for row in describe(cls)}
        for key, value in self.values.items():
            if key not in self.used:
                prefix, dot, _ = key.partition(".")
                if dot and prefix in MODELS:
                    raise InputError(
                        f"--set {key}={value} is for {prefix}, which --models does not name: add {prefix}, "
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
    preset = get_preset(preset_name)
    overrides = Overrides(pairs)
    training = overrides.apply(Training, preset.training, "the training budget")
    protocol = overrides.apply(Protocol, preset.protocol, "the evaluation protocol")
    data = overrides.apply(DataSettings, {}, "the data")
    settings = [
        overrides.apply(entry.settings, tuned_settings(entry, dataset, preset.name), entry.name, entry.name)
        for entry in entries
    ]
    overrides.check_all_used([Training, Protocol, DataSettings, *(entry.settings for entry in entries)])
    return [
        RunConfig(entry, chosen, dataset, preset.name, data, training, protocol, precision, observed or {})
        for entry, chosen in zip(entries, settings, strict=True)
    ]
