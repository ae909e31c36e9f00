"""Every registered model keeps the contract, and the checks notice models that break it."""

import inspect
import re
from dataclasses import dataclass, replace

import pytest
import torch

from models.base import Loss, NotDefinedError, SharedLatentModel, Stage
from models.conformance import CHECKS, COUNTED, THREE, TWO, ConformanceError, check_model
from models.names import find_models
from models.registry import ModelEntry
from models.settings import setting

EVERY = [*find_models("all"), *find_models("coordinated:all")]


@pytest.mark.parametrize("modalities", [TWO, THREE, COUNTED], ids=["two", "three", "counts"])
@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("entry", EVERY, ids=lambda entry: entry.name)
def test_model_keeps_the_contract(entry, check, modalities):
    if check == "incomplete" and not entry.incomplete:
        pytest.skip(f"{entry.name} is trained on complete pairs alone")
    CHECKS[check](entry, modalities)


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


def entry_of(model):
    return ModelEntry("tiny", model, TinySettings, "nobody", "Tiny")


def test_a_correct_model_passes():
    assert [problem for _, problem in check_model(entry_of(Tiny)) if problem] == []


def test_a_model_without_a_prior_passes():
    class WithoutPrior(Tiny):
        def prior(self, n, generator):
            raise NotDefinedError("Tiny has no prior.")

    assert [problem for _, problem in check_model(entry_of(WithoutPrior)) if problem] == []


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


def test_a_model_may_start_from_data():
    assert [problem for _, problem in check_model(entry_of(Starting)) if problem] == []


@pytest.mark.parametrize(
    ("model", "check", "words"),
    [
        (
            Silent,
            "generate",
            r"^generate\(5, generator\) raised NotDefinedError without a message: say in a sentence what",
        ),
        (
            Missing,
            "construction",
            r"^Building it for 2 modalities \(a of shape \(1, 12, 12\), b of shape \(3, 8, 8\)\) raised "
            r"TypeError: .*prior",
        ),
        (Bare, "construction", "^Bare is not a MultimodalModel: subclass models.base.MultimodalModel"),
        (
            WrongShape,
            "generate",
            r"^generate\(5, generator\) returned b of shape \(5, 1, 8, 8\): expected \(5, 3, 8, 8\)",
        ),
        (
            WrongShape,
            "translate",
            r"^translate from a alone to a and b returned b of shape \(7, 1, 8, 8\): expected \(7, 3, 8, 8\)",
        ),
        (FlatEmbedding, "embed", r"^embed of a alone has shape \(7,\): expected \(7, L\)"),
        (OutOfRange, "generate", r"expected decoder means in \[0, 1\]"),
        (AsList, "generate", "returned list: expected a dict from modality name to tensor"),
        (AllTargets, "translate", "^translate from a alone to b returned a and b: expected exactly b"),
        (UnusedParameter, "gradients", r"^No gradient reaches spare\.bias, spare\.weight: use"),
        (
            Untrained,
            "gradients",
            r"^No stage trains outs\.a\.bias, outs\.a\.weight, outs\.b\.bias, outs\.b\.weight: name it among",
        ),
        (StartingWithNoise, "starts", "^The start of stage train takes noise from torch's global generator"),
        (
            StartingElsewhere,
            "starts",
            r"^The start of stage train replaced outs\.a\.bias: change tensors in place",
        ),
        (StartingAtInfinity, "starts", r"left values in outs\.a\.bias that are not finite"),
        (NotStarting, "starts", "^The start of stage train raised RuntimeError: nothing to start from"),
        (Iterated, "loss", r"^The parameters of stage train are not a tuple .* write tuple\("),
        (Shares, "loss", r"^The shares of the stages add up to 1\.4: expected 1"),
        (
            WithoutGradient,
            "gradients",
            r"^The loss of stage train has no gradient: no detach\(\), item\(\) or no_grad\(\)",
        ),
        (
            Number,
            "loss",
            "^The loss of stage train on 1 item at progress 0.0: total is of type float: "
            "expected a torch.Tensor",
        ),
        (PerItem, "loss", r"total has shape \(1,\): expected a scalar, the mean over the batch"),
        (GlobalNoise, "generate", "global generator"),
        (SameDraws, "generate", "same images for different generator seeds"),
        (
            Counting,
            "generate",
            "^generate is not deterministic: two calls with generators of one seed differ",
        ),
        (
            Counting,
            "translate",
            "^translate from a alone with sample=False is not deterministic: "
            "two calls on the same inputs differ",
        ),
        (NoisyMean, "translate", "^translate from a alone with sample=False is not deterministic"),
        (NoisyMean, "embed", "^embed of a alone is not deterministic"),
        (BatchNormalised, "translate", "depends on the other items"),
        (
            NeedsAll,
            "embed",
            "^embed of a alone raised KeyError: 'b' .* The inputs hold only what is observed, here a alone: "
            "any non-empty subset of a and b",
        ),
        (
            ItemsFirst,
            "log_weights",
            r"^log_weights\(batch, 3, generator\) has shape \(7, 3\): expected \(3, 7\), a row per draw",
        ),
        (GlobalWeights, "log_weights", "is not repeatable under the same generator seed"),
        (InfiniteWeights, "log_weights", "has NaN or infinite values"),
        (SilentWeights, "log_weights", "raised NotDefinedError without a message"),
        (AttachedTerm, "loss", "carry gradients"),
        (InPlace, "loss", "in place"),
        (Unregistered, "saving", "register what it learns"),
        (UnregisteredWithoutPrior, "saving", "register what it learns"),
    ],
)
def test_a_broken_model_is_told_what_is_wrong(model, check, words):
    with pytest.raises(ConformanceError, match=words):
        CHECKS[check](entry_of(model), TWO)


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


def test_a_model_of_incomplete_batches_passes_and_others_are_not_asked():
    found = dict(check_model(replace(entry_of(Partial), incomplete=True)))
    assert {what for what, problem in found.items() if problem} == set()
    assert {what for what in found if what.startswith("incomplete")} == {
        "incomplete, 2 modalities",
        "incomplete, 3 modalities",
    }
    assert not any(what.startswith("incomplete") for what, _ in check_model(entry_of(Partial)))


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (
            Tiny,
            "^The loss of stage train on 7 items of a alone at progress 0.0 raised KeyError: 'b' "
            ".* a batch may lack modalities",
        ),
        (
            ExtraTerm,
            "^The loss of stage train on a batch of a alone has terms that a complete batch has not: alone",
        ),
        (
            TrainsAbsent,
            "^The loss of stage train on a batch of a alone trains parameters of b, which it does not hold",
        ),
        (
            IgnoresOne,
            "^The loss of stage train on a batch of a alone trains no parameter of a: "
            "let it go over all modalities",
        ),
        (Undefined, "total is (inf|nan)"),
    ],
)
def test_a_model_that_cannot_do_without_a_modality_is_told_so(model, words):
    with pytest.raises(ConformanceError, match=words):
        CHECKS["incomplete"](replace(entry_of(model), incomplete=True), TWO)


def test_an_exception_is_reported_with_call_inputs_and_line():
    problems = dict(check_model(entry_of(NeedsAll)))
    source, first = inspect.getsourcelines(NeedsAll)
    # comprehensions are part of their function from Python 3.12 on
    where = rf"in (infer|<dictcomp>): {re.escape(source[2].strip())}"
    expected = (
        rf"translate from a alone to a and b raised KeyError: 'b' \(test_conformance.py, line {first + 2}, "
        rf"{where}\)\. The inputs hold only"
    )
    assert re.match(expected, problems["translate, 2 modalities"])
    assert problems["loss, 2 modalities"] is None
    assert problems["generate, 2 modalities"] is None


def test_noise_is_reported_as_noise_alone():
    failing = {what for what, problem in check_model(entry_of(NoisyMean)) if problem}
    assert failing == {f"{check}, {count} modalities" for check in ("translate", "embed") for count in (2, 3)}


def test_an_exception_inside_torch_is_reported_where_the_author_called_it():
    class BadLinear(Tiny):
        def decode(self, name, latent):
            return self.outs[name](latent[:, :2])

    _, first = inspect.getsourcelines(BadLinear)
    place = (
        rf"\(test_conformance.py, line {first + 2}, in decode: return self.outs\[name\]\(latent\[:, :2\]\)\)"
    )
    with pytest.raises(
        ConformanceError,
        match=rf"(?s)^generate\(5, generator\) raised RuntimeError: mat1 and mat2 .*{place}\.$",
    ):
        CHECKS["generate"](entry_of(BadLinear), TWO)


@pytest.mark.parametrize(("model", "failing"), [(OnlyTwo, "embed"), (BuiltForTwo, "construction")])
def test_a_model_that_fails_on_three_is_told_that_it_is_their_number(model, failing):
    problems = dict(check_model(entry_of(model)))
    assert not any(problem for what, problem in problems.items() if what.endswith("2 modalities"))
    assert problems[f"{failing}, 3 modalities"].endswith(
        "With two modalities all is well: treat any number of them alike, in loops over self.modalities."
    )
    if failing == "construction":
        assert (
            "raised ValueError: too many values to unpack (expected 2)"
            in problems["construction, 3 modalities"]
        )
        assert "loss, 3 modalities" not in problems
