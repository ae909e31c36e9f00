"""Coherence: of joint draws from the prior, and from every subset of modalities to each other one."""

from collections.abc import Sequence

import torch
from torch import Tensor

from metrics.catalogue import Kind, Need, metric, subsets
from metrics.coherence import confusion, cross_coherence, joint_coherence
from metrics.evaluation.one_pass import BATCH, Finite, Found, Pass, complete
from metrics.evaluation.prior_draws import Votes, prior_draws
from metrics.missing import Lack, Missing
from metrics.names import MetricName
from metrics.references.judges import predict
from models.about import cite

__all__ = ["coherences", "joint_coherences"]

MODES = ("sample", "mean")
CELLS = 4_000_000  # of all confusions together: of thousands of classes they would fill the disk


@metric(
    "coherence",
    Kind("joint_coherence", "Joint", "fraction", "higher", per="model"),
    Kind("joint_coherence", "Joint", "fraction", "", per="model", part="chance"),
    Kind("joint_coherence", "Joint", "nats", "", per="model", part="entropy"),
    Kind("cross_coherence", "Cross", "fraction", "higher", per="subset"),
    needs=(Need.JUDGES, Need.DRAWS),
    span=(
        "0 to 1, shown in per cent. A blind generator of ten classes has 0.1; beside joint "
        "coherence stand its own value by chance and the entropy of what is agreed on."
    ),
    hides=(
        "How the items look, and whether they vary: a model that draws the same good pair again "
        "and again has a coherence of 1, with an entropy of 0. The judges err too, and more so "
        "on blurred items, which they were not trained on."
    ),
    bibtex=cite("shi2019mmvae"),
)
def coherences(run: Pass) -> Found:
    """Cross coherence from every subset, its means of more than two modalities, and joint coherence.

    Of more than SUBSETS subsets of a size, so many are drawn at random and measured.
    Every condition is translated once with a sampled latent and once with the mean latent. From one modality
    every test image is a condition; from several, the tuple of every test image of the first of them.

    Of four draws the judges agree on three, and what they agree on varies:

    >>> import torch
    >>> from metrics.coherence import joint_coherence
    >>> found = joint_coherence({"a": torch.tensor([0, 1, 2, 1]), "b": torch.tensor([0, 1, 1, 1])}, classes=3)
    >>> found.agreement, round(found.chance, 4), round(found.entropy, 4)
    (0.75, 0.4375, 0.6365)
    """
    names = list(run.model.modalities)
    for size in range(1, len(names)):
        for mode in MODES:
            found: list[tuple[MetricName, float | Missing]] = []
            for sources in subsets(names, size):
                found += _from_sources(run, sources, [name for name in names if name not in sources], mode)
            yield from found
            if len(names) > 2:
                yield (
                    MetricName("cross_coherence", size=size, mode=mode),
                    _mean([value for _, value in found]),
                )
    draws = prior_draws(run)
    yield from joint_coherences(run, "joint_coherence", draws.votes, draws.finite)


def joint_coherences(run: Pass, kind: str, votes: Votes, finite: Finite) -> Found:
    """Joint coherence, chance and entropy of the draws that were voted on, under names of this kind."""
    figure, chance, entropy = (MetricName(kind, part=part) for part in ("", "chance", "entropy"))
    modalities = run.model.modalities
    missing = finite.missing(*modalities) or run.references.unjudged(*modalities)
    if missing:
        yield from ((name, missing) for name in (figure, chance, entropy))
        return
    found = joint_coherence(votes.found(), run.references.classes)
    yield figure, found.agreement
    yield chance, found.chance
    nothing = Missing(Lack.NOT_DEFINED, "The judges agree on no draw.")
    yield entropy, nothing if found.entropy is None else found.entropy


def _from_sources(run: Pass, sources: Sequence[str], targets: list[str], mode: str) -> Found:
    """Cross coherence from one subset to each target."""
    generator = run.generator() if mode == "sample" else None
    lacking = run.references.unjudged(*targets) if len(run.references.judges) == 0 else None
    rows = {} if lacking else _conditions(run, sources)
    first, joined = sources[0], "+".join(sources)
    if not lacking and not len(rows[first]):
        lacking = Missing(Lack.UNAVAILABLE, f"No test row has all of {', '.join(sources)}.")
    if lacking:
        yield from ((MetricName("cross_coherence", tuple(sources), name, mode), lacking) for name in targets)
        return
    labels = run.test[first][1].cpu()[rows[first]]
    rows = {name: items.to(run.device) for name, items in rows.items()}
    judges, finite = run.references.judges, Finite()
    votes: dict[str, list[Tensor]] = {name: [] for name in targets}
    for start in range(0, len(labels), BATCH):
        for name, x in run.translate(rows, targets, start, generator).items():
            if name in judges:
                read = finite.read(run.model.modalities[name], x)
                votes[name].append(predict(judges[name], read))
        run.progress(f"{joined} to others, {mode}", min(start + BATCH, len(labels)), len(labels))
    for name in targets:
        metric_name = MetricName("cross_coherence", tuple(sources), name, mode)
        if missing := finite.missing(name) or run.references.unjudged(name):
            yield metric_name, missing
            continue
        seen = torch.cat(votes[name]).cpu()
        yield metric_name, cross_coherence(seen, labels)
        if mode == "sample" and len(sources) == 1 and _room(run):
            run.confusion[first, name] = confusion(seen, labels, run.references.classes)


def _room(run: Pass) -> bool:
    """Whether the confusions of all directions have room."""
    count = len(run.model.modalities)
    return count * (count - 1) * run.references.classes**2 <= CELLS


def _conditions(run: Pass, sources: Sequence[str]) -> dict[str, Tensor]:
    """Source -> (N,) test items: item i of every source make one condition, of the class of the first."""
    first = sources[0]
    if len(sources) == 1:
        return {first: torch.arange(len(run.test[first][1]))}
    columns = list(run.model.modalities)
    tuples = complete(run.tuples_from(first), [columns.index(name) for name in sources])
    return {name: tuples[:, columns.index(name)] for name in sources}


def _mean(values: Sequence[float | Missing]) -> float | Missing:
    """The mean of the values; where one is missing, why."""
    found = [value for value in values if not isinstance(value, Missing)]
    missing = (value for value in values if isinstance(value, Missing))
    return sum(found) / len(found) if len(found) == len(values) else next(missing)
