"""Small data sets and extractors for judges and statistics."""

import pytest
import torch

from mmbench.data.base import DataSettings, MultimodalData
from mmbench.data.splits import Images, assemble
from models.base import Loss, Modality, MultimodalModel

TWO = (Modality("a", (1, 8, 8)), Modality("b", (3, 8, 8)))


def make_data(seed: int = 0, modalities: tuple[Modality, ...] = TWO, test: int = 40) -> MultimodalData:
    """Noise with labels: modalities of 60 train and 40 test images."""
    generator = torch.Generator().manual_seed(seed)

    def noise(count, shape):
        return Images(
            torch.randint(256, (count, *shape), dtype=torch.uint8, generator=generator),
            torch.arange(count) % 10,
        )

    parts = {m.name: (noise(60, m.shape), noise(test, m.shape)) for m in modalities}
    with pytest.MonkeyPatch.context() as patch:  # metrics take more kinds of modalities than runs do so far
        patch.setattr("mmbench.data.splits.check_modalities", lambda modalities: [])
        return assemble("noise", modalities, parts, DataSettings())


class Noise(MultimodalModel):
    """Draws noise, given anything."""

    def __init__(self, modalities):
        super().__init__(modalities, None)

    def loss(self, batch, progress):
        return Loss(torch.zeros(()), {})

    def generate(self, n, generator):
        return {name: torch.rand(n, *m.shape, generator=generator) for name, m in self.modalities.items()}

    def translate(self, inputs, targets, sample=False, generator=None):
        count = len(next(iter(inputs.values())))
        return {name: torch.rand(count, *self.modalities[name].shape) for name in targets}

    def embed(self, inputs):
        return next(iter(inputs.values())).flatten(1)
