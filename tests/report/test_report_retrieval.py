"""Retrieval in reports: table 4, precision over recall, and what queries find first."""

import csv
import io
import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from written_runs import BLUE, edit, flat, some_samples, write_run

from mmbench.report import write_report
from mmbench.report.numbers.further import build_all_tables
from mmbench.report.numbers.leaderboard import build_leaderboard
from mmbench.report.numbers.results import find_runs
from mmbench.report.pictures import canvas
from mmbench.report.pictures.charts import draw_charts
from mmbench.report.pictures.retrieval import draw_found
from mmbench.storage.diagnostics import StoredDiagnostics, load_diagnostics, save_diagnostics
from mmbench.storage.files import DamagedError, read_json, write_json
from mmbench.storage.samples import FoundSamples, SampleSet, load_samples, save_samples
from models.errors import InputError

DIRECTIONS = ("mnist->svhn", "svhn->mnist")
NOTHING = {"kind": "not defined", "why": "CLIP embeds modalities in one space and generates nothing."}


def found_samples(source="mnist", target="svhn"):
    """Two queries, of class 0 and 1, with three hits each, of which one and two are right."""
    queries, hits = flat(2, source, (64, 64, 64)), flat(6, target, BLUE)
    return FoundSamples(source, target, [0, 1], [0, 2, 3, 1, 1, 0], queries, hits)


def write_retrieval(root, model, seed=0, value=0.5, generates=True):
    """A run with retrieval; one that generates nothing has no samples of its own."""
    folder = write_run(root, model, seed)
    metrics = {"label_map_mean": value, "label_map_chance": 0.1, "label_map_judge": 0.9}
    for direction in DIRECTIONS:
        metrics |= {f"label_map/{direction}": value, f"hit_at_1/{direction}": value / 2}
        metrics |= {f"hit_at_{count}/{direction}": value + count / 100 for count in (5, 10)}
    metrics |= {"probe/mnist": 0.8, "probe/svhn": 0.7}
    reasons = {}
    if not generates:
        metrics["joint_coherence"] = None
        reasons = {"joint_coherence": NOTHING}
    edit(folder / "metrics.json", metrics=metrics, reasons=reasons)
    base = some_samples() if generates else SampleSet({}, [])
    found = [found_samples(), found_samples("svhn", "mnist")]
    save_samples(folder / "samples", SampleSet(base.joint, base.cross, found))
    curve = np.linspace(1, value, 21)
    save_diagnostics(folder, StoredDiagnostics({}, {}, (), dict.fromkeys(DIRECTIONS, curve)), False)
    return folder


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    root = tmp_path_factory.mktemp("results")
    for seed in (0, 1):
        write_retrieval(root, "mopoe", seed, 0.4 + 0.02 * seed)
    folder = write_retrieval(root, "clip", generates=False).parents[1]
    write_report(root)
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_the_table(report):
    table = report["table4.md"].decode()
    heads = "| Model | Seeds | mAP M→S | mAP S→M | mAP mean | mAP chance | mAP judge | Hit@1 M→S |"
    assert heads in table
    assert "| MOPOE | 2 | 41.00 ± 1.41 | 41.00 ± 1.41 | 41.00 ± 1.41 | 10.00 ± 0.00 | 90.00 ± 0.00 |" in table
    assert "| CLIP | 1 | **50.00** | **50.00** | **50.00** | 10.00 | 90.00 | **25.00** |" in table
    assert "there is no single right item to recall" in table
    rows = list(csv.DictReader(io.StringIO(report["table4.csv"].decode())))
    values = {(row["model"], row["metric"]): row["mean"] for row in rows}
    assert float(values["clip", "hit_at_10/svhn->mnist"]) == pytest.approx(0.6)
    assert float(values["clip", "probe/svhn"]) == 0.7
    assert "Hit@10" in report["table4.tex"].decode()
    assert "## Retrieval" in report["README.md"].decode()


def test_generative_cells_of_a_model_that_generates_nothing(report):
    table = report["table1.md"].decode()
    assert "| CLIP | 1 | not defined<sup>" in table
    assert f"Not defined: {NOTHING['why']}" in table


def test_the_probe_stays_in_table_3(report):
    found = json.loads(report["results.json"])
    assert found["metrics"]["probe/mnist"]["table"] == "3"
    assert found["metrics"]["label_map_mean"]["table"] == "4"


def test_without_retrieval_there_is_no_table_4(tmp_path):
    write_run(tmp_path, "mopoe")
    assert not {path.name for path in write_report(tmp_path)} & {"table4.md", "found-mopoe.png"}


def test_pictures_are_on_both_pages(report):
    page = report["pictures.md"].decode()
    for name in ("precision-over-recall-mnist-svhn.png", "found-clip.png", "found-mopoe.png"):
        assert name in page
        assert name in report
    html = report["report.html"].decode()
    assert "Precision over recall mnist → svhn, interpolated. " in html
    assert "CLIP: 75.0 % at half of the items" in html
    assert "MOPOE: 70.5 % at half of the items" in html  # the mean of two seeds
    assert html.count("Queries of ") == 2


def test_two_models_of_one_title_are_drawn_apart(tmp_path):
    for model in ("mopoe", "own"):
        folder = write_retrieval(tmp_path, model)
        edit(folder / "config.json", title="Same")
        history = pd.read_csv(folder / "history.csv").assign(**{"validation/joint_coherence": 0.5})
        history.to_csv(folder / "history.csv", index=False)
    runs = find_runs(tmp_path)
    models = [[run] for run in runs]
    charts = draw_charts(models, build_leaderboard(build_all_tables(runs), models))
    assert charts.recall[0].alt.count("Same: ") == 2
    assert charts.learning[0].alt.count("Same ends at ") == 2


def test_what_is_wrong_is_marked(monkeypatch):
    """A red frame around three of six hits: rows of red pixels at their upper edges alone."""
    monkeypatch.setitem(canvas._STYLE, "figure.dpi", 150)
    picture = np.asarray(Image.open(io.BytesIO(draw_found("CLIP", [found_samples()], "c."))).convert("RGB"))
    red = (picture[..., 0] > 150) & (picture[..., 1] < 60) & (picture[..., 2] < 80)
    unit, left, top = 0.42 * 150, 0.4 + 1.5, 0.4 + 0.7
    marked = []
    for row in range(2):
        for column in range(3):
            y, x = round((top + row) * unit), round((left + column) * unit)
            marked.append(bool(red[y : y + round(unit), x : x + round(unit)].any()))
    assert marked == [False, True, True, False, False, True]


def test_texts_can_be_found():
    found = FoundSamples("mnist", "text", [0], [0, 1], flat(1, "mnist", (9,)), ["zero ", " one "])
    assert draw_found("CLIP", [found], "A caption.").startswith(b"\x89PNG")


def test_found_samples_survive_the_disk(tmp_path):
    folder = write_retrieval(tmp_path, "clip")
    back = load_samples(folder / "samples").found
    assert [(f.source, f.target, f.labels, f.classes, f.depth) for f in back] == [
        ("mnist", "svhn", [0, 1], [0, 2, 3, 1, 1, 0], 3),
        ("svhn", "mnist", [0, 1], [0, 2, 3, 1, 1, 0], 3),
    ]
    assert np.array_equal(back[0].hits, flat(6, "svhn", BLUE))
    assert load_diagnostics(folder).recall["mnist->svhn"][-1] == 0.5


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"labels": [0, 1, 2]}, "do not belong together"),
        ({"classes": [0, 1]}, "do not belong together"),
        ({"labels": []}, "do not belong together"),
        ({"classes": ["a"]}, "is no index of sample sheets"),
        ({"queries": 3}, "is no index of sample sheets"),
    ],
)
def test_damaged_found_samples_are_named(tmp_path, change, error):
    folder = write_retrieval(tmp_path, "clip") / "samples"
    index = read_json(folder / "samples.json")
    index["found"][0] |= change
    write_json(folder / "samples.json", index)
    with pytest.raises((InputError, DamagedError), match=error):
        load_samples(folder)
