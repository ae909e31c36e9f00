"""Draws from the model's prior, decoded once for all metrics that read them and for the pictures."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch import Tensor

from metrics.catalogue import Need
from metrics.evaluation.one_pass import BATCH, Finite, Pass
from metrics.images import as_stored, eight_bits
from metrics.references.judges import predict

__all__ = ["PriorDraws", "Votes", "prior_draws"]

SHOWN = 64  # joint draws kept for figures


class Votes:
    """The classes that the judges find in joint draws, batch by batch.

    Args:
        run: whose judges vote.
        count: how many draws are judged; more than that are not looked at.
    """

    def __init__(self, run: Pass, count: int):
        self.judges, self.left = run.references.judges, count
        self.parts: dict[str, list[Tensor]] = {name: [] for name in self.judges}

    def add(self, drawn: Mapping[str, Tensor]) -> None:
        """Judge one batch of draws, as `Finite.read` gives them."""
        if self.left > 0:
            for name, judge in self.judges.items():
                self.parts[name].append(predict(judge, drawn[name][: self.left]))
            self.left -= len(next(iter(drawn.values())))

    def found(self) -> dict[str, Tensor]:
        """Modality name -> (count,) classes, on the CPU."""
        return {name: torch.cat(parts).cpu() for name, parts in self.parts.items()}


@dataclass(frozen=True, eq=False)
class PriorDraws:
    """What is known of the draws once they are gone.

    Attributes:
        votes: of the judges, on the first `joint_draws`; without draws where no metric asks for them.
        features: (feature space, modality) -> (draws, d) on the CPU.
        shown: modality name -> (64, *shape) uint8, the first draws.
        finite: in which modalities values were not finite.
    """

    votes: Votes
    features: dict[tuple[str, str], Tensor] = field(default_factory=dict)
    shown: dict[str, np.ndarray] = field(default_factory=dict)
    finite: Finite = field(default_factory=Finite)


def prior_draws(run: Pass) -> PriorDraws:
    """The draws, decoded by the first who asks; NotDefinedError of a model without a prior."""
    return run.once("prior draws", lambda: _decode(run))


def _decode(run: Pass) -> PriorDraws:
    """Decode as many draws as the metrics of the pass need, and let judges and extractors see each batch."""
    needs = {need for group in run.groups if Need.DRAWS in group.needs for need in group.needs}
    read = {need.value for need in needs}
    spaces = [space for space in run.references.feature_spaces if space.name in read]
    judged = run.protocol.joint_draws if Need.JUDGES in needs else 0
    count = run.protocol.draws if spaces else max(judged, 1)
    extractors = {(space.name, name): each for space in spaces for name, each in space.extractors.items()}
    features: dict[tuple[str, str], list[Tensor]] = {key: [] for key in extractors}
    votes, finite, generator = Votes(run, judged), Finite(), run.generator()
    shown: dict[str, np.ndarray] = {}
    batches = run.model.generate_batches(count, BATCH, generator)
    for start, batch in zip(range(0, count, BATCH), batches, strict=True):
        # always whole batches: fewer draws are the first of more
        drawn = {
            name: finite.read(run.model.modalities[name], x)
            for name, x in run.checked("generate", batch, run.model.modalities, BATCH).items()
        }
        shown = shown or {name: eight_bits(x[:SHOWN]).cpu().numpy() for name, x in drawn.items()}
        votes.add(drawn)
        for passed, ((space, name), extractor) in enumerate(extractors.items()):
            advance = partial(_advance, run, count, start, len(extractors), passed)
            items = as_stored(run.model.modalities[name], drawn[name][: count - start])
            features[space, name].append(extractor(items, advance))
        run.progress("prior draws", min(start + BATCH, count), count)
    return PriorDraws(votes, {key: torch.cat(parts).cpu() for key, parts in features.items()}, shown, finite)


def _advance(run: Pass, draws: int, start: int, passes: int, passed: int, done: int, total: int) -> None:
    """Progress within the draws from `start` on.

    `passed` of `passes` extractors have seen all of their batch, and the next one has seen `done` of its
    `total`.
    """
    run.progress("prior draws", start + (passed * total + done) // passes, draws)
