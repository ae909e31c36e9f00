"""Models that break the contract in one way each, and Tiny, Starting and Partial, which keep it."""

from dataclasses import dataclass

import torch

from models.base import Loss, NotDefinedError, SharedLatentModel, Stage
from models.settings import setting


@dataclass(frozen=True)
class TinySettings:
    latent_size: int = setting(3, "dimensions of the latent", low=1)


class Tiny(SharedLatentModel):
    """A correct model of a few lines; the tests below break one method at a time."""

    def __init__(self, modalities, settings):
        super().__init__(modalities, settings)
        size = {m.name: torch.Size(m.shape).numel() for m in modalities}
        self.heads = torch.nn.ModuleDict(
            {name: torch.nn.Linear(n, settings.latent_size) for name, n in size.items()}
        )
        self.outs = torch.nn.ModuleDict(
            {name: torch.nn.Linear(settings.latent_size, n) for name, n in size.items()}
        )

    def infer(self, inputs, sample=False, generator=None):
        latent = torch.stack([self.heads[name](x.flatten(1)) for name, x in inputs.items()]).mean(0)
        return latent + torch.empty_like(latent).normal_(generator=generator) if sample else latent

    def decode(self, name, latent):
        mean = self.outs[name](latent).unflatten(1, self.modalities[name].shape)
        return mean.softmax(-1) if self.modalities[name].likelihood == "categorical" else mean.sigmoid()

    def prior(self, n, generator):
        return torch.randn(n, self.settings.latent_size, generator=generator)

    def loss(self, batch, progress):
        latent = self.infer({name: batch[name] for name in self.modalities})
        total = sum((self.decode(name, latent) - batch[name]).square().mean() for name in self.modalities)
        return Loss(total, {"error": total.detach()})


class Silent(Tiny):
    def prior(self, n, generator):
        raise NotDefinedError


class Missing(SharedLatentModel):
    loss = infer = decode = Tiny.loss  # but no prior


class Bare(torch.nn.Module):
    def __init__(self, modalities, settings):
        super().__init__()


class WrongShape(Tiny):
    def decode(self, name, latent):
        return super().decode(name, latent)[:, :1]


class FlatEmbedding(Tiny):
    def embed(self, inputs):
        return super().embed(inputs).mean(1)


class OutOfRange(Tiny):
    def decode(self, name, latent):
        return 3 * super().decode(name, latent)


class AsList(Tiny):
    def generate(self, n, generator):
        return list(super().generate(n, generator).values())


class AllTargets(Tiny):
    def translate(self, inputs, targets, sample=False, generator=None):
        return super().translate(inputs, self.modalities, sample, generator)


class UnusedParameter(Tiny):
    def __init__(self, modalities, settings):
        super().__init__(modalities, settings)
        self.spare = torch.nn.Linear(2, 2)


class Untrained(Tiny):
    def stages(self):
        return (Stage("train", 1.0, self.loss, tuple(self.heads.parameters())),)


class Iterated(Tiny):
    def stages(self):
        return (Stage("train", 1.0, self.loss, self.parameters()),)


class Shares(Tiny):
    def stages(self):
        return tuple(Stage(name, 0.7, self.loss, tuple(self.parameters())) for name in ("one", "two"))


class WithoutGradient(Tiny):
    def loss(self, batch, progress):
        return Loss(super().loss(batch, progress).total.detach(), {})


class Number(Tiny):
    def loss(self, batch, progress):
        return Loss(super().loss(batch, progress).total.item(), {})


class PerItem(Tiny):
    def loss(self, batch, progress):
        return Loss(self.infer(batch).square().sum(1), {})


class GlobalNoise(Tiny):
    def prior(self, n, generator):
        return torch.randn(n, self.settings.latent_size)


class SameDraws(Tiny):
    def prior(self, n, generator):
        return torch.ones(n, self.settings.latent_size)


class Counting(Tiny):
    calls = 0

    def decode(self, name, latent):
        self.calls += 1
        return super().decode(name, latent + self.calls)


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


class OnlyTwo(Tiny):
    def infer(self, inputs, sample=False, generator=None):
        order = {"a": 0, "b": 1}
        return super().infer(
            {name: inputs[name] for name in sorted(inputs, key=lambda name: order[name])}, sample, generator
        )


class BuiltForTwo(Tiny):
    def __init__(self, modalities, settings):
        self.first, self.second = modalities
        super().__init__(modalities, settings)


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


class ItemsFirst(Tiny):
    def log_weights(self, batch, samples, generator):
        return torch.randn(len(batch["a"]), samples, generator=generator)


class GlobalWeights(Tiny):
    def log_weights(self, batch, samples, generator):
        return torch.randn(samples, len(batch["a"]))


class InfiniteWeights(Tiny):
    def log_weights(self, batch, samples, generator):
        return torch.zeros(samples, len(batch["a"])).log()


class SilentWeights(Tiny):
    def log_weights(self, batch, samples, generator):
        raise NotDefinedError


class Starting(Tiny):
    """It sets a bias from data, as it should."""

    def stages(self):
        return (Stage("train", 1.0, self.loss, tuple(self.parameters()), self.start),)

    def start(self, batches):
        self.outs["a"].bias.copy_(batches(0)["a"].mean(0).flatten())


class StartingWithNoise(Starting):
    def start(self, batches):
        self.outs["a"].bias.normal_()


class StartingElsewhere(Starting):
    def start(self, batches):
        self.outs["a"].bias.data = batches(0)["a"].mean(0).flatten()


class StartingAtInfinity(Starting):
    def start(self, batches):
        self.outs["a"].bias.copy_(batches(0)["a"].sum(0).flatten() / 0)


class NotStarting(Starting):
    def start(self, batches):
        raise RuntimeError("nothing to start from")


class UnregisteredWithoutPrior(Unregistered):
    def prior(self, n, generator):
        raise NotDefinedError("Tiny has no prior.")

    def infer(self, inputs, sample=False, generator=None):
        return super().infer(inputs, sample, generator) + self.hidden["shift"]


class Partial(Tiny):
    """Of whatever a batch holds."""

    def loss(self, batch, progress):
        observed = self.observed(batch)
        latent = self.infer(observed)
        total = sum((self.decode(name, latent) - x).square().mean() for name, x in observed.items())
        return Loss(total, {"error": total.detach()})


class ExtraTerm(Partial):
    def loss(self, batch, progress):
        total, terms = super().loss(batch, progress)
        return Loss(total, terms | ({} if len(batch) > 1 else {"alone": total.detach()}))


class TrainsAbsent(Partial):
    def loss(self, batch, progress):
        total, terms = super().loss(batch, progress)
        return Loss(total + sum(out.bias.square().sum() for out in self.outs.values()), terms)


class IgnoresOne(Partial):
    """Of a batch of the first modality alone it trains what no modality owns."""

    def __init__(self, modalities, settings):
        super().__init__(modalities, settings)
        self.shift = torch.nn.Parameter(torch.ones(()))

    def loss(self, batch, progress):
        total, terms = super().loss(batch, progress)
        return Loss(self.shift * (total.detach() if list(batch) == ["a"] else total), terms)


class Undefined(Partial):
    def loss(self, batch, progress):
        total, terms = super().loss(batch, progress)
        return Loss(total / (len(batch) - 1), terms)
