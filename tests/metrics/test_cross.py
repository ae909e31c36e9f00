"""Cross coherence from every subset against loops, and what one pass shares against models called anew."""

from dataclasses import replace
from itertools import combinations, permutations
from statistics import fmean

import numpy as np
import pytest
import torch
from evaluation_setup import PROTOCOL, THREE, TWO, Oracle, Reader, TinyVAE, make_setup, read, said, templates

from metrics.evaluation.evaluate import CrossSamples, References, Samples, evaluate
from metrics.images import as_float, as_read
from mmbench.data.base import Split
from mmbench.execution.evaluating import _sample_set, anchor_tuples
from models import conformance
from models.base import Modality, MultimodalModel
from models.names import find_models

SUBSETS = [subset for size in (1, 2) for subset in combinations("abc", size)]


def condition(setup, sources, i):
    """The i-th condition from `sources` as a batch of one, and its label."""
    test, rows = setup["test"], setup["tuples"][sources[0]][i]
    return {name: as_float(test[name][0][rows["abc".index(name)]])[None] for name in sources}, int(
        test[sources[0]][1][i]
    )


def test_cross_coherence_from_every_subset_is_the_loop():
    model, setup = TinyVAE(THREE).eval(), make_setup(THREE, spaces=())
    found = evaluate(model, **setup, metrics=["coherence"]).metrics
    noise = torch.randn(205, 12, generator=torch.Generator().manual_seed(0))
    names = {"joint_coherence", "joint_coherence/chance", "joint_coherence/entropy"}
    for mode in ("sample", "mean"):
        means = {1: [], 2: []}
        for sources in SUBSETS:
            for target in sorted(set("abc") - set(sources)):
                hits = 0
                for i in range(205):
                    inputs, label = condition(setup, sources, i)
                    with torch.no_grad():
                        latent = model.infer(inputs) + (noise[i] if mode == "sample" else 0)
                        hits += (
                            int(read(as_read(model.modalities[target], model.decode(target, latent))))
                            == label
                        )
                name = f"cross_coherence/{'+'.join(sources)}->{target}/{mode}"
                assert found[name] == pytest.approx(hits / 205), name
                names.add(name)
                means[len(sources)].append(hits / 205)
        for size, values in means.items():
            assert found[f"cross_coherence/size-{size}/{mode}"] == pytest.approx(fmean(values))
            names.add(f"cross_coherence/size-{size}/{mode}")
    assert set(found) == names


def test_the_label_is_that_of_the_first_source_and_each_item_is_a_condition_once():
    seen = []

    class Listener(Oracle):
        def translate(self, inputs, targets, sample=False, generator=None):
            if len(inputs) == 2 and not sample:
                seen.append({name: read(x) for name, x in inputs.items()})
                assert list(inputs) == sorted(inputs)
            return super().translate(inputs, targets, sample, generator)

    setup = make_setup(THREE, spaces=())
    assert (
        evaluate(Listener(THREE), **setup, metrics=["coherence"]).metrics["cross_coherence/size-2/mean"]
        == 1.0
    )
    assert [list(batch) for batch in seen] == [["a", "b"], ["a", "c"], ["b", "c"]]
    for batch in seen:
        first, second = batch.values()
        assert torch.equal(first, setup["test"][next(iter(batch))][1])
        assert torch.equal(first, second)


def test_a_mean_without_one_of_its_values_says_why():
    setup = make_setup(THREE, spaces=())
    shared = References({name: Reader().eval() for name in "ab"}, {}, 10)
    found = evaluate(Oracle(THREE), **setup | {"references": shared}, metrics=["coherence"])
    for name in (
        "cross_coherence/a+b->c/mean",
        "cross_coherence/size-1/sample",
        "cross_coherence/size-2/mean",
    ):
        assert found.metrics[name] is None
        assert said(found)[name] == "There is no judge for c."
    assert found.metrics["cross_coherence/b+c->a/mean"] == 1.0


def test_two_modalities_have_pairs_alone():
    found = evaluate(Oracle(), **make_setup(spaces=()), metrics=["coherence"]).metrics
    pairs = {f"cross_coherence/{a}->{b}/{mode}" for a, b in permutations("ab") for mode in ("sample", "mean")}
    assert {name for name in found if name.startswith("cross")} == pairs


class Anew(MultimodalModel):
    """Another model behind the whole contract, so that nothing is known of what its primitives share."""

    def __init__(self, model):
        super().__init__(tuple(model.modalities.values()), None)
        self.model = model

    def loss(self, batch, progress):
        raise NotImplementedError

    def generate(self, n, generator):
        return self.model.generate(n, generator)

    def generate_batches(self, n, size, generator):
        return self.model.generate_batches(n, size, generator)

    def translate(self, inputs, targets, sample=False, generator=None):
        return self.model.translate(inputs, targets, sample, generator)

    def embed(self, inputs):
        return self.model.embed(inputs)


@pytest.mark.parametrize("modalities", [conformance.TWO, conformance.THREE], ids=["two", "three"])
@pytest.mark.parametrize("entry", find_models("all"), ids=lambda entry: entry.name)
def test_one_pass_finds_what_every_primitive_called_anew_does(entry, modalities):
    torch.manual_seed(0)
    settings = entry.settings()
    if hasattr(settings, "chain_steps"):  # chains of any length show what is shared
        settings = replace(settings, chain_steps=5, thinning=2)
    model = entry.model(modalities, settings)
    n, generator = 620, torch.Generator().manual_seed(0)  # two batches, one of them not whole
    labels = torch.arange(n) % 10
    data = {
        m.name: (torch.randint(256, (n, *m.shape), generator=generator).to(torch.uint8), labels)
        for m in modalities
    }
    setup = {
        "train": data,
        "test": data,
        "references": References({m.name: Reader().eval() for m in modalities}, {}, 10),
        "protocol": PROTOCOL,
        "tuples": {m.name: torch.arange(n)[:, None].expand(-1, len(modalities)) for m in modalities},
        "metrics": ["coherence", "probe"],
    }
    found, anew = evaluate(model, **setup), evaluate(Anew(model), **setup)
    assert found.metrics == anew.metrics
    assert found.missing == anew.missing
    np.testing.assert_equal(vars(found.samples), vars(anew.samples))


def test_every_test_image_is_encoded_once_for_mean_and_probe_together():
    encoded = {(name, sample): 0 for name in "ab" for sample in (True, False)}

    class Counting(TinyVAE):
        def infer(self, inputs, sample=False, generator=None):
            for name, x in inputs.items():
                encoded[name, sample] += len(x)
            return super().infer(inputs, sample, generator)

    evaluate(Counting(), **make_setup(spaces=()), metrics=["coherence", "probe"])
    once, figures, probe = 205, 40, 100
    assert encoded == {
        ("a", True): once,
        ("b", True): once,
        ("a", False): once + figures + probe,
        ("b", False): once + figures + probe,
    }


def test_a_translate_or_an_embed_of_its_own_is_used():
    class Zeros(TinyVAE):
        def translate(self, inputs, targets, sample=False, generator=None):
            items = len(next(iter(inputs.values())))
            return {
                name: templates(torch.zeros(items, dtype=torch.int64), self.modalities[name].shape)
                for name in targets
            }

    class Pixels(TinyVAE):
        def embed(self, inputs):
            return torch.cat([x.flatten(1) for x in inputs.values()], 1)

    setup = make_setup(TWO, spaces=())
    usual, zeros, pixels = (
        evaluate(model, **setup, metrics=["coherence", "probe"]).metrics
        for model in (TinyVAE(), Zeros(), Pixels())
    )
    zero_share = (setup["test"]["a"][1] == 0).double().mean().item()
    assert (
        zeros["cross_coherence/a->b/mean"]
        == zeros["cross_coherence/a->b/sample"]
        == pytest.approx(zero_share)
    )
    assert {name: value for name, value in pixels.items() if "probe" not in name} == {
        name: v for name, v in usual.items() if "probe" not in name
    }
    assert pixels["probe/a"] == pixels["probe/b"] == 1.0
    assert usual["probe/a"] < 1.0


def test_every_item_has_a_tuple_of_its_class_whatever_the_pairs():
    labels = {
        name: torch.randperm(n, generator=torch.Generator().manual_seed(n)) % 10
        for name, n in (("a", 40), ("b", 55), ("c", 30))
    }
    one_to_one = torch.arange(30).expand(3, -1).T
    split = Split(
        {name: torch.zeros(len(of), 1, dtype=torch.uint8) for name, of in labels.items()}, labels, one_to_one
    )
    tuples = anchor_tuples(split, seed=0)
    for column, (name, of) in enumerate(labels.items()):
        assert torch.equal(tuples[name][:, column], torch.arange(len(of)))
        for partner, (other, classes) in enumerate(labels.items()):
            assert torch.equal(classes[tuples[name][:, partner]], of), (name, other)
    assert any(not torch.equal(tuples[name], again) for name, again in anchor_tuples(split, seed=1).items())


def test_texts_reach_the_report_as_strings_with_their_blanks():
    modality = Modality("c", (3, 4), "categorical", symbols=" xyz")
    words = torch.tensor([[0, 1, 0], [3, 2, 0]])
    text = (torch.nn.functional.one_hot(words, 4) * 255).byte().numpy()
    images = np.zeros((2, 1, 2, 2), np.uint8)
    samples = Samples(
        {"a": images, "c": text}, {("a", "c"): CrossSamples(images, text, np.array([1, 2]))}, {}
    )
    shown = _sample_set(samples, {"a": ("", False), "c": (modality.symbols, False)})
    assert shown.joint["c"] == [" x ", "zy "]
    assert shown.joint["a"] is images
    (cross,) = shown.cross
    assert (cross.source, cross.target, cross.labels, cross.outputs) == ("a", "c", [1, 2], [" x ", "zy "])
