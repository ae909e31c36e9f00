"""One pass over a trained model: every metric that is asked for, and the images of the figures.

Metrics are named as `metrics.names` says; `metrics.catalogue.GROUPS` lists them. References: `judge/a`,
`fd_clf_floor/a`, `fd_clf_real/a` and `fd_clf_train/a` (image counts), and the same for fid.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from metrics.catalogue import DEFAULT, GROUPS, Group, check_groups
from metrics.evaluation.diagnostics import Diagnostics, latent_plane
from metrics.evaluation.one_pass import Labelled, Pass
from metrics.evaluation.prior_draws import prior_draws
from metrics.evaluation.retrieval import FoundItems, found_items
from metrics.evaluation.samples import CrossSamples, cross_samples
from metrics.missing import Lack, Missing
from metrics.names import MetricName
from metrics.protocol import Protocol
from metrics.references.statistics import FeatureSpace, Progress, References, build_feature_space
from models.base import MultimodalModel, NotDefinedError

__all__ = [
    "CrossSamples",
    "Diagnostics",
    "Evaluation",
    "FeatureSpace",
    "FoundItems",
    "References",
    "Samples",
    "build_feature_space",
    "evaluate",
]


@dataclass(frozen=True, eq=False)
class Samples:
    """Images for figures, of the same draws and conditions for every model; texts one-hot, times 255.

    Attributes:
        joint: modality name -> (64, *shape) uint8, the first prior draws; empty for a model without a prior.
        cross: (a, b) -> four conditions of each class, of 100 classes at most, and the means of b given the
            latent mean of each.
        found: (a, b) -> some items of a, and those of b that they find first; where retrieval was measured.
    """

    joint: dict[str, np.ndarray]
    cross: dict[tuple[str, str], CrossSamples]
    found: dict[tuple[str, str], FoundItems]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What `evaluate` found.

    Attributes:
        metrics: name -> value, shares in [0, 1]; None where there is none, never NaN.
        missing: name -> why, for each metric that is None.
        references: name -> value.
        samples: for figures.
        diagnostics: for figures too.
    """

    metrics: dict[str, float | None]
    missing: dict[str, Missing]
    references: dict[str, float]
    samples: Samples
    diagnostics: Diagnostics


def evaluate(
    model: MultimodalModel,
    *,
    test: Labelled,
    train: Labelled,
    references: References,
    protocol: Protocol,
    tuples: Mapping[str, Tensor] | None = None,
    metrics: Collection[str] | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Evaluate a trained model; a function of its arguments alone.

    Every random choice comes from `protocol.evaluation_seed`. Values that the model generates and that are
    not finite leave the metrics that read them without a value, and so does a NotDefinedError of the model.

    Args:
        model: evaluated on the device of its parameters; its training mode is the same afterwards.
        test: conditions of the cross coherences, each used once, and test images of the probe.
        train: images of the probe and of the fitted sampler.
        references: judges and feature spaces, on the model's device.
        protocol: the settings.
        tuples: modality name -> (N, M) int64, for each of its N test images a tuple of test images of its
            class, one of every modality in order: the conditions from several modalities, needed where there
            are more than two, and for the log-likelihood.
        metrics: names of groups, see `metrics.catalogue.GROUPS`; None for those computed by default.
        progress: called after every batch.

    Raises:
        InputError: for an unknown group, and for tuples that are missing.
    """
    wanted = DEFAULT if metrics is None else tuple(metrics)
    check_groups(wanted)
    groups = tuple(group for name, group in GROUPS.items() if name in wanted)
    show = progress or (lambda task, done, total: None)
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    # once, and not batch by batch: a GPU would wait for every one of them
    there = {name: (items.to(device), labels) for name, (items, labels) in test.items()}
    run = Pass(model, there, train, tuples, references, protocol, groups, device, show)
    training = model.training
    model.eval()
    found: dict[str, float | Missing] = {}
    try:
        with torch.inference_mode():
            for group in groups:
                found |= _measure(run, group)
            samples = Samples(_joint_samples(run), cross_samples(run), found_items(run))
            confusion = {pair: counts.numpy() for pair, counts in run.confusion.items()}
            recall = {pair: curve.numpy() for pair, curve in run.recall.items()}
            diagnostics = Diagnostics(confusion, latent_plane(run), recall)
    finally:
        model.train(training)
    missing = {name: value for name, value in found.items() if isinstance(value, Missing)}
    values = {name: None if isinstance(value, Missing) else value for name, value in found.items()}
    return Evaluation(values, missing, _reference_values(references, wanted), samples, diagnostics)


def _measure(run: Pass, group: Group) -> dict[str, float | Missing]:
    """What a group's function finds, in the declared order; a NotDefinedError leaves the rest undefined."""
    names = group.names(list(run.model.modalities))
    found: dict[MetricName, float | Missing] = {}
    try:
        found.update(group.load().measure(run))
    except NotDefinedError as error:
        undefined = Missing(Lack.NOT_DEFINED, str(error))
        found = {name: found.get(name, undefined) for name in names}
    if found.keys() != {*names}:
        odd = ", ".join(map(str, found.keys() ^ {*names}))
        raise AssertionError(f"{group.module} computes other metrics than it declares: {odd}")
    return {str(name): found[name] for name in names}


def _joint_samples(run: Pass) -> dict[str, np.ndarray]:
    """The first prior draws; empty for a model without a prior."""
    try:
        return prior_draws(run).shown
    except NotDefinedError:
        return {}


def _reference_values(references: References, wanted: Collection[str]) -> dict[str, float]:
    """Figures that no model made: judges' accuracies, floors, and how many images these rest on."""
    values = {f"judge/{name}": value for name, value in references.judge_accuracy.items()}
    for space in references.feature_spaces:
        if space.name in wanted:
            for name, real in space.real.items():
                values[f"{space.name}_floor/{name}"] = space.floor[name]
                values[f"{space.name}_real/{name}"] = real.count
                values[f"{space.name}_train/{name}"] = space.train_count[name]
    return values
