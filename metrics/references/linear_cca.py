"""Linear canonical correlation analysis of items as they are: a baseline of retrieval without networks."""

from collections.abc import Callable, Mapping
from itertools import combinations
from statistics import fmean
from typing import NamedTuple

import torch
from sklearn.decomposition import PCA
from torch import Tensor

from metrics.images import as_float
from metrics.probe import probe_indices
from metrics.retrieval import retrieve

__all__ = [
    "COMPONENTS",
    "PAIRS",
    "QUERIES",
    "CanonicalAnalysis",
    "linear_cca_precision",
    "pairs_of_one_class",
]

FEWEST = 3  # pairs that an analysis can be made from
PAIRS = 10_000  # of train items that the analysis is made from
QUERIES = 2_000  # test items of a modality that search, at most: ranking ten thousand takes minutes
SMALLEST = 1e-9  # share of the largest variance below which a component is constant
PART = 500  # items that are embedded at a time
COMPONENTS = 50  # principal components of each modality: pixels are more than the pairs can tell apart


class _View(NamedTuple):
    """The way of one modality's items to its variables: weights (D, L) of items without their mean (D,)."""

    mean: Tensor
    weights: Tensor

    def __call__(self, items: Tensor) -> Tensor:
        """(N, L), by parts: all items in double precision would be gigabytes."""
        parts = [(part.flatten(1).double() - self.mean) @ self.weights for part in items.split(PART)]
        return torch.cat(parts)


class CanonicalAnalysis:
    """Canonical variables of two modalities (Hotelling 1936), from paired items.

    With C the covariances of the principal components and U S V' = C_aa^(-1/2) C_ab C_bb^(-1/2), the
    variables of a are U' C_aa^(-1/2) (a - mean), those of b alike, and S their correlations, by which both
    are weighted: variables that the other modality does not share would drown the others in cosines (Gong et
    al. 2014, section 3.3).

    Args:
        a, b: (n, *shape) floats; row i of both belongs together. At least FEWEST rows.

    Attributes:
        correlations: (L,) falling.
    """

    def __init__(self, a: Tensor, b: Tensor):
        white = [_whitening(x) for x in (a, b)]
        codes = [view(x) for view, x in zip(white, (a, b), strict=True)]
        cross = codes[0].T @ codes[1] / (len(a) - 1)
        left, self.correlations, right = torch.linalg.svd(cross, full_matrices=False)
        self._views = [
            _View(view.mean, view.weights @ vectors * self.correlations)
            for view, vectors in zip(white, (left, right.T), strict=True)
        ]

    def embed(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        """(N, L) and (M, L): weighted canonical variables of items (N, *shape) of a and (M, *shape) of b."""
        return self._views[0](a), self._views[1](b)


def _whitening(items: Tensor) -> _View:
    """The way of items to their principal components, of variance 1 each: C^(-1/2) is that of variances."""
    flat = items.flatten(1).double().numpy()
    found = PCA(min(COMPONENTS, len(flat) - 1, flat.shape[1]), random_state=0).fit(flat)
    variances = torch.from_numpy(found.explained_variance_)
    there = variances > SMALLEST * variances[0]  # without variance there is nothing to divide by
    directions = torch.from_numpy(found.components_)[there]
    return _View(torch.from_numpy(found.mean_), directions.T / variances[there].sqrt())


def pairs_of_one_class(labels: Tensor, classes: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Two (n,) of rows of equal label: up to PAIRS random rows of one modality, and one at random for each.

    Rows whose label the other modality lacks are left out.

    Args:
        labels: (N,) of the first modality.
        classes: (M,) of the second.
        seed: of the choice.
    """
    first = probe_indices(len(labels), PAIRS, seed)
    first = first[torch.isin(labels[first], classes)]
    order = classes.argsort(stable=True)
    ordered, wanted = classes[order], labels[first]
    begin = torch.searchsorted(ordered, wanted)
    count = torch.searchsorted(ordered, wanted, right=True) - begin
    chance = torch.rand(len(first), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return first, order[begin + (chance * count).long()]


def linear_cca_precision(
    train: Mapping[str, tuple[Tensor, Tensor]],
    test: Mapping[str, tuple[Tensor, Tensor]],
    seed: int,
    progress: Callable[[int, int], object],
) -> float | None:
    """Mean average precision, in [0, 1], of retrieval among test items by canonical variables.

    The mean over all ordered pairs of modalities, of which each two have an analysis of their own; None where
    no test item has one of its label in another modality, or train items are too few.

    Args:
        train, test: modality name -> items (N, *shape) as `metrics.images` says, labels (N,).
        seed: of the choice of pairs and of queries, and of the order of equal cosines.
        progress: called with (pairs of modalities done, pairs), and may raise to stop.
    """
    found: list[float] = []
    both = list(combinations(train, 2))
    for done, pair in enumerate(both):
        progress(done, len(both))
        (_, labels), (_, classes) = (train[name] for name in pair)
        rows = pairs_of_one_class(labels, classes, seed)
        if len(rows[0]) < FEWEST:
            continue
        items = (as_float(train[name][0][at]) for name, at in zip(pair, rows, strict=True))
        embedded = CanonicalAnalysis(*items).embed(*(as_float(test[name][0]) for name in pair))
        codes = [(code, test[name][1]) for name, code in zip(pair, embedded, strict=True)]
        for (queries, wanted), (gallery, there) in (codes, codes[::-1]):
            asked = torch.nonzero(torch.isin(wanted, there)).flatten()
            asked = asked[probe_indices(len(asked), QUERIES, seed)]
            if len(asked):
                found.append(retrieve(queries[asked], wanted[asked], gallery, there, seed).precision)
    return fmean(found) if found else None
