"""Batches as a pure function of (seed, epoch, step), gathered on the training device."""

from collections.abc import MutableMapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from metrics.images import as_float
from mmbench.data.base import Split
from models.base import LABELS, Modality
from models.errors import InputError

__all__ = ["Batches", "Place"]

_COPIES: MutableMapping[Tensor, dict[torch.device, Tensor]] = WeakTensorKeyDictionary()


class Place(NamedTuple):
    """Where the batch of a step is.

    Attributes:
        names: of the modalities that it has.
        start: of its first pair in the order of the epoch.
    """

    names: tuple[str, ...]
    start: int


class Batches:
    """Shuffled batches, without end.

    Epoch e visits the pairs in a permutation drawn from (seed, e), on the CPU whatever the device, so every
    device sees the same batches. The last, partial batch of an epoch is dropped: an epoch covers each pair at
    most once.
    The pairs of a batch all have the same modalities: where some lack one, batches with and without it follow
    each other at random; pairs that lack all are left out.
    The uint8 images live on `device`; a batch costs one gather per modality and no host synchronisation. The
    host finds its place; `gather` reads the place from the device, and may be part of a CUDA graph.

    Args:
        split: the images and pairs.
        modalities: those that a batch holds, all of the split or some.
        batch_size: pairs per batch.
        seed: of the permutations, not negative.
        device: where images live and batches are made.
        labels: whether batches have the pairs' classes too, under LABELS.

    Raises:
        InputError: if the split has fewer pairs than a batch, in all or of those with the same modalities.
    """

    def __init__(
        self,
        split: Split,
        modalities: Sequence[Modality],
        batch_size: int,
        seed: int,
        device: torch.device | str = "cpu",
        labels: bool = False,
    ):
        columns = [list(split.items).index(modality.name) for modality in modalities]
        pairs = split.pairs[:, columns]
        self.batch_size, self.seed, self.device = batch_size, seed, torch.device(device)
        self._kinds = _kinds(pairs)
        self._batches = self._plan([modality.name for modality in modalities])
        self.steps_per_epoch = len(self._batches)
        self._items = {m.name: _shared(split.items[m.name], self.device) for m in modalities}
        self._labels = {name: _shared(split.labels[name], self.device) for name in self._items if labels}
        # (M, P): a batch is one contiguous slice per modality
        self._pairs = pairs.t().contiguous().to(self.device)
        kept = sum(len(rows) for _, rows in self._kinds)
        self._shuffled = self._pairs.new_zeros(len(modalities), kept)  # one place in memory for every epoch
        self._within = torch.arange(batch_size, device=self.device)
        self._epoch = -1
        self._order: Sequence[int] = ()

    def batch(self, step: int) -> dict[str, Tensor]:
        """The batch of step `step`, counted from 0 over all epochs.

        Returns:
            Modality name -> (B, *shape) float32 in [0, 1], images in the memory format channels last. With
            labels also LABELS -> (B,) int64.
        """
        names, start = self.place(step)
        return self.gather(names, torch.tensor(start, device=self.device))

    def place(self, step: int) -> Place:
        """Where the batch of a step is, with its epoch's order on the device."""
        epoch, position = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._shuffle(epoch)
        return self._batches[self._order[position]]

    def gather(self, names: Sequence[str], start: Tensor) -> dict[str, Tensor]:
        """The batch of these modalities at `start`, a whole number () on the device: as `batch`."""
        order = self._shuffled.index_select(1, self._within + start)
        rows = {name: index for name, index in zip(self._items, order.unbind(), strict=True) if name in names}
        found = {
            name: _as_computed(as_float(self._items[name].index_select(0, index)))
            for name, index in rows.items()
        }
        if self._labels:  # those of any modality: the items of a pair are of one class
            name, index = next(iter(rows.items()))
            found[LABELS] = self._labels[name].index_select(0, index)
        return found

    def _plan(self, names: list[str]) -> list[Place]:
        """The places of the batches of an epoch.

        InputError where pairs of some kind are too few for a batch.
        """
        batches: list[Place] = []
        first = 0
        for held, rows in self._kinds:
            there = tuple(name for name, is_there in zip(names, held, strict=True) if is_there)
            if len(rows) < self.batch_size:
                which, remedy = "that there are", ""
                if len(self._kinds) > 1:
                    which = f"that have just {' and '.join(there)}"
                    remedy = ", or other shares of what is observed"
                raise InputError(
                    f"A batch of {self.batch_size} pairs is more than the {len(rows)} {which}: "
                    f"choose a smaller batch size{remedy}."
                )
            end = first + len(rows)
            starts = range(first, end - self.batch_size + 1, self.batch_size)
            batches += [Place(there, start) for start in starts]
            first = end
        return batches

    def _shuffle(self, epoch: int) -> None:
        """Order the pairs of each kind, and then the batches, for this epoch."""
        seed = int(np.random.SeedSequence((self.seed, epoch)).generate_state(1, np.uint64)[0])
        generator = torch.Generator().manual_seed(seed)
        rows = torch.cat([rows[torch.randperm(len(rows), generator=generator)] for _, rows in self._kinds])
        torch.index_select(self._pairs, 1, rows.to(self.device), out=self._shuffled)
        self._epoch = epoch
        self._order = range(self.steps_per_epoch)
        if len(self._kinds) > 1:
            self._order = torch.randperm(self.steps_per_epoch, generator=generator).tolist()


def _shared(tensor: Tensor, device: torch.device) -> Tensor:
    """`tensor` on `device`: one copy of it for all runs of the process, as long as `tensor` is there."""
    if tensor.device.type == device.type:
        return tensor
    copies = _COPIES.setdefault(tensor, {})
    if device not in copies:
        copies[device] = tensor.to(device)
        if device.type == "cuda":  # other runs read it on streams of their own
            torch.cuda.synchronize(device)
    return copies[device]


def _kinds(pairs: Tensor) -> list[tuple[list[bool], Tensor]]:
    """Which modalities pairs (P, M) have, and the rows of those that have them, but for pairs with none."""
    powers = 2 ** torch.arange(pairs.shape[1])
    code = ((pairs >= 0) * powers).sum(1)
    kinds = [kind for kind in code.unique().tolist() if kind] or [int(powers.sum())]
    return [((kind & powers).bool().tolist(), torch.nonzero(code == kind).flatten()) for kind in kinds]


def _as_computed(items: Tensor) -> Tensor:
    """Images in the memory format of convolutions and likelihoods, so that neither has to convert them."""
    return items.contiguous(memory_format=torch.channels_last) if items.ndim == 4 else items
