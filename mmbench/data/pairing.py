"""Pairs that share their class, the hold-out by image before them, and what is hidden of them for training.

All are pure functions of labels or pairs, settings and seed, computed on the CPU with a generator of their
own.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from models.errors import InputError

__all__ = [
    "fill_batches",
    "hide",
    "hold_out",
    "make_pairs",
    "row_tuples",
    "take_per_class",
    "validation_share",
]

FEW_IMAGES = 20_000  # below this the validation share doubles


def make_pairs(labels: Sequence[Tensor], per_image: int, seed: int) -> Tensor:
    """Many-to-many pairs of images of one class.

    Every image of every modality is the anchor of `per_image` tuples. Its partners in each other modality are
    of its class, drawn without replacement per anchor (with replacement where the class has fewer than
    `per_image` images).

    Args:
        labels: (N_m,) int64 classes from 0 on, one tensor per modality.
        per_image: tuples per anchor.
        seed: of the draw.

    Returns:
        (per_image * sum of N_m, M) int64 indices. Rows are ordered by the anchor's modality, then by the
        anchor, so those of anchor i of modality m are the `per_image` rows from per_image * (N_0 + ... +
        N_{m-1} + i) on.

    Raises:
        InputError: if a class is missing in some modality.
    """
    _check_classes(labels)
    generator = torch.Generator().manual_seed(seed)
    blocks = []
    for anchor, classes in enumerate(labels):
        columns = [
            torch.arange(len(classes)).repeat_interleave(per_image)
            if other == anchor
            else _draw_partners(classes, labels[other], per_image, generator).flatten()
            for other in range(len(labels))
        ]
        blocks.append(torch.stack(columns, dim=1))
    return torch.cat(blocks)


def hide(pairs: Tensor, counts: Sequence[int], shares: Mapping[int, float], seed: int) -> Tensor:
    """Pairs without the items that are not observed: -1 in their place.

    Items and not pairs are drawn: each of them recurs in many pairs, and what is hidden must be hidden in all
    of them.

    Args:
        pairs: (P, M) indices of items, -1 where a row lacks one.
        counts: items of each column.
        shares: column -> the share of its items that is observed, rounded; at least one item, and not all.
        seed: of the draw.
    """
    # not the numbers that drew the partners
    seed = int(np.random.SeedSequence((seed, 1)).generate_state(1, np.uint64)[0])
    generator = torch.Generator().manual_seed(seed)
    pairs = pairs.clone()
    for column, share in sorted(shares.items()):
        observed = min(max(round(share * counts[column]), 1), counts[column] - 1)
        hidden = torch.zeros(counts[column], dtype=torch.bool)
        hidden[torch.randperm(counts[column], generator=generator)[observed:]] = True
        pairs[hidden[pairs[:, column]], column] = -1  # of a row that lacks it, it is -1 before and after
    return pairs


def fill_batches(pairs: Tensor, batch_size: int) -> Tensor:
    """Pairs (P, M) of rows, repeated until those of every kind, with the same modalities, fill a batch.

    All are repeated alike, so that an epoch sees each of them as often as any other.
    """
    powers = 2 ** torch.arange(pairs.shape[1])
    _, counts = ((pairs >= 0) * powers).sum(1).unique(return_counts=True)
    return pairs.repeat(-(-batch_size // int(counts.min())), 1)


def row_tuples(rows: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """For each of the N items of every modality the items of its row, one of each modality.

    Args:
        rows: modality name -> (N_m,) the row of each item, ascending.

    Returns:
        Modality name -> (N_m, M), -1 where the row lacks a modality.
    """
    count = 1 + max(int(of.max()) for of in rows.values())
    columns = []
    for of in rows.values():
        column = torch.full((count,), -1)
        column[of] = torch.arange(len(of))
        columns.append(column)
    table = torch.stack(columns, 1)
    return {name: table[of] for name, of in rows.items()}


def _draw_partners(classes: Tensor, labels: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """(n, k): for each of the n anchors, k images among `labels` of the anchor's class.

    Floyd's algorithm (Bentley and Floyd 1987), all anchors at once: for top = count-k ... count-1 draw t from
    0..top, take t, or top where t has been taken already. That makes every subset of k equally likely.
    """
    by_class = torch.argsort(labels, stable=True)  # images of one class side by side
    counts = torch.bincount(labels)
    starts = (counts.cumsum(0) - counts)[classes]
    count = counts[classes]
    enough = count >= k
    ranks = torch.empty(len(classes), k, dtype=torch.int64)
    for i in range(k):
        top = torch.where(enough, count - k + i, count - 1)
        drawn = (torch.rand(len(classes), generator=generator, dtype=torch.float64) * (top + 1)).long()
        taken = enough & (ranks[:, :i] == drawn[:, None]).any(dim=1)
        ranks[:, i] = torch.where(taken, top, drawn)
    # The subset is uniform, its order is not; shuffled, the i-th partners in two modalities are independent.
    shuffle = torch.rand(ranks.shape, generator=generator, dtype=torch.float64).argsort(dim=1)
    return by_class[starts[:, None] + ranks.gather(1, shuffle)]


def _check_classes(labels: Sequence[Tensor]) -> None:
    """InputError unless every modality has items of every class."""
    present = [set(values.unique().tolist()) for values in labels]
    for index, classes in enumerate(present):
        if missing := set.union(*present) - classes:
            listed = ", ".join(map(str, sorted(missing)))
            raise InputError(
                f"Modality {index + 1} of {len(present)} has no image of class {listed}, which another "
                "modality has: pairs share their class, so every modality needs images of all of them."
            )


def validation_share(n: int) -> float:
    """The share of `n` train images that is held out: 5 %, or 10 % of fewer than 20,000."""
    return 0.1 if n < FEW_IMAGES else 0.05


def hold_out(labels: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Indices of the train images that stay and of those held out for validation, both ascending.

    Stratified: `validation_share` of every class, rounded, and at least one image of it.
    """
    counts = torch.bincount(labels)
    return take_per_class(labels, (counts * validation_share(len(labels))).round().long().clamp_min(1), seed)


def take_per_class(labels: Tensor, take: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Indices of the images left and of those taken, take[c] of class c at random; both ascending."""
    counts = torch.bincount(labels)
    generator = torch.Generator().manual_seed(seed)
    # A class and a random fraction make one key: sorted, each class is a shuffled run.
    order = torch.argsort(labels + torch.rand(len(labels), generator=generator, dtype=torch.float64))
    classes = labels[order]
    rank = torch.arange(len(labels)) - (counts.cumsum(0) - counts)[classes]
    taken = torch.zeros(len(labels), dtype=torch.bool)
    taken[order] = rank < take[classes]
    return torch.nonzero(~taken).flatten(), torch.nonzero(taken).flatten()
