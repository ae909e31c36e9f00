"""Every registered model keeps the contract, and the checks notice models that break it."""

import inspect
import re
from dataclasses import replace

import pytest
from broken_models import (
    AllTargets,
    AsList,
    AttachedTerm,
    Bare,
    BatchNormalised,
    BuiltForTwo,
    Counting,
    ExtraTerm,
    FlatEmbedding,
    GlobalNoise,
    GlobalWeights,
    IgnoresOne,
    InfiniteWeights,
    InPlace,
    ItemsFirst,
    Iterated,
    Missing,
    NeedsAll,
    NoisyMean,
    NotStarting,
    Number,
    OnlyTwo,
    OutOfRange,
    Partial,
    PerItem,
    SameDraws,
    Shares,
    Silent,
    SilentWeights,
    Starting,
    StartingAtInfinity,
    StartingElsewhere,
    StartingWithNoise,
    Tiny,
    TinySettings,
    TrainsAbsent,
    Undefined,
    Unregistered,
    UnregisteredWithoutPrior,
    Untrained,
    UnusedParameter,
    WithoutGradient,
    WrongShape,
)

from models.base import NotDefinedError
from models.conformance import CHECKS, COUNTED, THREE, TWO, ConformanceError, check_model
from models.names import find_models
from models.registry import ModelEntry

EVERY = [*find_models("all"), *find_models("coordinated:all")]


@pytest.mark.parametrize("modalities", [TWO, THREE, COUNTED], ids=["two", "three", "counts"])
@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("entry", EVERY, ids=lambda entry: entry.name)
def test_model_keeps_the_contract(entry, check, modalities):
    if check == "incomplete" and not entry.incomplete:
        pytest.skip(f"{entry.name} is trained on complete pairs alone")
    CHECKS[check](entry, modalities)


def entry_of(model):
    return ModelEntry("tiny", model, TinySettings, "nobody", "Tiny")


def test_a_correct_model_passes():
    assert [problem for _, problem in check_model(entry_of(Tiny)) if problem] == []


def test_a_model_without_a_prior_passes():
    class WithoutPrior(Tiny):
        def prior(self, n, generator):
            raise NotDefinedError("Tiny has no prior.")

    assert [problem for _, problem in check_model(entry_of(WithoutPrior)) if problem] == []


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
        rf"translate from a alone to a and b raised KeyError: 'b' \(broken_models.py, line {first + 2}, "
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
