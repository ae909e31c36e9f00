"""One pass over models: oracles, whose every answer is known, and a random network against loops."""

import io
import json
import math
import pickle
from dataclasses import replace
from functools import partial
from itertools import permutations

import numpy as np
import pytest
import scipy.linalg
import torch
from evaluation_setup import PROTOCOL, THREE, TWO, Oracle, Reader, TinyVAE, make_setup, read, said, templates
from torch import nn

from metrics.catalogue import DEFAULT, GROUPS, group_of
from metrics.evaluation.evaluate import FeatureSpace, References, evaluate
from metrics.images import as_float
from metrics.probe import linear_probe, probe_indices
from metrics.protocol import Protocol
from models.base import NotDefinedError
from models.errors import InputError


@pytest.mark.parametrize("modalities", [TWO, THREE])
def test_a_coherent_oracle_scores_one(modalities):
    found = evaluate(Oracle(modalities), **make_setup(modalities)).metrics
    assert found["joint_coherence"] == 1.0
    assert found["joint_coherence/chance"] == pytest.approx(10 ** (1 - len(modalities)), rel=0.1)
    assert found["joint_coherence/entropy"] == pytest.approx(math.log(10), abs=0.05)
    for source, target in permutations([m.name for m in modalities], 2):
        assert found[f"cross_coherence/{source}->{target}/mean"] == 1.0
        forgotten = torch.rand(205, generator=torch.Generator().manual_seed(0)) < 0.3
        assert found[f"cross_coherence/{source}->{target}/sample"] == pytest.approx(
            1 - forgotten.double().mean().item()
        )
    for m in modalities:
        assert found[f"probe/{m.name}"] == 1.0
    cross = {2: 2, 3: 6 + 3 + 2}[
        len(modalities)
    ]  # pairs; pairs of one source, of two sources, and a mean of each kind
    # of each direction mAP and three hits; mAP mean, chance and judge
    retrieval = 4 * len(modalities) * (len(modalities) - 1) + 4
    assert len(found) == 3 + 2 * cross + 3 * len(modalities) + 3 + retrieval


@pytest.mark.parametrize("modalities", [TWO, THREE])
def test_an_incoherent_oracle_scores_chance(modalities):
    setup = make_setup(modalities, spaces=(), protocol=Protocol(draws=20_000, joint_draws=20_000))
    found = evaluate(Oracle(modalities, coherent=False), **setup, metrics={"coherence"}).metrics
    chance = found["joint_coherence/chance"]
    assert chance == pytest.approx(10 ** (1 - len(modalities)), rel=0.05)
    assert found["joint_coherence"] == pytest.approx(chance, abs=4 * math.sqrt(chance / 20_000))


def slow_frechet(generated, real):
    (mean_a, cov_a), (mean_b, cov_b) = (
        (x.double().numpy().mean(0), np.cov(x.double().numpy(), rowvar=False)) for x in (generated, real)
    )
    product = scipy.linalg.sqrtm(cov_a @ cov_b)
    return float(
        ((mean_a - mean_b) ** 2).sum() + np.trace(cov_a) + np.trace(cov_b) - 2 * np.trace(product).real
    )


def test_every_metric_of_a_random_network_is_the_loop():
    model, setup = TinyVAE().eval(), make_setup()
    found = evaluate(model, **setup)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        parts = [model.generate(500, generator) for _ in range(2)]
        draws = {name: torch.cat([part[name] for part in parts])[:700] for name in "ab"}
        agreeing = sum(bool(read(draws["a"][i : i + 1]) == read(draws["b"][i : i + 1])) for i in range(600))
        assert found.metrics["joint_coherence"] == pytest.approx(agreeing / 600)
        for source, target in (("a", "b"), ("b", "a")):
            images, labels = setup["test"][source]
            noise = torch.randn(205, 12, generator=torch.Generator().manual_seed(0))
            hits = {"sample": 0, "mean": 0}
            for i in range(205):
                mean = model.embed({source: as_float(images[i : i + 1])})
                hits["mean"] += int(read(model.decode(target, mean)) == labels[i])
                hits["sample"] += int(read(model.decode(target, mean + noise[i])) == labels[i])
            for mode, count in hits.items():
                assert found.metrics[f"cross_coherence/{source}->{target}/{mode}"] == pytest.approx(
                    count / 205
                )
        for name in "ab":
            images, labels = setup["test"][name]
            distance = slow_frechet(
                (draws[name] * 255).round().flatten(1) / 255, images.flatten(1).float() / 255
            )
            assert (
                found.metrics[f"fd_clf/{name}"]
                == found.metrics[f"fid/{name}"]
                == pytest.approx(distance, rel=1e-5)
            )
            train_images, train_labels = setup["train"][name]
            rows = probe_indices(300, 100, 0)
            embedded = (model.embed({name: as_float(x)}) for x in (train_images[rows], images))
            expected = linear_probe(next(embedded), train_labels[rows], next(embedded), labels)
            assert found.metrics[f"probe/{name}"] == pytest.approx(expected, abs=0.01)
    assert found.missing == {}


def test_references_stand_beside_the_metrics():
    setup = make_setup()
    found = evaluate(Oracle(), **setup).references
    for name in "ab":
        test, train = (setup[part][name][0].flatten(1).float() / 255 for part in ("test", "train"))
        for space in ("fd_clf", "fid"):
            assert found[f"{space}_floor/{name}"] == pytest.approx(slow_frechet(train, test), rel=1e-5)
            assert (found[f"{space}_real/{name}"], found[f"{space}_train/{name}"]) == (205, 300)
        assert found[f"judge/{name}"] == 1.0


def test_the_floor_takes_as_many_train_images_as_are_generated():
    space = make_setup(protocol=replace(PROTOCOL, draws=120, joint_draws=100))["references"].feature_spaces[0]
    assert set(space.train_count.values()) == {120}


def test_it_is_a_function_of_its_arguments_and_disturbs_nothing():
    model, setup = TinyVAE().train(), make_setup()
    state = torch.get_rng_state()
    first = evaluate(model, **setup)
    assert torch.equal(state, torch.get_rng_state())
    assert model.training
    torch.manual_seed(99)
    second = evaluate(model, **setup)
    assert first.metrics == second.metrics
    np.testing.assert_equal(vars(first.samples), vars(second.samples))
    other = evaluate(model, **setup | {"protocol": replace(PROTOCOL, evaluation_seed=1)})
    changed = [name for name in first.metrics if first.metrics[name] != other.metrics[name]]
    assert {"joint_coherence/chance", "fd_clf/a", "fid/b", "probe/a"} <= set(changed)


@pytest.mark.parametrize("chosen", [[name] for name in DEFAULT] + [["fid", "coherence"], DEFAULT[:-1], []])
def test_a_metric_does_not_depend_on_which_others_are_asked_for(chosen):
    setup = make_setup()
    everything, some = evaluate(TinyVAE(), **setup), evaluate(TinyVAE(), **setup, metrics=chosen)
    prefixes = {
        "coherence": ("joint_coherence", "cross_coherence"),
        "fd_clf": ("fd_clf/",),
        "fid": ("fid/",),
        "probe": ("probe/",),
        "retrieval": ("label_map", "hit_at_"),
        "sampler": ("fitted",),
    }
    kept = tuple(prefix for name in chosen for prefix in prefixes[name])
    assert some.metrics == {
        name: value for name, value in everything.metrics.items() if name.startswith(kept)
    }
    shown = vars(everything.samples) | ({} if "retrieval" in chosen else {"found": {}})
    np.testing.assert_equal(vars(some.samples), shown)


def test_joint_coherence_reads_the_first_draws():
    few = evaluate(TinyVAE(), **make_setup(protocol=replace(PROTOCOL, draws=600)), metrics=["coherence"])
    many = evaluate(
        TinyVAE(), **make_setup(protocol=replace(PROTOCOL, draws=1500)), metrics=["coherence", "fd_clf"]
    )
    assert few.metrics["joint_coherence"] == many.metrics["joint_coherence"]


class Echo(Oracle):
    """Draws the test images themselves, moved by less than half a grey level and out of [0, 1]."""

    def __init__(self, images):
        super().__init__()
        self.images = images

    def generate(self, n, generator):
        repeated = {name: as_float(x).repeat(1 + n // len(x), 1, 1, 1)[:n] for name, x in self.images.items()}
        return {name: torch.where(x > 0, x + 0.4 / 255, x - 0.2) for name, x in repeated.items()}


def test_frechet_distances_compare_images_of_8_bits():
    setup = make_setup(protocol=replace(PROTOCOL, draws=410, joint_draws=410))
    images = {name: x for name, (x, _) in setup["test"].items()}
    found = evaluate(Echo(images), **setup)
    for name, x in images.items():
        # twice the real images: the same mean, the covariance off by the (N - 1) alone
        assert found.metrics[f"fd_clf/{name}"] == pytest.approx(0, abs=1e-5)
        np.testing.assert_array_equal(found.samples.joint[name], x[:64])


class Broken(Oracle):
    """Now and then draws what is no number in `b`."""

    def generate(self, n, generator):
        draws = super().generate(n, generator)
        draws["b"][3, 0, 0, 0] = math.nan
        return draws

    def translate(self, inputs, targets, sample=False, generator=None):
        outputs = super().translate(inputs, targets, sample, generator)
        if sample and "b" in outputs:
            outputs["b"][0, 0, 0, 0] = math.inf
        return outputs

    def embed(self, inputs):
        return super().embed(inputs) * (math.nan if "a" in inputs else 0)


def test_values_that_are_not_finite_leave_a_cell_empty_with_a_reason():
    found = evaluate(Broken(), **make_setup(), metrics=("coherence", "fd_clf", "fid", "probe"))
    empty = {name for name, value in found.metrics.items() if value is None}
    joint = {"joint_coherence", "joint_coherence/chance", "joint_coherence/entropy"}
    assert (
        empty
        == set(found.missing)
        == joint | {"cross_coherence/a->b/sample", "fd_clf/b", "fid/b", "probe/a", "probe/b"}
    )
    assert said(found)["fd_clf/b"] == "The model generated values that are not finite in b."
    assert said(found)["probe/b"] == "The representation is the same for every train image."
    json.dumps(found.metrics, allow_nan=False)


def test_without_references_cells_say_why():
    setup = make_setup(spaces=("fd_clf",))
    setup["references"] = replace(setup["references"], judges={"a": Reader().eval()})
    found = evaluate(Oracle(), **setup)
    assert found.metrics["fid/a"] is None
    assert said(found)["fid/a"] == "The weights are not there."
    assert (
        said(found)["joint_coherence"]
        == said(found)["cross_coherence/a->b/mean"]
        == "There is no judge for b."
    )
    assert found.metrics["cross_coherence/b->a/mean"] == 1.0
    assert "fid_floor/a" not in found.references


class Opposed(Oracle):
    """Never draws the same class twice."""

    def generate(self, n, generator):
        return {
            "a": templates(torch.zeros(n, dtype=torch.int64), (1, 4, 4)),
            "b": templates(torch.ones(n, dtype=torch.int64), (3, 2, 3)),
        }


class Priorless(TinyVAE):
    def prior(self, n, generator):
        raise NotDefinedError("It has no prior.")


def test_a_model_without_a_prior_has_all_that_needs_none():
    setup = make_setup()
    usual, found = evaluate(TinyVAE(), **setup), evaluate(Priorless(), **setup)
    lost = {
        "joint_coherence",
        "joint_coherence/chance",
        "joint_coherence/entropy",
        "fd_clf/a",
        "fd_clf/b",
        "fid/a",
        "fid/b",
    }
    assert said(found) == dict.fromkeys(lost, "Not defined: It has no prior.")
    assert found.metrics == usual.metrics | dict.fromkeys(lost, None)
    assert found.metrics["fitted_coherence"] is not None
    assert found.samples.joint == {}
    np.testing.assert_equal(found.samples.cross, usual.samples.cross)
    assert set(evaluate(Priorless(), **setup, metrics=["fid"]).metrics) == {"fid/a", "fid/b"}


def test_other_errors_of_a_model_are_not_swallowed():
    class Faulty(TinyVAE):
        def prior(self, n, generator):
            raise RuntimeError("a fault")

    with pytest.raises(RuntimeError, match="a fault"):
        evaluate(Faulty(), **make_setup())


def test_every_metric_belongs_to_the_group_that_is_asked_for():
    setup = make_setup(THREE)
    for group in GROUPS:
        found = evaluate(TinyVAE(THREE), **setup, metrics=[group]).metrics
        assert found
        assert {group_of(name) for name in found} == {group}


def test_no_agreement_has_no_entropy():
    found = evaluate(Opposed(), **make_setup(), metrics=["coherence"])
    assert (found.metrics["joint_coherence"], found.metrics["joint_coherence/entropy"]) == (0.0, None)
    assert said(found) == {"joint_coherence/entropy": "Not defined: The judges agree on no draw."}


def test_samples_show_four_conditions_of_every_class_and_what_became_of_them():
    setup = make_setup(THREE)
    samples = evaluate(Oracle(THREE), **setup, metrics=[]).samples
    assert {name: x.shape for name, x in samples.joint.items()} == {m.name: (64, *m.shape) for m in THREE}
    assert set(samples.cross) == set(permutations("abc", 2))
    for (source, target), cross in samples.cross.items():
        assert cross.labels.tolist() == [label for label in range(10) for _ in range(4)]
        assert cross.conditions.dtype == cross.outputs.dtype == np.uint8
        images, labels = setup["test"][source]
        for condition, label in zip(cross.conditions, cross.labels, strict=True):
            assert int(label) in labels[(images.numpy() == condition).reshape(len(images), -1).all(1)]
        # there is one text of each class
        assert len(np.unique(cross.conditions, axis=0)) == (10 if source == "c" else 40)
        shape = next(m.shape for m in THREE if m.name == target)
        np.testing.assert_array_equal(
            cross.outputs, 255 * templates(torch.from_numpy(cross.labels), shape).byte()
        )
    assert all(
        (samples.joint[name].reshape(64, -1).argmax(1) == samples.joint["a"].reshape(64, -1).argmax(1)).all()
        for name in "bc"
    )


def test_progress_runs_to_the_end_of_every_task():
    last = {}
    evaluate(Oracle(), **make_setup(), progress=lambda task, done, total: last.update({task: (done, total)}))
    assert last["prior draws"] == (700, 700)
    assert last["a to others, sample"] == last["representations of b (test)"] == (205, 205)
    assert all(done == total for done, total in last.values())


def test_progress_is_made_while_the_features_of_a_batch_of_draws_are_computed():
    setup, steps = make_setup(spaces=("fid",)), []
    evaluate(
        Oracle(),
        **setup,
        metrics=["fid"],
        progress=lambda task, done, total: steps.append(done) if task == "prior draws" else None,
    )
    # two modalities: every hundred images of one are fifty draws; 500 and 200 draws at a time
    assert steps == [50, 100, 150, 200, 300, 350, 400, 450, 500, 550, 650, 700]


def test_a_stop_is_heard_between_two_batches_of_features():
    def stop(task, done, total):
        if done == 150:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(Oracle(), **make_setup(spaces=("fid",)), metrics=["fid"], progress=stop)


def test_conditions_of_several_modalities_are_asked_for():
    setup = make_setup(THREE) | {"tuples": None}
    with pytest.raises(InputError, match="give `tuples` to evaluate"):
        evaluate(Oracle(THREE), **setup)
    assert evaluate(Oracle(THREE), **setup, metrics=["probe"]).metrics["probe/c"] == 1.0


def test_unknown_metrics_are_refused():
    with pytest.raises(InputError, match="Unknown metric 'coherense': did you mean 'coherence'"):
        evaluate(Oracle(), **make_setup(), metrics=["coherense"])


def test_feature_spaces_survive_npz():
    before, file = make_setup()["references"].feature_spaces[0], io.BytesIO()
    np.savez(file, **before.arrays())
    file.seek(0)
    with np.load(file) as arrays:
        after = FeatureSpace.restore("fd_clf", before.extractors, arrays)
    assert (before.floor, before.train_count) == (after.floor, after.train_count)
    for name in "ab":
        assert torch.equal(before.roots[name], after.roots[name])
        assert torch.equal(before.real[name].covariance, after.real[name].covariance)


def some_networks():
    judge, inception = nn.Linear(2, 2), nn.Linear(2, 2)
    spaces = tuple(
        FeatureSpace(name, {"a": partial(extract, network)}, {}, {}, {}, {})
        for name, network in (("fd_clf", judge), ("fid", inception))
    )
    return References({"a": judge}, {}, 10, spaces)


def extract(network, images, progress):
    return network(images)


def places(references):
    """Where the judge, the network of its feature space and the Inception network are."""
    networks = [
        references.judges["a"],
        *(space.extractors["a"].args[0] for space in references.feature_spaces),
    ]
    return [next(network.parameters()).device.type for network in networks]


def test_references_elsewhere_are_copies_and_leave_the_networks_where_they_are():
    here = some_networks()
    there = here.on("meta")
    assert (places(here), places(there)) == (["cpu"] * 3, ["meta"] * 3)
    assert there.judges["a"] is there.feature_spaces[0].extractors["a"].args[0]
    assert here.on("cpu") is here
    assert there.on("meta") is there


def test_pickled_references_are_on_the_cpu_and_no_live_network_moves():
    class Elsewhere(nn.Linear):
        """Stands for a network on a GPU: it says so, and its copies come to the CPU."""

        def __init__(self):
            super().__init__(2, 2, device="meta")

        def to(self, device):
            return nn.Linear(2, 2, device=device)

    judge = Elsewhere()
    space = FeatureSpace("fd_clf", {"a": partial(extract, judge)}, {}, {}, {}, {})
    live = References({"a": judge}, {"a": 0.5}, 10, (space,))
    loaded = pickle.loads(pickle.dumps(live))
    assert places(loaded) == ["cpu"] * 2
    assert loaded.judges["a"] is loaded.feature_spaces[0].extractors["a"].args[0]
    assert loaded.judge_accuracy == {"a": 0.5}
    assert live.judges["a"] is judge is live.feature_spaces[0].extractors["a"].args[0]
    assert places(live) == ["meta"] * 2
