"""What the parts of one pass over a trained model share: its arguments, the values found so far, and what is computed for several of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from metrics.images import as_float, as_read
from metrics.protocol import Protocol
from metrics.references.statistics import Progress, References
from models.base import Modality, MultimodalModel

__all__ = ["BATCH", "Finite", "Labelled", "Pass"]

BATCH = (
    500  # fixed, because which draws come out of a generator can depend on how many are asked for at a time
)

Labelled = Mapping[str, tuple[Tensor, Tensor]]
"""Modality name -> images (N, *shape) uint8, labels (N,)."""


@dataclass
class Pass:
    """The pass over one model, as `evaluate` takes its arguments; `metrics`, `reasons` and `confusion` fill as it goes."""

    model: MultimodalModel
    test: Labelled
    train: Labelled
    tuples: Mapping[str, Tensor]
    references: References
    protocol: Protocol
    device: torch.device
    progress: Progress
    metrics: dict[str, float | None] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    confusion: dict[str, Tensor] = field(default_factory=dict)  # "a->b" -> (10, 10), see Diagnostics
    _represented: dict[str, Tensor] = field(default_factory=dict)

    def generator(self) -> torch.Generator:
        """A fresh one for every task, so that no metric depends on which others were asked for."""
        return torch.Generator(self.device).manual_seed(self.protocol.evaluation_seed)

    def lack(self, metric: str, reason: str) -> None:
        """`metric` has no value, and why."""
        self.metrics[metric], self.reasons[metric] = None, reason

    def unjudged(self, *names: str) -> str | None:
        """Why there is no coherence of these modalities, None where each has its judge."""
        lacking = [name for name in names if name not in self.references.judges]
        return (
            self.references.missing.get("coherence", f"There is no judge for {', '.join(lacking)}.")
            if lacking
            else None
        )

    # --- representations, which the probe and cross coherence share ----------------------------------------------------

    def embed(self, name: str, images: Tensor, part: str) -> Tensor:
        """(N, L) on the device: the model's representations of images (N, *shape) uint8 of one modality."""
        rows = []
        for batch in images.split(BATCH):
            rows.append(self.model.embed({name: as_float(batch.to(self.device))}))
            self.progress(f"representations of {name} ({part})", sum(map(len, rows)), len(images))
        return torch.cat(rows)

    def represent(self, name: str) -> Tensor:
        """`embed` of the test images of one modality, in batches of BATCH, computed once."""
        if name not in self._represented:
            self._represented[name] = self.embed(name, self.test[name][0], "test")
        return self._represented[name]

    def represented(self, name: str) -> Tensor | None:
        """What `represent` has computed, None if nothing has called it."""
        return self._represented.get(name)


class Finite:
    """Brings generated means into the form that judges read and remembers in which modalities some were not finite."""

    def __init__(self) -> None:
        self.flags: dict[str, Tensor] = {}  # on the device, so that no batch waits for the host

    def read(self, modality: Modality, x: Tensor) -> Tensor:
        """`as_read` of `x` (N, *shape) clamped to [0, 1], NaN as 0."""
        finite = x.isfinite().all()
        self.flags[modality.name] = self.flags.get(modality.name, True) & finite
        return as_read(modality, x.nan_to_num(0.0).clamp(0, 1))

    def reason(self, *names: str) -> str | None:
        """The sentence for metrics that read these modalities, None where all is well."""
        bad = [name for name in names if name in self.flags and not self.flags[name]]
        return f"The model generated values that are not finite in {', '.join(bad)}." if bad else None
