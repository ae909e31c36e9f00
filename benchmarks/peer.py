"""The other side: MultiVae 1.0.3 (Senellart et al. 2023) as its documentation uses it.

Models, data set, trainer and evaluator are its own.

Its networks are those of mmbench, written in plain PyTorch as a user of MultiVae would, in PyTorch's default
memory format, and given the same weights. One linear layer makes mean and log-variance, which is quicker than
the two of MultiVae's examples.
"""

import io
import logging
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from itertools import pairwise
from tempfile import TemporaryDirectory
from typing import Any

import multivae.models
import torch
from multivae.data.datasets import MultimodalBaseDataset
from multivae.metrics import CoherenceEvaluator, CoherenceEvaluatorConfig
from multivae.trainers import BaseTrainer, BaseTrainerConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn.base_architectures import BaseDecoder, BaseEncoder
from torch import Tensor, nn

from benchmarks.bench import seconds
from benchmarks.ours import LEARNING_RATE
from mmbench.data.batches import Batches
from models.base import Batch, Modality
from models.parts.gaussian import GaussianMVAE
from models.parts.networks import CHANNELS, HIDDEN, is_convolutional

__all__ = ["coherence", "dataset", "make_peer", "paired", "train"]


class Encoder(BaseEncoder):
    """(B, *shape) to mean and log-variance, both (B, L)."""

    def __init__(self, modality: Modality, latent: int):
        super().__init__()
        shape, numel = modality.shape, math.prod(modality.shape)
        if is_convolutional(shape):
            layers: list[nn.Module] = []
            for before, after in pairwise((shape[0], *CHANNELS)):
                layers += [nn.Conv2d(before, after, kernel_size=4, stride=2, padding=1), nn.ReLU()]
            layers += [nn.Flatten(), nn.Linear(CHANNELS[-1] * shape[1] * shape[2] // 64, 2 * latent)]
        else:
            layers = [nn.Flatten(), nn.Linear(numel, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 2 * latent)]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> ModelOutput:
        mean, logvar = self.layers(x).chunk(2, dim=-1)
        return ModelOutput(embedding=mean, log_covariance=logvar)


class Decoder(BaseDecoder):
    """(B, L) to means (B, *shape) in [0, 1]."""

    def __init__(self, modality: Modality, latent: int):
        super().__init__()
        shape, numel = modality.shape, math.prod(modality.shape)
        if is_convolutional(shape):
            low = (CHANNELS[-1], shape[1] // 8, shape[2] // 8)
            layers: list[nn.Module] = [nn.Linear(latent, math.prod(low)), nn.ReLU(), nn.Unflatten(1, low)]
            for before, after in pairwise((*CHANNELS[::-1], shape[0])):
                layers += [nn.ConvTranspose2d(before, after, kernel_size=4, stride=2, padding=1), nn.ReLU()]
            layers[-1] = nn.Sigmoid()
        else:
            layers = [
                nn.Linear(latent, HIDDEN),
                nn.ReLU(),
                nn.Linear(HIDDEN, numel),
                nn.Unflatten(1, shape),
                nn.Sigmoid(),
            ]
        self.layers = nn.Sequential(*layers)

    def forward(self, z: Tensor) -> ModelOutput:
        return ModelOutput(reconstruction=self.layers(z))


def make_peer(kind: str, model: GaussianMVAE, **config: object) -> Any:
    """MultiVae's model `kind` ("MoPoE", "MMVAE") with the sizes, likelihoods and weights of `model`."""
    settings, modalities = model.settings, model.modalities
    with quiet():
        configuration = getattr(multivae.models, f"{kind}Config")(
            n_modalities=len(modalities),
            latent_dim=settings.latent_size,
            input_dims={name: m.shape for name, m in modalities.items()},
            uses_likelihood_rescaling=True,
            rescale_factors={name: m.weight for name, m in modalities.items()},
            decoders_dist=dict.fromkeys(modalities, settings.likelihood),
            decoder_dist_params={name: {"scale": settings.likelihood_scale} for name in modalities},
            **config,
        )
        encoders = {name: Encoder(m, settings.latent_size) for name, m in modalities.items()}
        decoders = {name: Decoder(m, settings.latent_size) for name, m in modalities.items()}
        peer = getattr(multivae.models, kind)(configuration, encoders, decoders)
    with torch.no_grad():
        for mine, other in ((model.encoders, encoders), (model.decoders, decoders)):
            for name in modalities:
                for source, target in zip(mine[name].parameters(), other[name].parameters(), strict=True):
                    target.copy_(source)
    return peer


def dataset(batches: Batches, steps: int) -> MultimodalBaseDataset:
    """The pairs of our first `steps` batches as floats in memory, the quickest data set that MultiVae has."""
    made = [batches.batch(step) for step in range(steps)]
    return MultimodalBaseDataset({name: torch.cat([batch[name] for batch in made]) for name in made[0]})


def train(peer: Any, data: MultimodalBaseDataset, batch: int) -> float:
    """Seconds of MultiVae's trainer over `data` once, from its `train()` to the model that it saves.

    Its set-up is not counted.

    The optimiser is the default, Adam. Batches are loaded in the process itself (the default, 0 workers):
    workers would compete with the training for the cores.
    """
    with TemporaryDirectory() as folder, quiet():
        config = BaseTrainerConfig(
            output_dir=folder,
            per_device_train_batch_size=batch,
            num_epochs=1,
            learning_rate=LEARNING_RATE,
            no_cuda=True,
            drop_last=True,
        )
        return seconds(BaseTrainer(peer, data, training_config=config).train)


def paired(test: Batch, labels: Tensor) -> MultimodalBaseDataset:
    """A labelled test set of MultiVae: modality name -> (N, *shape) floats, and their classes (N,)."""
    return MultimodalBaseDataset(dict(test), labels)


def coherence(peer: Any, judges: Mapping[str, nn.Module], test: MultimodalBaseDataset, draws: int) -> Any:
    """MultiVae's joint and cross coherences, of prior draws and two samples per test item and direction."""
    with quiet():
        config = CoherenceEvaluatorConfig(num_classes=10, nb_samples_for_joint=draws, nb_samples_for_cross=2)
        evaluator = CoherenceEvaluator(peer, dict(judges), test, eval_config=config)
        try:
            return evaluator.eval()
        finally:
            evaluator.finish()


@contextmanager
def quiet() -> Iterator[None]:
    """Without MultiVae's messages and progress bars."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(before)
