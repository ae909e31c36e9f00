"""What a run leaves for pictures: confusions and the plane of the latents, against loops."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from evaluation_setup import THREE, TWO, Oracle, TinyVAE, make_setup, read

from metrics.evaluation import diagnostics
from metrics.evaluation.diagnostics import principal_plane
from metrics.evaluation.evaluate import evaluate
from metrics.images import as_float, as_read
from metrics.probe import probe_indices
from mmbench.storage.files import read_json


@pytest.mark.parametrize("modalities", [TWO, THREE])
def test_confusions_count_condition_against_generated_class(modalities):
    setup = make_setup(modalities, spaces=())
    found = evaluate(TinyVAE(modalities), **setup, metrics={"coherence"})
    model, names = TinyVAE(modalities).eval(), [m.name for m in modalities]
    assert list(found.diagnostics.confusion) == [(a, b) for a in names for b in names if a != b]
    with torch.no_grad():
        for source, (images, labels) in setup["test"].items():
            targets = [name for name in names if name != source]
            outputs = model.translate(
                {source: as_float(images)}, targets, True, torch.Generator().manual_seed(0)
            )
            for target in targets:
                table = np.zeros((10, 10), int)
                for label, x in zip(labels, as_read(model.modalities[target], outputs[target]), strict=True):
                    table[int(label), int(read(x[None]))] += 1
                np.testing.assert_array_equal(found.diagnostics.confusion[source, target], table)
                share = np.trace(table) / len(labels)
                assert found.metrics[f"cross_coherence/{source}->{target}/sample"] == pytest.approx(share)


def test_modalities_without_a_judge_have_no_confusion():
    setup = make_setup(spaces=())
    judges = {name: judge for name, judge in setup["references"].judges.items() if name == "b"}
    setup["references"] = replace(setup["references"], judges=judges)
    assert list(evaluate(TinyVAE(), **setup, metrics={"coherence"}).diagnostics.confusion) == [("a", "b")]


def test_the_plane_is_that_of_the_singular_value_decomposition(monkeypatch):
    monkeypatch.setattr(diagnostics, "POINTS", 90)
    setup = make_setup(spaces=())
    latent = evaluate(TinyVAE(), **setup, metrics={"probe"}).diagnostics.latent
    rows, model = probe_indices(205, 90, 0), TinyVAE().eval()
    with torch.no_grad():
        z = np.concatenate(
            [
                model.embed({name: as_float(images[rows])}).numpy()
                for name, (images, _) in setup["test"].items()
            ]
        )
    assert z.shape == (180, 12)
    z = z - z.mean(0)
    _, singular, axes = np.linalg.svd(z, full_matrices=False)
    expected, found = z @ axes[:2].T, np.concatenate(list(latent.points.values()))
    for column in range(2):
        sign = np.sign(expected[:, column] @ found[:, column])
        np.testing.assert_allclose(found[:, column], sign * expected[:, column], atol=1e-5)
    np.testing.assert_allclose(latent.explained, (singular**2 / (singular**2).sum())[:2], rtol=1e-5)
    for name, (_, labels) in setup["test"].items():
        np.testing.assert_array_equal(latent.labels[name], labels[rows])


@pytest.mark.parametrize("seed", range(8))
def test_a_component_points_to_where_its_largest_coordinate_is_positive(seed):
    x = torch.randn(20, 3, generator=torch.Generator().manual_seed(seed))
    points, _ = principal_plane(x)
    assert (points.gather(0, points.abs().argmax(0, keepdim=True)) > 0).all()
    torch.testing.assert_close(principal_plane(-x)[0], points)


@pytest.mark.parametrize(
    "x", [torch.zeros(5, 3), torch.rand(5, 1), torch.rand(1, 5)], ids=["one point", "a line", "one item"]
)
def test_no_plane_where_there_is_none(x):
    assert principal_plane(x) is None


class Wider(TinyVAE):
    """Represents one modality with an additional zero."""

    def embed(self, inputs):
        latent = super().embed(inputs)
        return torch.nn.functional.pad(latent, (0, 1)) if "b" in inputs else latent


class Undefined(TinyVAE):
    """Represents one modality by values that are not finite."""

    def embed(self, inputs):
        return super().embed(inputs) / (0 if "b" in inputs else 1)


@pytest.mark.parametrize("model", [Oracle, Wider, Undefined])
def test_no_plane_without_one_latent_for_all_modalities(model):
    assert evaluate(model(), **make_setup(spaces=()), metrics={"probe"}).diagnostics.latent is None


def test_no_metric_changes_and_no_model_or_judge_is_called_for_them(monkeypatch):
    """With and without: the same calls, the same numbers, the same state of torch's generator."""

    def observe():
        calls = []
        count = torch.nn.modules.module.register_module_forward_hook(
            lambda module, inputs, output: calls.append((type(module), len(inputs[0])))
        )
        try:
            found = evaluate(TinyVAE(), **make_setup())
        finally:
            count.remove()
        return found, calls

    TinyVAE()
    after_making_one = torch.get_rng_state()  # its constructor sets torch's seed
    found, calls = observe()
    assert found.diagnostics.latent is not None
    assert torch.equal(torch.get_rng_state(), after_making_one)
    monkeypatch.setattr("metrics.evaluation.evaluate.latent_plane", lambda run: None)
    monkeypatch.setattr("metrics.evaluation.coherence.confusion", lambda *_: torch.zeros(10, 10))
    without, fewer = observe()
    assert without.diagnostics.latent is None
    assert found.metrics == without.metrics
    assert len(calls) > 10
    assert calls == fewer


@pytest.mark.parametrize("chosen", [["fd_clf"], []])
def test_nothing_is_computed_where_no_metric_reads_it(chosen):
    found = evaluate(TinyVAE(), **make_setup(), metrics=chosen).diagnostics
    assert (found.confusion, found.latent) == ({}, None)


def test_a_run_keeps_them_with_its_samples(finished, invoke, tmp_path):
    folder = finished.path / "digits" / "smoke" / "mopoe" / "seed-0"
    stored = read_json(folder / "samples" / "diagnostics.json")
    assert set(stored["confusion"]) == {"handwritten->street", "street->handwritten"}
    metrics = read_json(folder / "metrics.json")
    assert "samples/diagnostics.json" in metrics["files"]
    table = np.array(stored["confusion"]["handwritten->street"])
    assert metrics["metrics"]["cross_coherence/handwritten->street/sample"] == np.trace(table) / table.sum()
    first, second = stored["latent"]["explained"]
    assert 0 <= second <= first <= 1
    for points in stored["latent"]["points"].values():
        assert len(points["x"]) == len(points["y"]) == len(points["label"]) > 100
        assert all(value == float(f"{value:.4g}") for value in points["x"])
    assert read_json(folder.parents[1] / "avae" / "seed-0" / "samples" / "diagnostics.json")["latent"] is None

    copy = shutil.copytree(finished.path, tmp_path / "results") / folder.relative_to(finished.path)
    assert set(stored["recall"]) == set(stored["confusion"])
    shown = read_json(folder / "samples" / "samples.json")
    assert len(shown["found"]) == 2
    assert invoke("evaluate", copy, "--metrics", "sampler").code == 0
    assert read_json(copy / "samples" / "diagnostics.json") == stored
    assert read_json(copy / "samples" / "samples.json") == shown  # what was found is kept too
