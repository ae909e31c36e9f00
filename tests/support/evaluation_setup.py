"""Models whose every answer is known, a random network, and data and references to evaluate them with."""

import math

import torch
from torch import nn

from metrics.evaluation.evaluate import References, build_feature_space
from metrics.images import as_float, eight_bits
from metrics.missing import Lack, Missing
from metrics.protocol import Protocol
from models.base import Loss, Modality, MultimodalModel, SharedLatentModel
from models.parts.networks import make_decoder, make_encoder

TWO = (Modality("a", (1, 4, 4)), Modality("b", (3, 2, 3)))
THREE = (*TWO, Modality("c", (2, 12), "categorical", symbols=" bcdefghijkl"))

PROTOCOL = Protocol(draws=700, joint_draws=600, probe_images=100, sampler_components=3, sampler_images=60)


def templates(labels: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """Class c lights pixel c; of a text (positions, symbols) it is the first symbol, the others are blank."""
    if len(shape) == 2:
        symbols = torch.cat([labels[:, None], labels.new_zeros(len(labels), shape[0] - 1)], 1)
        return nn.functional.one_hot(symbols, shape[1]).float()
    return nn.functional.one_hot(labels, math.prod(shape)).float().unflatten(1, shape)


def read(images: torch.Tensor, classes: int = 10) -> torch.Tensor:
    return images.flatten(1)[:, :classes].argmax(1)


class Oracle(MultimodalModel):
    """Draws templates: of one class in all modalities (`coherent`), or of one class each.

    A sampled latent forgets the class with probability 0.3.
    """

    def __init__(self, modalities=TWO, coherent=True, classes=10):
        super().__init__(modalities, None)
        self.coherent, self.classes = coherent, classes

    def loss(self, batch, progress):
        return Loss(torch.zeros(()), {})

    def generate(self, n, generator):
        classes = torch.randint(self.classes, (len(self.modalities), n), generator=generator)
        return {
            m.name: templates(classes[0 if self.coherent else i], m.shape)
            for i, m in enumerate(self.modalities.values())
        }

    def translate(self, inputs, targets, sample=False, generator=None):
        classes = read(next(iter(inputs.values())), self.classes)
        if sample:
            forgotten = torch.rand(len(classes), generator=generator) < 0.3
            classes = torch.where(forgotten, (classes + 1) % self.classes, classes)
        return {name: templates(classes, self.modalities[name].shape) for name in targets}

    def embed(self, inputs):
        (images,) = inputs.values()
        return images.flatten(1)


class TinyVAE(SharedLatentModel):
    """An untrained network in which every metric has a value of its own."""

    def __init__(self, modalities=TWO):
        super().__init__(modalities, None)
        torch.manual_seed(0)
        self.encoders = nn.ModuleDict({m.name: make_encoder(m, 12) for m in modalities})
        self.decoders = nn.ModuleDict({m.name: make_decoder(m, 12) for m in modalities})

    def loss(self, batch, progress):
        return Loss(torch.zeros(()), {})

    def infer(self, inputs, sample=False, generator=None):
        mean = torch.stack([self.encoders[name](x) for name, x in inputs.items()]).mean(0)
        return mean + torch.empty_like(mean).normal_(generator=generator) if sample else mean

    def decode(self, name, latent):
        return self.decoders[name](3 * latent)

    def prior(self, n, generator):
        return torch.randn(n, 12, generator=generator, device=generator.device)


class Reader(nn.Module):
    """A judge that reads the brightest of the first values, one for each class."""

    def __init__(self, classes=10):
        super().__init__()
        self.classes = classes
        self.anchor = nn.Parameter(torch.zeros(()))

    def forward(self, x):
        return x.flatten(1)[:, : self.classes]


def flatten_uint8(images, progress):
    assert images.dtype == torch.uint8  # what both sides of a Frechet distance are made of
    for done in range(100, len(images), 100):
        progress(done, len(images))
    return as_float(images).flatten(1)


def make_data(modalities, n, seed, classes=10):
    generator = torch.Generator().manual_seed(seed)
    data = {}
    for m in modalities:
        labels = torch.randperm(n, generator=generator) % classes
        noise = torch.rand(n, *m.shape, generator=generator) * (0.0 if m.likelihood else 0.4)
        data[m.name] = (eight_bits((templates(labels, m.shape) + noise).clamp(0, 1)), labels)
    return data


def make_tuples(data, seed=3):
    """For every item of every modality a random item of its class of each other one."""
    generator = torch.Generator().manual_seed(seed)
    tuples = {}
    for name, (_, labels) in data.items():
        rows = []
        for i, label in enumerate(labels):
            partners = {
                other: torch.nonzero(classes == label).flatten() for other, (_, classes) in data.items()
            }
            drawn = {
                other: items[torch.randint(len(items), (), generator=generator)]
                for other, items in partners.items()
            }
            rows.append([i if other == name else int(drawn[other]) for other in data])
        tuples[name] = torch.tensor(rows)
    return tuples


def said(evaluation):
    """Metric -> why it has no value, in words."""
    return {name: str(why) for name, why in evaluation.missing.items()}


def make_setup(modalities=TWO, spaces=("fd_clf", "fid"), protocol=PROTOCOL, classes=10):
    """Keyword arguments of `evaluate`."""
    train, test = make_data(modalities, 300, 1, classes), make_data(modalities, 205, 2, classes)
    extractors = {m.name: flatten_uint8 for m in modalities}
    images = [{name: part[name][0] for name in part} for part in (train, test)]
    references = References(
        judges={m.name: Reader(classes).eval() for m in modalities},
        judge_accuracy={m.name: 1.0 for m in modalities},
        classes=classes,
        feature_spaces=tuple(build_feature_space(name, extractors, *images, protocol) for name in spaces),
        missing={"fid": Missing(Lack.UNAVAILABLE, "The weights are not there.")},
        linear_cca=0.25,
    )
    return {
        "train": train,
        "test": test,
        "references": references,
        "protocol": protocol,
        "tuples": make_tuples(test),
    }
