"""What the metrics of one pass over a trained model share: arguments, and what is computed once."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias, TypeVar

import torch
from torch import Tensor

from metrics.catalogue import Group
from metrics.images import as_float, as_read
from metrics.missing import Lack, Missing
from metrics.names import MetricName
from metrics.probe import probe_indices
from metrics.protocol import Protocol
from metrics.references.statistics import FeatureSpace, Progress, References
from models.base import Modality, MultimodalModel, SharedLatentModel
from models.errors import InputError

__all__ = ["BATCH", "INCOMPLETE", "Finite", "Found", "Labelled", "Pass", "complete"]

BATCH = 500  # fixed, because which draws a generator gives can depend on how many are asked for at a time

INCOMPLETE = Missing(Lack.UNAVAILABLE, "No test row has all modalities.")

T = TypeVar("T")

Labelled = Mapping[str, tuple[Tensor, Tensor]]
"""Modality name -> items (N, *shape) as `metrics.images` says, labels (N,): classes, or rows without any."""

Found: TypeAlias = Iterator[tuple[MetricName, float | Missing]]
"""What the function of a metric yields: every number that it declares, or why there is none."""


@dataclass
class Pass:
    """The pass over one model, with the arguments of `evaluate`.

    Attributes:
        device: of the model, and of the test items.
        groups: all that are computed, for those who prepare something for several of them.
        confusion: (a, b) -> (C, C), see `Diagnostics`; filled by the cross coherences.
        recall: (a, b) -> (levels,), see `Diagnostics`; filled by the retrievals.
    """

    model: MultimodalModel
    test: Labelled
    train: Labelled
    tuples: Mapping[str, Tensor] | None
    references: References
    protocol: Protocol
    groups: tuple[Group, ...]
    device: torch.device
    progress: Progress
    confusion: dict[tuple[str, str], Tensor] = field(default_factory=dict)
    recall: dict[tuple[str, str], Tensor] = field(default_factory=dict)
    _kept: dict[Hashable, Any] = field(default_factory=dict)

    def generator(self) -> torch.Generator:
        """A fresh one for every task, so that no metric depends on which others were asked for."""
        return torch.Generator(self.device).manual_seed(self.protocol.evaluation_seed)

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """`make()`, computed by the first who asks under this key."""
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]

    def tuples_from(self, modality: str) -> Tensor:
        """(N, M): a tuple of its class for each test item of a modality; InputError without `tuples`."""
        if not self.tuples:
            raise InputError(
                "Conditions of several modalities, and a log-likelihood, need tuples of test images of one "
                "class: give `tuples` to evaluate."
            )
        return self.tuples[modality]

    # --- representations and features of test items

    def embed(self, name: str, images: Tensor, part: str) -> Tensor:
        """(N, L) on the device: the model's representations of images (N, *shape) uint8 of one modality."""
        rows = []
        for batch in images.to(self.device).split(BATCH):
            found = self.model.embed({name: as_float(batch)})
            if found.ndim != 2 or len(found) != len(batch):
                raise ValueError(
                    f"embed gave {tuple(found.shape)} of {len(batch)} items: expected a row for each"
                )
            rows.append(found.clone())  # a model may use one buffer for all that it returns
            self.progress(f"representations of {name} ({part})", sum(map(len, rows)), len(images))
        return torch.cat(rows)

    def represent(self, name: str) -> Tensor:
        """`embed` of the test images of one modality, computed once."""
        return self.once(("representations", name), lambda: self.embed(name, self.test[name][0], "test"))

    def represented(self, name: str) -> Tensor | None:
        """What `represent` has computed, None if nothing has called it."""
        return self._kept.get(("representations", name))

    def test_features(self, space: FeatureSpace, name: str, count: int) -> Tensor:
        """(count, d): features of `count` random test items of one modality, computed once."""

        def extract() -> Tensor:
            images = self.test[name][0]
            rows = probe_indices(len(images), count, self.protocol.evaluation_seed)
            return space.extractors[name](images[rows], partial(self.progress, f"features of {name} (test)"))

        return self.once(("features", space.name, name, count), extract)

    # --- from observed modalities to others

    def translate(
        self, rows: Mapping[str, Tensor], targets: list[str], start: int, generator: torch.Generator | None
    ) -> dict[str, Tensor]:
        """The model's `translate` of BATCH conditions, with sampled latents or, without a generator, means.

        Where the contract derives both `translate` and `embed` from `infer`, the mean latents of single
        modalities are their representations, which the probe reads too: no image is encoded for them again.

        Args:
            rows: source -> (N,) test items, on the device; item i of every source make one condition.
            targets: modalities to generate.
            start: the first of the BATCH conditions.
            generator: of sampled latents.
        """
        model = self.model
        if (
            generator is None
            and len(rows) == 1
            and isinstance(model, SharedLatentModel)
            and _derives_all(model)
        ):
            ((source, items),) = rows.items()
            latent = self.represent(source)[items[start : start + BATCH]]
            return self.checked(
                "decode", {name: model.decode(name, latent) for name in targets}, targets, len(latent)
            )
        inputs = {
            name: as_float(self.test[name][0][items[start : start + BATCH]]) for name, items in rows.items()
        }
        count = len(next(iter(inputs.values())))
        return self.checked(
            "translate", model.translate(inputs, targets, generator is not None, generator), targets, count
        )

    def checked(
        self, call: str, outputs: Mapping[str, Tensor], names: Iterable[str], count: int
    ) -> dict[str, Tensor]:
        """What a call of the model gave, by modality.

        Raises:
            ValueError: unless it is `count` items of each modality: one item would be compared to all.
        """
        for name in names:
            found = tuple(outputs[name].shape) if name in outputs else "nothing"
            expected = (count, *self.model.modalities[name].shape)
            if found != expected:
                raise ValueError(f"{call} gave {found} of {name}: expected {expected}")
        return {name: outputs[name] for name in names}


def complete(tuples: Tensor, columns: list[int]) -> Tensor:
    """The tuples (N, M) that have an item in all of these columns."""
    return tuples[(tuples[:, columns] >= 0).all(1)]


def _derives_all(model: SharedLatentModel) -> bool:
    """Whether `translate` and `embed` are the contract's, not the model's own."""
    kind, contract = type(model), SharedLatentModel
    return kind.translate is contract.translate and kind.embed is contract.embed


class Finite:
    """Brings generated means into the form that judges read, and remembers where some were not finite."""

    def __init__(self) -> None:
        self.flags: dict[str, Tensor] = {}  # on the device, so that no batch waits for the host

    def read(self, modality: Modality, x: Tensor) -> Tensor:
        """`as_read` of `x` (N, *shape) clamped to [0, 1], NaN as 0."""
        finite = x.isfinite().all()
        self.flags[modality.name] = self.flags.get(modality.name, True) & finite
        return as_read(modality, x.nan_to_num(0.0).clamp(0, 1))

    def missing(self, *names: str) -> Missing | None:
        """Why metrics that read these modalities have no value, None where all was finite."""
        bad = [name for name in names if name in self.flags and not self.flags[name]]
        if not bad:
            return None
        return Missing(Lack.FAILED, f"The model generated values that are not finite in {', '.join(bad)}.")
