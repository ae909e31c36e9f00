"""Metrics that are computed on request, each against slow and obvious code or a value known on paper."""

import json
import math
from dataclasses import replace
from itertools import combinations, permutations
from pathlib import Path

import numpy as np
import pytest
import torch
from evaluation_setup import PROTOCOL, THREE, Oracle, TinyVAE, make_setup, templates
from jsonschema import Draft202012Validator
from reference_data import make_data
from report_setup import copy_runs

import metrics.evaluation.joint
import mmbench
from metrics.clustering import cluster, cluster_accuracy
from metrics.evaluation.evaluate import evaluate
from metrics.groups import FEATURES, FURTHER, FURTHER_KINDS, JUDGED, METRICS, metric_group, unit_of
from metrics.images import as_float
from metrics.prdc import NEIGHBOURS, prdc
from metrics.probe import probe_indices
from metrics.reconstruction import ssim
from mmbench.execution.cached_references import make_references
from mmbench.execution.evaluating import anchor_tuples
from mmbench.plan.presets import PRESETS
from mmbench.report import write_report
from mmbench.storage.files import read_json, write_json
from models.base import Modality, NotDefinedError


def test_no_preset_asks_for_further_metrics_and_all_of_them_are_described():
    assert all(set(preset.metrics) <= set(METRICS) for preset in PRESETS.values())
    assert {kind.group for kind in FURTHER_KINDS.values()} == set(FURTHER)
    assert set(FEATURES) <= set(JUDGED)
    setup = make_setup()
    assert (
        evaluate(TinyVAE(), **setup).metrics.keys()
        == evaluate(TinyVAE(), **setup, metrics=METRICS).metrics.keys()
    )
    for group in FURTHER:
        found = evaluate(TinyVAE(), **setup, metrics=[group]).metrics
        assert found
        assert {metric_group(name) for name in found} == {group}
    assert [unit_of(name) for name in ("fid/a", "probe/a", "log_likelihood", "diversity/a->b", "mse/a")] == [
        *("distance", "fraction", "nats", "distance", "fraction")
    ]


def test_further_metrics_do_not_depend_on_which_others_are_asked_for():
    setup = make_setup()
    alone = {}
    for group in FURTHER:
        alone |= evaluate(TinyVAE(), **setup, metrics=[group]).metrics
    together = evaluate(TinyVAE(), **setup, metrics=METRICS + FURTHER).metrics
    assert {name: value for name, value in together.items() if metric_group(name) in FURTHER} == alone
    assert {name: value for name, value in together.items() if metric_group(name) in METRICS} == evaluate(
        TinyVAE(), **setup
    ).metrics


def test_references_hold_what_a_group_reads(tmp_path, monkeypatch):
    monkeypatch.setenv("MMBENCH_CACHE", str(tmp_path))
    data, protocol = (
        make_data(),
        replace(PROTOCOL, draws=40, joint_draws=40, judge_steps=2, judge_batch_size=8),
    )
    parts = {
        "test": data.test.labelled,
        "train": data.train.labelled,
        "tuples": anchor_tuples(data.test, 0),
        "protocol": protocol,
    }
    for group in FURTHER:
        references = make_references(data, protocol, [group])
        assert [space.name for space in references.feature_spaces] == ["fd_clf"] * (group in FEATURES)
        found = evaluate(TinyVAE(data.modalities), **parts, references=references, metrics=[group])
        assert all(value is not None for value in found.metrics.values()) == (
            group != "log_likelihood"
        )  # TinyVAE has no density


# Precision, recall, density, coverage


def slow_prdc(real, generated, k):
    def inside(point, centre, others):
        """Whether `point` is in the ball of `centre`, one of `others`."""
        return math.dist(point, centre) <= sorted(math.dist(centre, other) for other in others)[k]

    real, generated = real.tolist(), generated.tolist()
    of_real = [[inside(y, x, real) for x in real] for y in generated]
    of_generated = [[inside(x, y, generated) for y in generated] for x in real]
    precision = sum(any(row) for row in of_real) / len(generated)
    recall = sum(any(row) for row in of_generated) / len(real)
    density = sum(sum(row) for row in of_real) / (k * len(generated))
    coverage = sum(any(row[i] for row in of_real) for i in range(len(real))) / len(real)
    return precision, recall, density, coverage


@pytest.mark.parametrize("k", [1, 3])
def test_prdc_is_the_loop(k, monkeypatch):
    monkeypatch.setattr("metrics.prdc.BLOCK", 7)
    generator = torch.Generator().manual_seed(k)
    real, generated = (
        torch.randn(25, 3, generator=generator),
        1 + 0.8 * torch.randn(32, 3, generator=generator),
    )
    found, expected = prdc(real, generated, k), slow_prdc(real, generated, k)
    assert found == pytest.approx(expected)
    assert len(set(expected)) == 4  # so that none can stand in for another


def test_two_samples_of_one_distribution_have_density_one_and_the_coverage_on_paper():
    x = torch.randn(2, 3000, 4, generator=torch.Generator().manual_seed(0))
    n = 3000
    missed = math.prod(
        (n - i) / (2 * n - i) for i in range(1, NEIGHBOURS + 1)
    )  # Naeem et al. 2020, section 3
    found = prdc(*x)
    assert found.density == pytest.approx(1, abs=0.05)
    assert found.coverage == pytest.approx(1 - missed, abs=0.02)


def test_repeated_items_are_in_the_balls_of_their_equals():
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(4, 128, generator=generator) * 100
    assert prdc(points.repeat(10, 1), points.repeat(10, 1)) == (
        1,
        1,
        2,
        1,
    )  # each in the balls of 10 equals, and k = 5
    assert prdc(points.repeat(10, 1), points.repeat(10, 1) + 1) == (0, 0, 0, 0)


class Noisy(Oracle):
    """Draws what test items are made as, with a little more noise."""

    def generate(self, n, generator):
        drawn = super().generate(n, generator)
        return {
            name: (x + 0.5 * torch.rand(x.shape, generator=generator)).clamp(0, 1)
            for name, x in drawn.items()
        }


def test_prdc_reads_the_draws_of_fd_clf_and_as_many_test_items(monkeypatch):
    monkeypatch.setattr(metrics.evaluation.joint, "COUNT", 120)
    model, setup, seen = Noisy(), make_setup(), []
    found = evaluate(
        model, **setup, metrics=["prdc"], progress=lambda task, done, total: seen.append((task, done, total))
    ).metrics
    draws = model.generate(500, torch.Generator().manual_seed(0))
    rows = probe_indices(205, 120, 0)
    for name in "ab":
        generated = (draws[name][:120] * 255).round().flatten(1) / 255
        expected = slow_prdc(as_float(setup["test"][name][0][rows]).flatten(1), generated, NEIGHBOURS)
        assert len(set(expected) - {0, 1}) >= 3  # hardly any of them as it would be of any draws
        assert [
            found[f"{kind}/{name}"] for kind in ("precision", "recall", "density", "coverage")
        ] == pytest.approx(expected)
        assert (f"neighbours of {name}", 360, 360) in seen


def test_prdc_without_its_needs_says_why():
    few = make_setup(protocol=replace(PROTOCOL, draws=5, joint_draws=5))
    found = evaluate(TinyVAE(), **few, metrics=["prdc"])
    assert found.reasons["recall/b"] == "It takes more than 5 test items and draws; of b there are 5."
    found = evaluate(TinyVAE(), **make_setup(spaces=()), metrics=["prdc"])
    assert found.reasons["density/a"] == "There are no reference features for a."

    class Priorless(TinyVAE):
        def prior(self, n, generator):
            raise NotDefinedError("It has no prior.")

    found = evaluate(Priorless(), **make_setup(), metrics=["prdc"])
    assert len(found.metrics) == 8
    assert set(found.reasons.values()) == {"Not defined: It has no prior."}


# Reconstruction


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 20), (2, 8, 6)])
def test_ssim_is_that_of_torchmetrics(shape):
    image = pytest.importorskip("torchmetrics.functional.image")
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(5, *shape, generator=generator)
    y = (x + 0.3 * torch.randn(x.shape, generator=generator)).clamp(0, 1)
    expected = image.structural_similarity_index_measure(y, x, data_range=1.0, reduction="none")
    torch.testing.assert_close(ssim(x, y), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ssim(x, x), torch.ones(5))


def test_ssim_of_constant_images_is_the_formula():
    x, y = torch.full((1, 1, 12, 12), 0.2), torch.full((1, 1, 12, 12), 0.7)
    assert ssim(x, y).item() == pytest.approx((2 * 0.2 * 0.7 + 1e-4) / (0.2**2 + 0.7**2 + 1e-4), rel=1e-4)


BIG = (Modality("a", (1, 12, 12)), Modality("b", (3, 16, 12)), THREE[2])


def test_reconstruction_is_of_every_item_from_itself_by_the_latent_mean():
    model, setup = TinyVAE(BIG), make_setup(BIG)
    found = evaluate(model, **setup, metrics=["reconstruction"])
    for name in "ab":
        images, errors, likenesses = setup["test"][name][0], [], []
        for i in range(205):
            x = as_float(images[i : i + 1])
            with torch.no_grad():
                mean = model.eval().translate({name: x}, [name])[name]
            errors.append((mean - x).square().mean().item())
            likenesses.append(ssim(x, mean).item())
        assert found.metrics[f"mse/{name}"] == pytest.approx(np.mean(errors), rel=1e-5)
        assert found.metrics[f"ssim/{name}"] == pytest.approx(np.mean(likenesses), rel=1e-4)
    assert found.reasons == dict.fromkeys(["mse/c", "ssim/c"], "It is of images, and c is text.")


def test_reconstruction_without_its_needs_says_why():
    found = evaluate(Oracle(), **make_setup(), metrics=["reconstruction"])
    assert found.reasons["ssim/b"] == "SSIM takes images of 6 or more pixels a side; b has 2 x 3."
    images, labels = make_setup()["test"]["a"]
    assert found.metrics["mse/a"] == pytest.approx(
        (as_float(images) - templates(labels, (1, 4, 4))).square().mean().item(), rel=1e-5
    )

    class Lost(Oracle):
        def translate(self, inputs, targets, sample=False, generator=None):
            return {
                name: x * math.nan
                for name, x in super().translate(inputs, targets, sample, generator).items()
            }

    found = evaluate(Lost(BIG), **make_setup(BIG), metrics=["reconstruction"])
    assert (
        found.reasons["mse/b"]
        == found.reasons["ssim/b"]
        == "The model generated values that are not finite in b."
    )


# Clustering


def slow_accuracy(clusters, labels):
    maps = permutations(range(4))
    return max(sum(p[c] == label for c, label in zip(clusters, labels, strict=True)) for p in maps) / len(
        labels
    )


def test_cluster_accuracy_is_the_best_of_all_maps():
    rng = np.random.default_rng(0)
    for _ in range(20):
        clusters, labels = rng.integers(0, 4, 30), rng.integers(0, 4, 30)
        clusters[:4] = labels[:4] = range(4)
        assert cluster_accuracy(clusters, labels) == pytest.approx(slow_accuracy(clusters, labels))


def test_clusters_of_separate_classes_are_found_and_noise_is_not():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 400)
    centres = 20 * np.eye(10)
    assert cluster(centres[labels] + rng.normal(0, 0.5, (400, 10)), labels, 0) == pytest.approx((1, 1))
    noise = cluster(rng.normal(0, 1, (2000, 5)), rng.integers(0, 10, 2000), 0)
    assert noise.accuracy < 0.16
    assert noise.nmi < 0.03


def slow_nmi(clusters, labels):
    n, information, entropies = len(labels), 0.0, 0.0
    for c in set(clusters):
        for label in set(labels):
            both = sum(a == c and b == label for a, b in zip(clusters, labels, strict=True)) / n
            if both:
                information += both * math.log(both / (np.mean(clusters == c) * np.mean(labels == label)))
    for side in (clusters, labels):
        entropies -= sum(np.mean(side == value) * math.log(np.mean(side == value)) for value in set(side))
    return 2 * information / entropies


def test_mutual_information_is_normalised_by_the_mean_of_the_entropies(monkeypatch):
    """Of ten clusters and three classes of unequal size, whose entropies differ."""
    rng = np.random.default_rng(0)
    clusters, labels = rng.integers(0, 10, 200), rng.choice(3, 200, p=[0.7, 0.2, 0.1])
    labels[clusters < 2] = 2
    monkeypatch.setattr("metrics.clustering.KMeans.fit_predict", lambda self, features: clusters)
    assert cluster(np.zeros((200, 2)), labels, 0).nmi == pytest.approx(slow_nmi(clusters, labels))
    assert slow_nmi(labels, labels) == pytest.approx(1)


def test_clustering_reads_the_representations_of_the_test_items():
    found = evaluate(Oracle(), **make_setup(), metrics=["clustering"]).metrics
    assert found == dict.fromkeys(
        ["cluster_accuracy/a", "cluster_nmi/a", "cluster_accuracy/b", "cluster_nmi/b"], pytest.approx(1)
    )

    class Blind(Oracle):
        def embed(self, inputs):
            return super().embed(inputs) * (0 if "a" in inputs else math.nan)

    found = evaluate(Blind(), **make_setup(), metrics=["clustering"])
    _, labels = make_setup()["test"]["a"]
    assert found.metrics["cluster_accuracy/a"] == pytest.approx(labels.bincount().max().item() / len(labels))
    assert found.metrics["cluster_nmi/a"] == 0
    assert found.reasons == dict.fromkeys(
        ["cluster_accuracy/b", "cluster_nmi/b"], "The representation holds values that are not finite."
    )


# Diversity


def test_diversity_is_the_mean_distance_of_samples_from_one_condition(monkeypatch):
    monkeypatch.setattr("metrics.diversity.CONDITIONS", 60)
    model, setup = TinyVAE(THREE), make_setup(THREE)
    found = evaluate(model, **setup, metrics=["diversity"]).metrics
    assert set(found) == {f"diversity/{a}->{b}" for a, b in permutations("abc", 2)}
    chosen = probe_indices(205, 60, 0)
    images, generator, distances = (
        as_float(setup["test"]["a"][0]),
        torch.Generator().manual_seed(0),
        {"b": [], "c": []},
    )
    with torch.no_grad():
        means = model.eval().infer({"a": images[chosen].repeat_interleave(10, 0)})
        latents = means + torch.cat(
            [torch.randn(500, 12, generator=generator), torch.randn(100, 12, generator=generator)]
        )
        for i in range(60):
            b = (model.decode("b", latents[10 * i : 10 * i + 10]) * 255).round().flatten(1) / 255
            c = torch.eye(12)[model.decode("c", latents[10 * i : 10 * i + 10]).argmax(-1)].flatten(1)
            for name, samples in (("b", b.tolist()), ("c", c.tolist())):
                distances[name] += [math.dist(s, t) for s, t in combinations(samples, 2)]
    for name, values in distances.items():
        assert len(values) == 60 * 45
        assert found[f"diversity/a->{name}"] == pytest.approx(np.mean(values), rel=1e-4)


def test_diversity_of_an_oracle_is_that_of_its_forgetting():
    found = evaluate(Oracle(), **make_setup(), metrics=["diversity"]).metrics
    # a sample is of the condition's class or, with probability 0.3, of the next: templates of two classes are at the root of 2
    assert found["diversity/a->b"] == pytest.approx(2 * 0.3 * 0.7 * math.sqrt(2), rel=0.08)


def test_diversity_without_its_needs_says_why():
    assert (
        evaluate(Oracle(), **make_setup(spaces=()), metrics=["diversity"]).reasons["diversity/b->a"]
        == "There are no reference features for a."
    )

    class Lost(Oracle):
        def translate(self, inputs, targets, sample=False, generator=None):
            return {
                name: x * (math.inf if name == "b" else 1)
                for name, x in super().translate(inputs, targets, sample, generator).items()
            }

    found = evaluate(Lost(), **make_setup(), metrics=["diversity"])
    assert found.reasons == {"diversity/a->b": "The model generated values that are not finite in b."}
    assert found.metrics["diversity/b->a"] > 0


# In reports


def test_they_are_in_every_place_that_takes_metrics_by_name_and_in_no_table(tmp_path):
    folder = copy_runs(tmp_path, models=2, diagnostics=False)
    values = {
        "diversity/handwritten->street": 3.25,
        "mse/street": 0.0123,
        "log_likelihood": -321.5,
        "ssim/handwritten": None,
    }
    file = folder / "model-0" / "seed-0" / "metrics.json"
    content = read_json(file)
    content["metrics"] |= values
    content["reasons"]["ssim/handwritten"] = "They are too small."
    write_json(file, content)
    write_report(tmp_path)
    table = mmbench.load_results(tmp_path)
    found = table[table["metric"].isin(values) & (table["model"] == "model-0")].set_index("metric")
    assert found["value"].dropna().to_dict() == {
        name: value for name, value in values.items() if value is not None
    }
    assert found["reason"]["ssim/handwritten"] == "They are too small."
    results = json.loads((folder / "results.json").read_text())
    named = {name: results["metrics"][name] for name in values}
    assert {name: (kind["table"], kind["name"]) for name, kind in named.items()} == {
        "mse/street": ("further", "MSE street"),
        "ssim/handwritten": ("further", "SSIM handwritten"),
        "log_likelihood": ("further", "Log-likelihood"),
        "diversity/handwritten->street": ("further", "Diversity handwritten→street"),
    }
    assert (named["mse/street"]["unit"], named["mse/street"]["better"], named["log_likelihood"]["unit"]) == (
        "fraction",
        "lower",
        "nats",
    )
    cells = [model["metrics"]["mse/street"] for model in results["models"]]
    assert cells[0]["values"] == {"0": 0.0123}
    assert "mmbench evaluate adds it later, with --metrics reconstruction" in cells[1]["note"]
    page = (folder / "report.html").read_text()
    assert all(
        text in page
        for text in (
            "Further metrics",
            "MSE street",
            "1.23",
            "\N{MINUS SIGN}321.50",
            "3.25",
            "They are too small.",
        )
    )
    for name in ("README.md", "table1.md", "table2.md", "table3.csv"):
        assert "MSE" not in (folder / name).read_text()
    schema = json.loads(
        (Path(mmbench.__file__).parent / "report" / "numbers" / "results.schema.json").read_text()
    )
    assert [error.message for error in Draft202012Validator(schema).iter_errors(results)] == []
