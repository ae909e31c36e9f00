"""Diversity of cross generations from one condition, in the judges' features."""

from functools import partial

import torch
from torch import Tensor

from metrics.catalogue import Kind, Need, metric
from metrics.diversity import mean_pairwise_distance
from metrics.evaluation.one_pass import BATCH, Finite, Found, Pass
from metrics.images import as_stored
from metrics.names import MetricName
from metrics.probe import probe_indices
from models.about import cite

__all__ = ["CONDITIONS", "SAMPLES", "diversities"]

CONDITIONS = 100  # random test items of each modality, at most
SAMPLES = 10  # of the latent, of each condition
SPACE = Need.JUDGE_FEATURES.value


@metric(
    "diversity",
    Kind("diversity", "Diversity", "distance", "", per="pair"),
    asked=True,
    needs=(Need.JUDGE_FEATURES,),
    reading="Diversity: mean distance of cross generations from one condition in the judge's features, to be "
    "read beside their coherence, for what shows no class is diverse too.",
    span="0 or more, in the units of the judges' features, without a best value.",
    hides=(
        "Whether what varies is right: samples of no class at all differ most. It has to be read "
        "beside cross coherence."
    ),
    bibtex=cite("zhu2017bicyclegan"),
)
def diversities(run: Pass) -> Found:
    """The diversity of every direction between two modalities.

    Two samples from one condition, 5 apart:

    >>> import torch
    >>> from metrics.diversity import mean_pairwise_distance
    >>> mean_pairwise_distance(torch.tensor([[[0.0, 0.0], [3.0, 4.0]]]))
    tensor([5.])
    """
    space = run.references.space(SPACE)
    for source in run.model.modalities:
        targets = [name for name in run.model.modalities if name != source]
        finite = Finite()
        drawn = _draw(run, source, targets, finite)
        for name in targets:
            metric_name = MetricName("diversity", (source,), name)
            missing = run.references.unread(SPACE, name) or finite.missing(name)
            if missing:
                yield metric_name, missing
                continue
            assert space is not None
            shown = partial(run.progress, f"features of {name} from {source}")
            features = space.extractors[name](drawn[name], shown).unflatten(0, (-1, SAMPLES))
            yield metric_name, float(mean_pairwise_distance(features.double()).mean())


def _draw(run: Pass, source: str, targets: list[str], finite: Finite) -> dict[str, Tensor]:
    """Target -> (conditions x SAMPLES, *shape): the samples of one condition after another."""
    conditions = probe_indices(len(run.test[source][0]), CONDITIONS, run.protocol.evaluation_seed)
    rows = {source: conditions.repeat_interleave(SAMPLES).to(run.device)}
    generator = run.generator()
    count = len(rows[source])
    drawn: dict[str, list[Tensor]] = {name: [] for name in targets}
    for start in range(0, count, BATCH):
        for name, x in run.translate(rows, targets, start, generator).items():
            modality = run.model.modalities[name]
            drawn[name].append(as_stored(modality, finite.read(modality, x)))
        run.progress(f"{source} to others, {SAMPLES} samples", min(start + BATCH, count), count)
    return {name: torch.cat(parts) for name, parts in drawn.items()}
