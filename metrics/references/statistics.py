"""What all models of a data set are measured against: judges, and statistics of real images."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from metrics.frechet import Statistics, frechet_distance, root, statistics
from metrics.missing import Lack, Missing
from metrics.protocol import Protocol

__all__ = [
    "NO_LINEAR_CCA",
    "UNLABELLED",
    "Extractor",
    "FeatureSpace",
    "Progress",
    "References",
    "build_feature_space",
]

Extractor = Callable[[Tensor, Callable[[int, int], object]], Tensor]
"""From uint8 items (N, *shape), images or one-hot texts, on any device, to features (N, d).

The second argument is called after every batch with (items done, items), and may raise to stop.
"""

Progress = Callable[[str, int, int], object]
"""Called with (what is being done, items done, items); may raise to stop."""

NO_LINEAR_CCA = Missing(Lack.UNAVAILABLE, "There are too few pairs for a linear CCA.")

UNLABELLED = Missing(
    Lack.UNAVAILABLE,
    "The data have no labels, and classes are what this is measured by; retrieval of the item that belongs "
    "to a query takes its place.",
)


@dataclass(frozen=True, eq=False)
class FeatureSpace:
    """Features in which Frechet distances are taken, with what real images look like in them.

    Attributes:
        name: of the metric, "fd_clf", "fid" or "fd_in".
        extractors: modality name -> extractor.
        real: modality name -> statistics of the test images.
        roots: modality name -> `root` of their covariance.
        floor: modality name -> distance of train from test images: what a perfect generator would score.
        train_count: modality name -> number of train images of the floor.
    """

    name: str
    extractors: Mapping[str, Extractor]
    real: Mapping[str, Statistics]
    roots: Mapping[str, Tensor]
    floor: Mapping[str, float]
    train_count: Mapping[str, int]

    def arrays(self) -> dict[str, np.ndarray]:
        """All but the extractors, as `numpy.savez` stores it; `FeatureSpace.restore` reads it back."""
        arrays: dict[str, np.ndarray] = {}
        for name, real in self.real.items():
            arrays |= {f"{name}/{key}": value for key, value in real.arrays().items()}
            arrays[f"{name}/root"] = self.roots[name].numpy()
            arrays[f"{name}/floor"] = np.array(self.floor[name])
            arrays[f"{name}/train_count"] = np.array(self.train_count[name])
        return arrays

    @classmethod
    def restore(
        cls, name: str, extractors: Mapping[str, Extractor], arrays: Mapping[str, np.ndarray]
    ) -> "FeatureSpace":
        """The feature space whose `arrays` these are."""
        real = {
            m: Statistics.restore({key: arrays[f"{m}/{key}"] for key in ("mean", "covariance", "count")})
            for m in extractors
        }
        roots = {m: torch.from_numpy(arrays[f"{m}/root"]) for m in extractors}
        floor = {m: float(arrays[f"{m}/floor"]) for m in extractors}
        return cls(
            name, extractors, real, roots, floor, {m: int(arrays[f"{m}/train_count"]) for m in extractors}
        )


def build_feature_space(
    name: str,
    extractors: Mapping[str, Extractor],
    train: Mapping[str, Tensor],
    test: Mapping[str, Tensor],
    protocol: Protocol,
    progress: Progress | None = None,
) -> FeatureSpace:
    """Statistics of real images in the features that `extractors` give.

    The floor takes as many train images as are generated (`protocol.draws`), drawn at random, or all where
    there are fewer.

    Args:
        name: of the metric, "fd_clf", "fid" or "fd_in".
        extractors: modality name -> extractor; modalities without one are left out.
        train, test: modality name -> (N, *shape) uint8.
        protocol: the number of draws and the seed.
        progress: called after every batch.
    """
    report = progress or (lambda task, done, total: None)
    real, roots, floor, train_count = {}, {}, {}, {}
    for m, extractor in extractors.items():
        generator = torch.Generator().manual_seed(protocol.evaluation_seed)
        rows = torch.randperm(len(train[m]), generator=generator)[: protocol.draws]
        real[m] = statistics(extractor(test[m], partial(report, f"{name} of {m} (test)")))
        others = statistics(extractor(train[m][rows], partial(report, f"{name} of {m} (train)")))
        roots[m] = root(real[m].covariance)
        floor[m] = frechet_distance(others, real[m], roots[m])
        train_count[m] = others.count
    return FeatureSpace(name, extractors, real, roots, floor, train_count)


@dataclass(frozen=True, eq=False)
class References:
    """What all models of a data set share.

    Pickled, its networks are copies on the CPU: not every system can share a GPU's memory between processes,
    and no two machines can.

    Attributes:
        judges: modality name -> classifier, in eval mode on the device of the evaluation.
        judge_accuracy: modality name -> its accuracy on real test images, in [0, 1].
        classes: how many classes the data have, which are those that judges tell apart; 0 of data without
            labels.
        feature_spaces: of the Frechet distances.
        missing: "judges", or the name of a feature space -> why modalities without a judge or an extractor
            have none.
        linear_cca: mean average precision of retrieval by linear CCA, in [0, 1], or why it is not known.
    """

    judges: Mapping[str, nn.Module]
    judge_accuracy: Mapping[str, float]
    classes: int
    feature_spaces: tuple[FeatureSpace, ...] = ()
    missing: Mapping[str, Missing] = field(default_factory=dict)
    linear_cca: float | Missing = NO_LINEAR_CCA

    def on(self, device: torch.device | str) -> "References":
        """These references with networks on `device`: themselves where they are, else copies."""
        device = torch.empty(0, device=device).device  # "cuda" is "cuda:0"
        if all(_place(network) in (None, device) for network in self._networks()):
            return self
        copies = {id(network): deepcopy(network).to(device) for network in self._networks()}

        def moved(extractor: Extractor) -> Extractor:
            network = _network(extractor)
            if network is None:
                return extractor
            assert isinstance(extractor, partial)
            return partial(extractor.func, copies[id(network)], *extractor.args[1:], **extractor.keywords)

        judges = {name: copies[id(judge)] for name, judge in self.judges.items()}
        spaces = tuple(
            replace(space, extractors={name: moved(each) for name, each in space.extractors.items()})
            for space in self.feature_spaces
        )
        return replace(self, judges=judges, feature_spaces=spaces)

    def __getstate__(self) -> dict[str, Any]:
        return vars(self.on("cpu"))

    def _networks(self) -> list[nn.Module]:
        """Judges, and the networks of the extractors; a judge may be among these."""
        extractors = (each for space in self.feature_spaces for each in space.extractors.values())
        found = [*self.judges.values(), *map(_network, extractors)]
        return [network for network in found if network is not None]

    @property
    def unlabelled(self) -> Missing | None:
        """Why nothing can be measured by classes, None where the data have some."""
        return None if self.classes else UNLABELLED

    def space(self, name: str) -> FeatureSpace | None:
        """The feature space called `name`, where there is one."""
        return next((space for space in self.feature_spaces if space.name == name), None)

    def unread(self, name: str, modality: str) -> Missing | None:
        """Why a modality has no features in the feature space called `name`, None where it has."""
        space = self.space(name)
        if space and modality in space.extractors:
            return None
        otherwise = Missing(Lack.UNAVAILABLE, f"There are no reference features for {modality}.")
        return self.missing.get(name, otherwise)

    def unjudged(self, *modalities: str) -> Missing | None:
        """Why these modalities cannot be judged, None where each has its judge."""
        lacking = [name for name in modalities if name not in self.judges]
        if not lacking:
            return None
        otherwise = Missing(Lack.UNAVAILABLE, f"There is no judge for {', '.join(lacking)}.")
        return self.missing.get("judges", otherwise)


def _network(extractor: Extractor) -> nn.Module | None:
    """The network of an extractor, the first argument of a partial function; None where it has none."""
    first = extractor.args[0] if isinstance(extractor, partial) and extractor.args else None
    return first if isinstance(first, nn.Module) else None


def _place(network: nn.Module) -> torch.device | None:
    """Where a network is, None without a weight."""
    return next((parameter.device for parameter in network.parameters()), None)
