"""Runs on other people's data: any number of classes, classes that lack items, what is refused."""

import json
from collections.abc import Iterable

import pytest
import torch
from options import SMALL

from mmbench.data.splits import Images, assemble
from models.base import Modality

A, B = Modality("a", (1, 8, 8)), Modality("b", (3, 8, 8))
GROUPS = "coherence,fd_clf,probe,sampler,clustering,prdc,kid,diversity,reconstruction,log_likelihood"


def part(modality: Modality, labels: Iterable[int]) -> Images:
    """Noisy images of a picture per class."""
    numbers = torch.tensor(list(labels))
    generator = torch.Generator().manual_seed(len(numbers))
    pictures = torch.rand(300, *modality.shape, generator=torch.Generator().manual_seed(1))
    noise = torch.rand(len(numbers), *modality.shape, generator=generator)
    return Images((200 * pictures[numbers] + 55 * noise).to(torch.uint8), numbers)


def each(classes: Iterable[int], count: int) -> list[int]:
    return [label for label in classes for _ in range(count)]


@pytest.fixture
def make_run(register, invoke, tmp_path):
    """Run MVAE on a data set with these labels; returns what was said, and the run's folder."""

    def make(train, test, classes=(), modalities=(A, B), change=lambda images: images, metrics=GROUPS):
        def load(folder, settings):
            parts = {m.name: (change(part(m, train)), part(m, test)) for m in modalities}
            return assemble("case", modalities, parts, settings, classes=classes)

        register(load)
        words = ("--dataset", "case", "--preset", "smoke", "--device", "cpu", "--precision", "fp32")
        chosen = ("--models", "mvae", "--metrics", metrics, "--jobs", "1", *SMALL, "--set", "batch_size=8")
        found = invoke("run", *words, *chosen, "--results", tmp_path)
        return found, tmp_path / "case" / "smoke" / "mvae" / "seed-0"

    return make


def read(folder, file):
    return json.loads((folder / file).read_text(encoding="utf-8"))


@pytest.mark.parametrize("count", [2, 12, 300])
def test_any_number_of_classes(count, make_run):
    labels = each(range(count), 4), each(range(count), 2)
    found, folder = make_run(*labels, metrics="coherence,fd_clf,probe,clustering")
    assert found.code == 0, found.text
    assert read(folder, "config.json")["classes"] == list(map(str, range(count)))
    confusion = read(folder, "samples/diagnostics.json")["confusion"]
    assert [[len(rows), *set(map(len, rows))] for rows in confusion.values()] == [[count, count]] * 2
    assert [sum(row) for row in confusion["a->b"]] == [2] * count
    metrics = read(folder, "metrics.json")["metrics"]
    assert metrics["cluster_accuracy/a"] > 0.7
    assert metrics["probe/a"] > 0.1
    (cross, _) = read(folder, "samples/samples.json")["cross"]
    assert len(cross["labels"]) == 2 * min(count, 100)
    page = (folder.parents[1] / "report.html").read_text(encoding="utf-8")
    assert page.count('<div class="grids"') == min(count, 100)
    assert f"for {count} classes" in (folder.parents[1] / "table1.md").read_text(encoding="utf-8")


def test_the_report_calls_classes_by_their_names(make_run):
    names = ("cat & <b>dog</b>", "$cow$", "owl")
    found, folder = make_run(each(range(3), 6), each(range(3), 3), classes=names)
    assert found.code == 0, found.text
    config = read(folder, "config.json")
    assert config["classes"] == config["data"]["classes"] == list(names)
    page = (folder.parents[1] / "report.html").read_text(encoding="utf-8")
    for said in ("<h4>Class owl</h4>", "Class cat &amp; &lt;b&gt;dog&lt;/b&gt;", "owl: ", "(0 cat &amp;"):
        assert said in page
    assert "digit" not in page
    assert "<b>dog" not in page


@pytest.mark.parametrize(
    ("train", "test", "missing"),
    [
        (each(range(5), 6), each((0, 1, 3), 3), set()),
        (each(range(4), 6), each(range(5), 3), set()),
        (each(range(3), 6), [0, 0, 0, 1, 1, 2], set()),
        (each(range(2), 6), [0, 1], {"cluster_accuracy/a", "precision/a"}),
        (each(range(2), 6), [1, 1], {"cluster_accuracy/a", "precision/a"}),
    ],
    ids=["no test item", "no train item", "one test item", "two test items in all", "of one class"],
)
def test_classes_that_lack_items(train, test, missing, make_run):
    found, folder = make_run(train, test)
    assert found.code == 0, found.text
    metrics = read(folder, "metrics.json")["metrics"]
    assert {name for name, value in metrics.items() if value is None and name in missing} == missing
    assert 0 <= metrics["cross_coherence/a->b/sample"] <= 1
    confusion = read(folder, "samples/diagnostics.json")["confusion"]["a->b"]
    assert [sum(row) for row in confusion] == [test.count(label) for label in range(max(train + test) + 1)]
    report = (folder.parents[1] / "table1.md").read_text(encoding="utf-8")
    assert ("trained on no item of it" in report) == (4 in test)


def as_floats(images):
    return Images(images.items.float(), images.labels)


def as_bytes(images):
    return Images(images.items, images.labels.to(torch.uint8))


@pytest.mark.parametrize(
    ("case", "sentence"),
    [
        ({"modalities": (A, Modality("b", (16,)))}, "the modality 'b' has the shape (16,): expected images"),
        ({"change": as_floats}, "the items of a, train part, are float32 (40, 1, 8, 8): expected uint8"),
        ({"modalities": (A,)}, "it has one modality, a: expected at least two."),
        ({"modalities": (A, A)}, "more than one modality is called 'a'"),
        ({"test": [1]}, "the items of a, test part, are uint8 (1, 1, 8, 8): expected (N, 1, 8, 8)"),
        (
            {"train": each(range(1, 11), 4), "test": each(range(1, 11), 2)},
            "the labels go from 1 to 10, and no item is of class 0: expected all of 0 to 10",
        ),
    ],
    ids=["vector", "floats", "one modality", "one name", "one test item", "labels from 1"],
)
def test_what_cannot_be_run_is_refused_before_any_work(case, sentence, make_run):
    found, folder = make_run(**{"train": each(range(10), 4), "test": each(range(10), 2)} | case)
    assert found.code == 2
    assert f"The data set 'case' cannot be used: {sentence}" in " ".join(found.text.split())
    assert not folder.exists()


def test_labels_of_another_type_are_taken_as_they_are(make_run):
    found, folder = make_run(each(range(10), 4), each(range(10), 2), change=as_bytes)
    assert found.code == 0, found.text
    assert read(folder, "metrics.json")["metrics"]["probe/a"] > 0.3
