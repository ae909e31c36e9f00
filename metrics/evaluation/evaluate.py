"""One pass over a trained model: every metric of the tables and the images of the figures.

Metric names are flat: `joint_coherence`, `joint_coherence/chance`, `joint_coherence/entropy`, `cross_coherence/a->b/sample` and
`.../mean` for every ordered pair of modalities, `fd_clf/a`, `fid/a` and `probe/a` for every modality, `fitted_coherence` with its
chance and entropy. Of more than two modalities also `cross_coherence/a+b->c/sample` for every subset, its modalities in order, and
`cross_coherence/size-2/sample`, the mean over all subsets of two and their targets. References: `judge/a`, `fd_clf_floor/a`,
`fd_clf_real/a` and `fd_clf_train/a` (image counts), and the same for fid.

Only where they are asked for: `precision/a`, `recall/a`, `density/a` and `coverage/a`; `cluster_accuracy/a` and `cluster_nmi/a`;
`mse/a` and `ssim/a`; `log_likelihood`; `diversity/a->b` for every ordered pair.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from metrics.clustering import clusterings
from metrics.diversity import diversities
from metrics.evaluation.cross import CrossSamples, cross_coherences, cross_samples
from metrics.evaluation.diagnostics import Diagnostics, latent_plane
from metrics.evaluation.joint import fitted_coherence, prior_draws
from metrics.evaluation.one_pass import Labelled, Pass
from metrics.groups import FURTHER, METRICS
from metrics.likelihood import log_likelihood
from metrics.probe import ProbeError, linear_probe, probe_indices
from metrics.protocol import Protocol
from metrics.reconstruction import reconstructions
from metrics.references.statistics import FeatureSpace, Progress, References, build_feature_space
from models.base import MultimodalModel
from models.errors import InputError, suggest

__all__ = [
    "CrossSamples",
    "Diagnostics",
    "Evaluation",
    "FeatureSpace",
    "References",
    "Samples",
    "build_feature_space",
    "evaluate",
]


@dataclass(frozen=True, eq=False)
class Samples:
    """Images for figures, of the same draws and conditions for every model; texts as images of one-hot symbols times 255.

    Attributes:
        joint: modality name -> (64, *shape) uint8, the first prior draws; empty for a model without a prior.
        cross: "a->b" -> four conditions per class, and the means of b given the latent mean of each.
    """

    joint: dict[str, np.ndarray]
    cross: dict[str, CrossSamples]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What `evaluate` found.

    Attributes:
        metrics: name -> value, shares in [0, 1]; None where there is none, never NaN.
        reasons: name -> sentence, for each metric that is None.
        references: name -> value.
        samples: for figures.
        diagnostics: for figures too.
    """

    metrics: dict[str, float | None]
    reasons: dict[str, str]
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
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> Evaluation:
    """Evaluate a trained model; a function of its arguments alone.

    Every random choice comes from `protocol.evaluation_seed`. Values that the model generates and that are not finite leave the
    metrics that read them without a value, and so does a NotDefinedError of the model's `generate`.

    Args:
        model: on `device`; its training mode is the same afterwards.
        test: conditions of the cross coherences, each used once, and test images of the probe.
        train: images of the probe and of the fitted sampler.
        references: judges and feature spaces, on `device`.
        protocol: the settings.
        tuples: modality name -> (N, M) int64, for each of its N test images a tuple of test images of its class, one of every
            modality in order: the conditions from several modalities, needed where there are more than two, and for the log-likelihood.
        metrics: some of METRICS and FURTHER; None for METRICS.
        device: where the model runs.
        progress: called after every batch.

    Raises:
        InputError: for an unknown metric, and for tuples that are missing.
    """
    wanted = METRICS if metrics is None else tuple(metrics)
    for name in wanted:
        if name not in METRICS + FURTHER:
            raise InputError(f"Unknown metric {name!r}: {suggest(name, METRICS + FURTHER)}")
    if "coherence" in wanted and len(model.modalities) > 2 and not tuples:
        raise InputError(
            "Cross coherence from several modalities needs tuples of test images of one class: give `tuples` to evaluate."
        )
    if "log_likelihood" in wanted and not tuples:
        raise InputError(
            "A log-likelihood needs tuples of test images of one class: give `tuples` to evaluate."
        )
    run = Pass(
        model,
        test,
        train,
        tuples or {},
        references,
        protocol,
        torch.device(device),
        progress or (lambda task, done, total: None),
    )
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            joint = prior_draws(run, wanted)
            if "coherence" in wanted:
                cross_coherences(run)
            cross = cross_samples(run)
            if "probe" in wanted:
                _probe(run)
            if "sampler" in wanted:
                fitted_coherence(run)
            for name, measure in _FURTHER.items():
                if name in wanted:
                    measure(run)
            diagnostics = Diagnostics(
                {pair: counts.numpy() for pair, counts in run.confusion.items()}, latent_plane(run)
            )
    finally:
        model.train(training)
    return Evaluation(
        run.metrics, run.reasons, _reference_values(references, wanted), Samples(joint, cross), diagnostics
    )


_FURTHER: dict[str, Callable[[Pass], None]] = {
    "clustering": clusterings,
    "reconstruction": reconstructions,
    "log_likelihood": log_likelihood,
    "diversity": diversities,
}


def _probe(run: Pass) -> None:
    """One linear probe per modality."""
    for name in run.model.modalities:
        images, labels = run.train[name]
        rows = probe_indices(len(images), run.protocol.probe_images, run.protocol.evaluation_seed)
        try:
            run.metrics[f"probe/{name}"] = linear_probe(
                run.embed(name, images[rows], "train"), labels[rows], run.represent(name), run.test[name][1]
            )
        except ProbeError as error:
            run.lack(f"probe/{name}", str(error))


def _reference_values(references: References, wanted: Collection[str]) -> dict[str, float]:
    values = {f"judge/{name}": value for name, value in references.judge_accuracy.items()}
    for space in references.feature_spaces:
        if space.name in wanted:
            for name, real in space.real.items():
                values[f"{space.name}_floor/{name}"] = space.floor[name]
                values[f"{space.name}_real/{name}"] = real.count
                values[f"{space.name}_train/{name}"] = space.train_count[name]
    return values
