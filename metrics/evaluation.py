"""One pass over a trained model: every metric of the tables and the images of the figures.

Metric names are flat: `joint_coherence`, `joint_coherence/chance`, `joint_coherence/entropy`, `cross_coherence/a->b/sample` and
`.../mean` for every ordered pair of modalities, `fd_clf/a`, `fid/a` and `probe/a` for every modality. References: `judge/a`,
`fd_clf_floor/a`, `fd_clf_real/a` and `fd_clf_train/a` (image counts), and the same for fid.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from metrics.coherence import cross_coherence, joint_coherence
from metrics.frechet import frechet_distance, statistics
from metrics.images import as_float, eight_bits
from metrics.judges import CLASSES, predict
from metrics.probe import ProbeError, linear_probe, probe_indices
from metrics.protocol import Protocol
from metrics.references import FeatureSpace, Progress, References, build_feature_space
from models.base import MultimodalModel
from models.errors import InputError, suggest

__all__ = ["METRICS", "CrossSamples", "Evaluation", "FeatureSpace", "References", "Samples", "build_feature_space", "evaluate"]

METRICS = ("coherence", "fd_clf", "fid", "probe")
FRECHET = ("fd_clf", "fid")
BATCH = 500  # fixed, because which draws come out of a generator can depend on how many are asked for at a time
SHOWN = 64  # joint draws kept for figures
SHOWN_PER_CLASS = 4  # conditions kept for figures

Labelled = Mapping[str, tuple[Tensor, Tensor]]
"""Modality name -> images (N, *shape) uint8, labels (N,)."""


class CrossSamples(NamedTuple):
    """`conditions` (n, *shape) of one modality in class order, `outputs` (n, *shape) of another given each, both uint8; `labels` (n,)."""

    conditions: np.ndarray
    outputs: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True, eq=False)
class Samples:
    """Images for figures, of the same draws and conditions for every model.

    Attributes:
        joint: modality name -> (64, *shape) uint8, the first prior draws.
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
    """

    metrics: dict[str, float | None]
    reasons: dict[str, str]
    references: dict[str, float]
    samples: Samples


def evaluate(
    model: MultimodalModel,
    *,
    test: Labelled,
    train: Labelled,
    references: References,
    protocol: Protocol,
    metrics: Collection[str] | None = None,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> Evaluation:
    """Evaluate a trained model; a function of its arguments alone.

    Every random choice comes from `protocol.evaluation_seed`. Values that the model generates and that are not finite leave the
    metrics that read them without a value.

    Args:
        model: on `device`; its training mode is the same afterwards.
        test: conditions of the cross coherences, each used once, and test images of the probe.
        train: images of the probe.
        references: judges and feature spaces, on `device`.
        protocol: the settings.
        metrics: some of METRICS; None for all.
        device: where the model runs.
        progress: called after every batch.

    Raises:
        InputError: for an unknown metric.
    """
    wanted = METRICS if metrics is None else tuple(metrics)
    for name in wanted:
        if name not in METRICS:
            raise InputError(f"Unknown metric {name!r}: {suggest(name, METRICS)}")
    run = _Pass(model, test, train, references, protocol, torch.device(device), progress or (lambda task, done, total: None))
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            joint = run.joint(wanted)
            cross = run.cross(judged="coherence" in wanted)
            if "probe" in wanted:
                run.probe()
    finally:
        model.train(training)
    return Evaluation(run.metrics, run.reasons, _reference_values(references, wanted), Samples(joint, cross))


def _reference_values(references: References, wanted: Collection[str]) -> dict[str, float]:
    values = {f"judge/{name}": value for name, value in references.judge_accuracy.items()}
    for space in references.feature_spaces:
        if space.name in wanted:
            for name, real in space.real.items():
                values[f"{space.name}_floor/{name}"] = space.floor[name]
                values[f"{space.name}_real/{name}"] = real.count
                values[f"{space.name}_train/{name}"] = space.train_count[name]
    return values


@dataclass
class _Pass:
    """The pass over one model; `metrics` and `reasons` fill as it goes."""

    model: MultimodalModel
    test: Labelled
    train: Labelled
    references: References
    protocol: Protocol
    device: torch.device
    progress: Progress
    metrics: dict[str, float | None] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)

    def _generator(self) -> torch.Generator:
        """A fresh one for every task, so that no metric depends on which others were asked for."""
        return torch.Generator(self.device).manual_seed(self.protocol.evaluation_seed)

    def _lack(self, metric: str, reason: str) -> None:
        self.metrics[metric], self.reasons[metric] = None, reason

    # --- prior draws -------------------------------------------------------------------------------------------------

    def joint(self, wanted: Collection[str]) -> dict[str, np.ndarray]:
        """Decode the prior draws once: joint coherence, Frechet distances, and the draws that figures show."""
        judges = self.references.judges if "coherence" in wanted else {}
        spaces = [space for space in self.references.feature_spaces if space.name in wanted]
        judged = self.protocol.joint_draws if "coherence" in wanted else 0
        draws = self.protocol.draws if spaces else max(judged, 1)
        votes: dict[str, list[Tensor]] = {name: [] for name in judges}
        extractors = {(space.name, name): extractor for space in spaces for name, extractor in space.extractors.items()}
        features: dict[tuple[str, str], list[Tensor]] = {key: [] for key in extractors}
        shown: dict[str, np.ndarray] = {}
        finite = _Finite()
        generator = self._generator()
        for start in range(0, draws, BATCH):
            # always whole batches: fewer draws are the first of more
            drawn = {name: finite.clean(name, x) for name, x in self.model.generate(BATCH, generator).items()}
            if start == 0:
                shown = {name: eight_bits(x[:SHOWN]).cpu().numpy() for name, x in drawn.items()}
            if start < judged:
                for name, judge in judges.items():
                    votes[name].append(predict(judge, drawn[name][: judged - start]).cpu())
            for passed, ((space, name), extractor) in enumerate(extractors.items()):
                advance = partial(self._advance, draws, start, len(extractors), passed)
                features[space, name].append(extractor(eight_bits(drawn[name][: draws - start]), advance).cpu())
            self.progress("prior draws", min(start + BATCH, draws), draws)
        if "coherence" in wanted:
            self._joint_coherence(votes, finite)
        for group in FRECHET:
            if group in wanted:
                self._frechet(group, {name: rows for (space, name), rows in features.items() if space == group}, finite)
        return shown

    def _advance(self, draws: int, start: int, passes: int, passed: int, done: int, total: int) -> None:
        """Progress within the draws from `start` on: `passed` of `passes` extractors have seen all of them, the next `done` of `total`."""
        self.progress("prior draws", start + (passed * total + done) // passes, draws)

    def _joint_coherence(self, votes: Mapping[str, list[Tensor]], finite: "_Finite") -> None:
        names = ("joint_coherence", "joint_coherence/chance", "joint_coherence/entropy")
        reason = finite.reason(*self.model.modalities) or self._unjudged(*self.model.modalities)
        if reason:
            for name in names:
                self._lack(name, reason)
            return
        joint = joint_coherence({name: torch.cat(rows) for name, rows in votes.items()}, CLASSES)
        self.metrics |= dict(zip(names, joint, strict=True))
        if joint.entropy is None:
            self._lack(names[2], "The judges agree on no draw.")

    def _unjudged(self, *names: str) -> str | None:
        """Why there is no coherence of these modalities, None where each has its judge."""
        lacking = [name for name in names if name not in self.references.judges]
        return self.references.missing.get("coherence", f"There is no judge for {', '.join(lacking)}.") if lacking else None

    def _frechet(self, group: str, features: Mapping[str, list[Tensor]], finite: "_Finite") -> None:
        space = next((space for space in self.references.feature_spaces if space.name == group), None)
        for name in self.model.modalities:
            if space is None or name not in features:
                self._lack(f"{group}/{name}", self.references.missing.get(group, f"There are no reference features for {name}."))
            elif reason := finite.reason(name):
                self._lack(f"{group}/{name}", reason)
            else:
                generated = statistics(torch.cat(features[name]))
                self.metrics[f"{group}/{name}"] = frechet_distance(generated, space.real[name], space.roots[name])

    # --- from one modality to the others -----------------------------------------------------------------------------

    def cross(self, judged: bool) -> dict[str, CrossSamples]:
        """Translate every test image once with a sampled and once with the mean latent, where `judged`; and the figures' conditions."""
        samples = {}
        for source in self.model.modalities:
            targets = [name for name in self.model.modalities if name != source]
            if judged:
                self._cross_coherence(source, targets)
            images, labels = self.test[source]
            rows = _conditions(labels, self.protocol.evaluation_seed)
            inputs = {source: as_float(images[rows].to(self.device))}
            conditions = eight_bits(images[rows]).cpu().numpy()
            for name, x in self.model.translate(inputs, targets).items():
                samples[f"{source}->{name}"] = CrossSamples(
                    conditions, eight_bits(_Finite().clean(name, x)).cpu().numpy(), labels[rows].cpu().numpy()
                )
        return samples

    def _cross_coherence(self, source: str, targets: list[str]) -> None:
        images, labels = self.test[source]
        judges = self.references.judges
        for mode in ("sample", "mean"):
            generator = self._generator() if mode == "sample" else None
            finite = _Finite()
            votes: dict[str, list[Tensor]] = {name: [] for name in targets}
            for start in range(0, len(images), BATCH):
                inputs = {source: as_float(images[start : start + BATCH].to(self.device))}
                for name, x in self.model.translate(inputs, targets, mode == "sample", generator).items():
                    if name in judges:
                        votes[name].append(predict(judges[name], finite.clean(name, x)).cpu())
                self.progress(f"{source} to others, {mode}", min(start + BATCH, len(images)), len(images))
            for name in targets:
                metric = f"cross_coherence/{source}->{name}/{mode}"
                if reason := finite.reason(name) or self._unjudged(name):
                    self._lack(metric, reason)
                else:
                    self.metrics[metric] = cross_coherence(torch.cat(votes[name]), labels.cpu())

    # --- representations ---------------------------------------------------------------------------------------------

    def probe(self) -> None:
        """One linear probe per modality."""
        for name in self.model.modalities:
            images, labels = self.train[name]
            rows = probe_indices(len(images), self.protocol.probe_images, self.protocol.evaluation_seed)
            try:
                self.metrics[f"probe/{name}"] = linear_probe(
                    self._embed(name, images[rows], "train"), labels[rows], self._embed(name, self.test[name][0], "test"), self.test[name][1]
                )
            except ProbeError as error:
                self._lack(f"probe/{name}", str(error))

    def _embed(self, name: str, images: Tensor, part: str) -> Tensor:
        rows = []
        for batch in images.split(BATCH):
            rows.append(self.model.embed({name: as_float(batch.to(self.device))}).cpu())
            self.progress(f"representations of {name} ({part})", sum(map(len, rows)), len(images))
        return torch.cat(rows)


class _Finite:
    """Brings generated values into [0, 1] and remembers in which modalities some were not finite."""

    def __init__(self) -> None:
        self.flags: dict[str, Tensor] = {}  # on the device, so that no batch waits for the host

    def clean(self, name: str, x: Tensor) -> Tensor:
        """`x` clamped to [0, 1], NaN as 0."""
        finite = x.isfinite().all()
        self.flags[name] = self.flags[name] & finite if name in self.flags else finite
        return x.nan_to_num(0.0).clamp(0, 1)

    def reason(self, *names: str) -> str | None:
        """The sentence for metrics that read these modalities, None where all is well."""
        bad = [name for name in names if name in self.flags and not self.flags[name]]
        return f"The model generated values that are not finite in {', '.join(bad)}." if bad else None


def _conditions(labels: Tensor, seed: int) -> Tensor:
    """Rows of four random items of every class, in class order (fewer where a class has fewer)."""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    shuffled = labels.cpu()[order]
    return torch.cat([order[shuffled == label][:SHOWN_PER_CLASS] for label in range(CLASSES)])
