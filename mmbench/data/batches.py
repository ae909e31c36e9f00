"""Batches as a pure function of (seed, epoch, step), gathered on the training device."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from metrics.images import as_float
from mmbench.data.base import Split
from models.base import Modality
from models.errors import InputError

__all__ = ["Batches"]


class Batches:
    """Shuffled batches of complete items, without end.

    Epoch e visits the pairs in a permutation drawn from (seed, e), on the CPU whatever the device, so every device sees the same
    batches. The last, partial batch of an epoch is dropped: an epoch covers each pair at most once.
    The uint8 images live on `device`; a batch costs one gather per modality and no host synchronisation.

    Args:
        split: the images and pairs.
        modalities: those that a batch holds, all of the split or some.
        batch_size: pairs per batch.
        seed: of the permutations, not negative.
        device: where images live and batches are made.

    Raises:
        InputError: if the split has fewer pairs than a batch.
    """

    def __init__(self, split: Split, modalities: Sequence[Modality], batch_size: int, seed: int, device: torch.device | str = "cpu"):
        if len(split.pairs) < batch_size:
            raise InputError(f"A batch of {batch_size} pairs is more than the {len(split.pairs)} that there are: choose a smaller batch size.")
        columns = [list(split.items).index(modality.name) for modality in modalities]
        self.batch_size, self.seed, self.device = batch_size, seed, torch.device(device)
        self.steps_per_epoch = len(split.pairs) // batch_size
        self._items = {modality.name: split.items[modality.name].to(self.device) for modality in modalities}
        self._pairs = split.pairs[:, columns].t().contiguous().to(self.device)  # (M, P): a batch is one contiguous slice per modality
        self._epoch = -1

    def batch(self, step: int) -> dict[str, Tensor]:
        """Modality name -> (B, *shape) float32 in [0, 1], images channels last: the batch of step `step`, counted from 0 over all epochs."""
        epoch, position = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._shuffled, self._epoch = self._pairs.index_select(1, self._permutation(epoch)), epoch
        rows = slice(position * self.batch_size, (position + 1) * self.batch_size)
        gathered = {name: items.index_select(0, index[rows]) for (name, items), index in zip(self._items.items(), self._shuffled, strict=True)}
        return {name: _as_computed(as_float(items)) for name, items in gathered.items()}

    def _permutation(self, epoch: int) -> Tensor:
        seed = int(np.random.SeedSequence((self.seed, epoch)).generate_state(1, np.uint64)[0])
        return torch.randperm(self._pairs.shape[1], generator=torch.Generator().manual_seed(seed)).to(self.device)


def _as_computed(items: Tensor) -> Tensor:
    """Images in the memory format of the convolutions and of what their likelihood is computed from, so that neither has to convert them."""
    return items.contiguous(memory_format=torch.channels_last) if items.ndim == 4 else items
