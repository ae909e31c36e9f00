"""Budgets with names: what `--preset` means."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from metrics.catalogue import DEFAULT
from models.errors import InputError, suggest
from models.settings import setting

__all__ = ["PRESETS", "Preset", "Training", "get_preset"]


@dataclass(frozen=True)
class Training:
    """The budget of a run.

    The learning rate falls by a tenth after 40 % and after 80 % of the steps, in a model of several stages of
    each stage's own.
    """

    steps: int = setting(10_000, "optimiser steps", low=1)
    batch_size: int = setting(256, "pairs per step", low=2)
    learning_rate: float = setting(1e-3, "of Adam, at first", low=0)
    keep: str = setting(
        "last",
        "weights that a training ends with: of its last step, of the best of ten looks at validation data, "
        "or the average over the last tenth of its steps",
        choices=("last", "best", "average"),
        late=True,
    )


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
    metrics: tuple[str, ...] = DEFAULT


# FID takes hours on a CPU: only where it is asked for
QUICK_METRICS = tuple(name for name in DEFAULT if name != "fid")

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


def get_preset(name: str, budgets: Mapping[str, Mapping[str, object]] | None = None) -> Preset:
    """The preset called `name`, or an InputError that suggests the nearest.

    Args:
        budgets: of a data set, name of a preset -> settings of its training that are others there.
    """
    if name not in PRESETS:
        raise InputError(f"Unknown preset {name!r}: {suggest(name, PRESETS)}")
    preset = PRESETS[name]
    return replace(preset, training={**preset.training, **(budgets or {}).get(name, {})})
