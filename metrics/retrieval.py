"""Retrieval: items of one modality found by items of another one, by the cosine of their representations.

An item is relevant to a query if it is of the query's class. Equal cosines are ranked at random.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from metrics.probe import probe_indices

__all__ = ["HITS", "RECALLS", "Retrieval", "chance_precision", "first_found", "retrieve"]

HITS = (1, 5, 10)
RECALLS = 21  # levels of recall from 0 to 1 of the precision-recall curve
CHUNK = 250  # queries that are ranked at a time


class Retrieval(NamedTuple):
    """How well the queries of one modality find the items of another one.

    Attributes:
        precision: mean average precision, in [0, 1]: the mean over queries i of 1/R_i sum_j P_i(j) rel_i(j),
            over all ranks j of the whole gallery; P_i(j) is the share of relevant items among the first j,
            rel_i(j) whether the one at j is relevant, R_i how many are.
        hits: K -> the share of queries with a relevant item among the first K, for the K in HITS.
        curve: (RECALLS,) interpolated precision at evenly spaced levels of recall r from 0 to 1, the mean
            over queries of max P_i(j) over the ranks j with a recall of r or more (Manning et al. 2008,
            section 8.4).
    """

    precision: float
    hits: dict[int, float]
    curve: Tensor


def retrieve(
    queries: Tensor,
    labels: Tensor,
    gallery: Tensor,
    classes: Tensor,
    seed: int,
    counts: Tensor | None = None,
) -> Retrieval:
    """Rank the whole gallery for every query.

    Args:
        queries: (N, L) representations.
        labels: (N,) their classes, each of which the gallery has.
        gallery: (G, L) representations.
        classes: (G,) their classes.
        seed: of the order of equal cosines.
        counts: (N,) how many queries each of these stands for, as equal ones find the same; None for one.
    """
    precisions, curves, firsts = [], [], []
    ranks = torch.arange(1, len(gallery) + 1, device=gallery.device, dtype=torch.float64)
    levels = torch.arange(RECALLS, device=gallery.device)
    for start, order in _orders(queries, gallery, seed):
        relevant = classes[order] == labels[start : start + len(order), None]  # (n, G), by rank
        found = relevant.cumsum(1, dtype=torch.float64)
        precision, total = found / ranks, found[:, -1]
        precisions.append((precision * relevant).sum(1) / total)
        # the first rank at which a recall is reached, and the best precision from there on
        reached = (levels * total[:, None].long() + RECALLS - 2) // (RECALLS - 1)  # r R, rounded up
        at = torch.searchsorted(found, reached.clamp_min(1).double())
        curves.append(precision.flip(1).cummax(1).values.flip(1).gather(1, at))
        firsts.append(relevant.double().argmax(1))
    first, weights = torch.cat(firsts), torch.ones(len(queries), device=gallery.device).double()
    if counts is not None:
        weights = counts.to(weights)

    def mean(found: Tensor) -> Tensor:
        return weights @ found.double() / weights.sum()

    hits = {count: float(mean(first < count)) for count in HITS}
    return Retrieval(float(mean(torch.cat(precisions))), hits, mean(torch.cat(curves)).cpu())


def first_found(queries: Tensor, gallery: Tensor, count: int, seed: int) -> Tensor:
    """(N, count) rows of the gallery (G, L): the first that each of the queries (N, L) finds."""
    return torch.cat([order[:, :count] for _, order in _orders(queries, gallery, seed)])


def _orders(queries: Tensor, gallery: Tensor, seed: int) -> Iterator[tuple[int, Tensor]]:
    """The first of some queries, and (n, G) rows of the gallery by falling cosine to each of them."""
    shuffled = probe_indices(len(gallery), len(gallery), seed).to(gallery.device)
    units, towards = (functional.normalize(x.double(), dim=1).float() for x in (queries, gallery[shuffled]))
    for start in range(0, len(queries), CHUNK):
        cosines = units[start : start + CHUNK] @ towards.T
        yield start, shuffled[cosines.argsort(dim=1, descending=True, stable=True)]


def chance_precision(labels: Tensor, classes: Tensor) -> float:
    """The mean average precision that a random order of the gallery has on average.

    With R of G items relevant, rank j is relevant with probability R/G, and (R - 1)/(G - 1) of those before
    it are then: E[AP] = 1/G (H_G + (R - 1)/(G - 1) (G - H_G)), H_G = sum_j 1/j.

    Args:
        labels: (N,) classes of the queries.
        classes: (G,) of the gallery.
    """
    size = len(classes)
    harmonic = float((1 / torch.arange(1, size + 1, dtype=torch.float64)).sum())
    found, counts = classes.unique(return_counts=True)
    where = torch.searchsorted(found, labels).clamp_max(len(found) - 1)
    relevant = torch.where(found[where] == labels, counts[where], 0).double()
    share = (relevant - 1) / max(size - 1, 1)
    return float(((harmonic + share * (size - harmonic)) / size).mean())
