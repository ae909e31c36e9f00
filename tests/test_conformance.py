"""Every registered model keeps the contract, and the checks notice models that break it."""

from dataclasses import dataclass

import pytest
import torch

from models.base import Loss, SharedLatentModel
from models.conformance import CHECKS, THREE, TWO, ConformanceError, check_model
from models.registry import MODELS, ModelEntry
from models.settings import setting


@pytest.mark.parametrize("modalities", [TWO, THREE], ids=["two", "three"])
@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("entry", list(MODELS), ids=lambda entry: entry.name)
def test_model_keeps_the_contract(entry, check, modalities):
    CHECKS[check](entry, modalities)


@dataclass(frozen=True)
class TinySettings:
    latent_size: int = setting(3, "dimensions of the latent", low=1)


class Tiny(SharedLatentModel):
    """A correct model of a few lines; the tests below break one method at a time."""

    def __init__(self, modalities, settings):
        super().__init__(modalities, settings)
        size = {m.name: torch.Size(m.shape).numel() for m in modalities}
        self.heads = torch.nn.ModuleDict({name: torch.nn.Linear(n, settings.latent_size) for name, n in size.items()})
        self.outs = torch.nn.ModuleDict({name: torch.nn.Linear(settings.latent_size, n) for name, n in size.items()})

    def infer(self, inputs, sample=False, generator=None):
        latent = torch.stack([self.heads[name](x.flatten(1)) for name, x in inputs.items()]).mean(0)
        return latent + torch.empty_like(latent).normal_(generator=generator) if sample else latent

    def decode(self, name, latent):
        return self.outs[name](latent).sigmoid().unflatten(1, self.modalities[name].shape)

    def prior(self, n, generator):
        return torch.randn(n, self.settings.latent_size, generator=generator)

    def loss(self, batch, progress):
        latent = self.infer({name: batch[name] for name in self.modalities})
        total = sum((self.decode(name, latent) - batch[name]).square().mean() for name in self.modalities)
        return Loss(total, {"error": total.detach()})


def entry_of(model):
    return ModelEntry("tiny", model, TinySettings, "nobody", "Tiny")


def test_a_correct_model_passes():
    assert [problem for _, problem in check_model(entry_of(Tiny)) if problem] == []


class WrongShape(Tiny):
    def decode(self, name, latent):
        return super().decode(name, latent)[:, :1]


class OutOfRange(Tiny):
    def decode(self, name, latent):
        return 3 * super().decode(name, latent)


class UnusedParameter(Tiny):
    def __init__(self, modalities, settings):
        super().__init__(modalities, settings)
        self.spare = torch.nn.Linear(2, 2)


class GlobalNoise(Tiny):
    def prior(self, n, generator):
        return torch.randn(n, self.settings.latent_size)


class NoisyMean(Tiny):
    def infer(self, inputs, sample=False, generator=None):
        return super().infer(inputs, True, generator)


class BatchNormalised(Tiny):
    def infer(self, inputs, sample=False, generator=None):
        latent = super().infer(inputs, sample, generator)
        return latent - latent.mean(0)


class NeedsAll(Tiny):
    def infer(self, inputs, sample=False, generator=None):
        return super().infer({name: inputs[name] for name in self.modalities}, sample, generator)


class AttachedTerm(Tiny):
    def loss(self, batch, progress):
        loss = super().loss(batch, progress)
        return Loss(loss.total, {"error": loss.total})


class InPlace(Tiny):
    def loss(self, batch, progress):
        batch["a"].mul_(0.5)
        return super().loss(batch, progress)


class Unregistered(Tiny):
    def __init__(self, modalities, settings):
        super().__init__(modalities, settings)
        self.hidden = {"shift": torch.zeros(())}

    def loss(self, batch, progress):
        self.hidden["shift"] += 1
        return super().loss(batch, progress)

    def prior(self, n, generator):
        return super().prior(n, generator) + self.hidden["shift"]


@pytest.mark.parametrize(
    ("model", "check", "words"),
    [
        (WrongShape, "generate", "shape"),
        (OutOfRange, "generate", r"expected decoder means in \[0, 1\]"),
        (UnusedParameter, "gradients", r"no gradient reaches spare\.bias, spare\.weight"),
        (GlobalNoise, "generate", "global generator"),
        (NoisyMean, "translate", "not deterministic"),
        (BatchNormalised, "translate", "depends on the other items"),
        (AttachedTerm, "loss", "carry gradients"),
        (InPlace, "loss", "differs between two calls|in place"),
        (Unregistered, "saving", "register what it learns"),
    ],
)
def test_a_broken_model_is_told_what_is_wrong(model, check, words):
    with pytest.raises(ConformanceError, match=words):
        CHECKS[check](entry_of(model), TWO)


def test_an_exception_of_the_model_becomes_a_sentence():
    problems = dict(check_model(entry_of(NeedsAll)))
    assert problems["translate, 2 modalities"] == "raised KeyError: 'b'"
    assert problems["loss, 2 modalities"] is None
