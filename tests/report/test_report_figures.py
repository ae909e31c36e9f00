"""Figures and the page of three modalities, of a model without a prior and of one trained in stages."""

import io
from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mmbench.report import write_report
from mmbench.report.numbers.further import build_all_tables
from mmbench.report.numbers.results import find_runs
from mmbench.report.pages.page import build_report
from mmbench.report.pictures import curves, figures
from mmbench.report.pictures.figures import cross_panel, draw_panels, joint_panel
from mmbench.storage.files import write_json
from mmbench.storage.samples import CrossSamples, SampleSet, save_samples

SHAPES = {"mnist": (1, 8, 8), "svhn": (3, 8, 8)}
WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
WHY = "Not defined: it has no prior."


def items(name, classes):
    """Of text the words of `classes`, each one place further right; else images as bright as their class."""
    if name not in SHAPES:
        return [(" " * (i % 3) + WORDS[k]).ljust(8) for i, k in enumerate(classes)]
    return np.broadcast_to(
        np.array(classes, np.uint8)[:, None, None, None] * 20, (len(classes), *SHAPES[name])
    ).copy()


def some_samples(names=("mnist", "svhn", "text"), joint=True):
    """64 joint draws, and 40 conditions in class order whose outputs have their class."""
    draws, conditions = np.arange(64) % 10, np.repeat(np.arange(10), 4)
    cross = [
        CrossSamples(a, b, conditions.tolist(), items(a, conditions), items(b, conditions))
        for a, b in permutations(names, 2)
    ]
    return SampleSet({name: items(name, draws) for name in names} if joint else {}, cross)


def strips(panel):
    return [strip for row in panel.rows for block in row for strip in block.strips]


def report_of(path):
    runs = find_runs(path)
    return build_report(runs, build_all_tables(runs))


def heads(panel):
    return [[block.head for block in row] for row in panel.rows]


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are drawn while a test runs, as matplotlib has them."""
    found, pixel = [], io.BytesIO()
    Image.new("RGB", (1, 1)).save(pixel, "PNG")

    def keep(figure, colours=0):
        found.append(figure)
        return pixel.getvalue()

    monkeypatch.setattr(figures, "to_png", keep)
    monkeypatch.setattr(curves, "to_png", keep)
    return found


# Panels


def test_joint_blocks_of_images_stand_side_by_side_over_the_texts():
    panel = joint_panel("joint", some_samples())
    assert heads(panel) == [["mnist", "svhn"], ["text"]]
    (text,) = panel.rows[1]
    assert text.width == panel.width == pytest.approx(2 * panel.rows[0][0].width + 0.6)
    assert {strip.columns for strip in strips(panel)} == {8}  # the same place in every block is the same draw
    assert text.strips[0].tiles == some_samples().joint["text"]


def test_directions_between_images_come_first_and_from_texts_last():
    panel = cross_panel("cross", some_samples())
    assert heads(panel) == [
        ["mnist → svhn", "svhn → mnist"],
        ["mnist → text", "svhn → text"],
        ["text → mnist", "text → svhn"],
    ]
    words = [word for strip in panel.rows[1][1].strips[1::2] for word in strip.tiles]
    assert [word.strip() for word in words] == WORDS  # each class once, outputs under their conditions
    images = np.concatenate([strip.tiles for strip in panel.rows[1][1].strips[::2]])
    assert (images[:, 0, 0, 0] // 20).tolist() == list(range(10))


@pytest.mark.parametrize("names", [("mnist", "svhn"), ("mnist", "svhn", "text")])
def test_two_panels_show_at_most_64_conditions_of_a_modality(names):
    shown = dict.fromkeys(names, 0)
    for row in cross_panel("cross", some_samples(names)).rows:
        for block in row:
            shown[block.head.split(" → ")[0]] += sum(len(strip.tiles) for strip in block.strips[::2])
    assert 10 <= shown["svhn"] <= 32
    assert shown["svhn"] == shown["mnist"]


def test_texts_are_printed_on_tiles_with_their_blanks(drawn):
    words = ["  one   ", "one     ", "o n e   ", "        ", "       e"]
    draw_panels([[joint_panel("joint", SampleSet({"text": words}, []))]], "caption")
    (axes,) = drawn[0].axes
    tiles, letters = (
        axes.patches,
        {text.get_text(): text for text in axes.texts if "DejaVu Sans Mono" in text.get_family()},
    )
    assert set(letters) == {"one", "o n e", "e", ""}
    assert len(tiles) == len(words)
    ones = sorted(text.get_position()[0] for text in axes.texts if text.get_text() == "one")
    tile = tiles[0].get_width()
    assert tile > 1.5
    in_first, in_second = (
        position - tiles[i].get_x() for i, position in zip((0, 1), sorted(ones), strict=True)
    )
    step = 7 / 72 * 0.602 / 0.23  # in units: a letter at 7 points
    assert in_first - in_second == pytest.approx(2 * step)  # two blanks before the word
    assert 0 < in_second < in_second + 8 * step < tile
    assert letters["e"].get_position()[0] - tiles[4].get_x() == pytest.approx(in_second + 7 * step)


def test_long_texts_are_smaller_and_then_cut(drawn):
    for length in (8, 13, 60):
        draw_panels([[joint_panel("joint", SampleSet({"text": ["x" * length] * 8}, []))]], "")
    found = [
        next(text for text in figure.axes[0].texts if text.get_text().startswith("xx")) for figure in drawn
    ]
    assert found[0].get_fontsize() > found[1].get_fontsize() > found[2].get_fontsize() == 4.5
    assert [text.get_text() for text in found[:2]] == ["x" * 8, "x" * 13]
    assert found[2].get_text().endswith("x…")
    assert len(found[2].get_text()) < 20


def test_an_empty_panel_keeps_its_place_beside_others_and_needs_none_alone():
    full, empty = some_samples(), some_samples(joint=False)
    assert not joint_panel("joint", empty).rows
    assert np.array_equal(cross_panel("", full).width, cross_panel("", empty).width)

    def size(*grid):
        return Image.open(io.BytesIO(draw_panels(grid, ""))).size

    one, two = size([cross_panel("", full)]), size([joint_panel("", full), cross_panel("", full)])
    assert size([joint_panel("", empty), cross_panel("", empty)]) == one
    assert (
        size(
            [joint_panel("", empty), joint_panel("", full)], [cross_panel("", empty), cross_panel("", full)]
        )[0]
        == two[0]
        > one[0]
    )


# Reports


def write_run(root, model, seed=0, joint=True, stages=("train",), label=None):
    """The folder of a finished run on three modalities."""
    folder = root / "toy" / "quick" / (f"{model}+{label}" if label else model) / f"seed-{seed}"
    folder.mkdir(parents=True)
    modalities = [{"name": name, "shape": list(shape), "symbols": ""} for name, shape in SHAPES.items()]
    modalities.append({"name": "text", "shape": [8, 27], "symbols": " abcdefghijklmnopqrstuvwxyz"})
    config = {
        "model": model,
        "title": model.upper(),
        "label": label,
        "settings": {},
        "dataset": "toy",
        "preset": "quick",
        "modalities": modalities,
        "data": {"notes": ["Texts repeat."]},
        "training": {"steps": 1000},
        "protocol": {"draws": 100, "sampler_components": 10, "sampler_images": 2000},
        "precision": "fp32",
        "hash": "0123456789abcdef",
        "seed": seed,
        "command": "mmbench run",
    }
    metrics = {"joint_coherence": 0.5 if joint else None, "fitted_coherence": 0.25}
    owner = {"hash": config["hash"], "seed": seed}
    results = owner | {
        "metrics": metrics,
        "reasons": {} if joint else {"joint_coherence": {"kind": "not defined", "why": "it has no prior."}},
        "references": {},
        "files": {},
    }
    for name, content in (("config", config), ("status", owner | {"state": "done"}), ("metrics", results)):
        write_json(folder / f"{name}.json", content)
    rows = []
    for i, stage in enumerate(stages):
        for step in range(50, 501, 50):
            rows.append(
                {
                    "step": 500 * i + step,
                    "stage": stage,
                    "learning_rate": 1e-3,
                    "loss": 1000.0**i / step,
                    f"own/{stage}": 1.0 * step,
                }
            )
    pd.DataFrame(rows).to_csv(folder / "history.csv", index=False)
    save_samples(folder / "samples", some_samples(joint=joint))
    return folder


def test_the_page_of_three_modalities(tmp_path):
    write_run(tmp_path, "mopoe")
    folder = write_run(tmp_path, "mdae", joint=False).parents[1]
    names = {path.name for path in write_report(tmp_path)}
    assert {
        "table1.md",
        "table1b.csv",
        "table1b.md",
        "table1b.tex",
        "figure3.png",
        "samples-mopoe.png",
        "samples-mdae.png",
    } < names
    page = (folder / "README.md").read_text(encoding="utf-8")
    for text in (
        "## Coherence of every direction",
        "Data: toy. Texts repeat.",
        "sampler components 10, sampler images 2,000",
        "(a) MOPOE: joint; (b) MOPOE: cross; (c) MDAE: cross.",
        f"MDAE has no joint draws. {WHY} CNF-MVAE has no finished run here: MDAE stands in its place.",
    ):
        assert text in page


def test_a_model_without_a_prior_stands_in_only_where_no_other_can(tmp_path):
    for model in ("mopoe", "mdae", "mvae"):
        write_run(tmp_path, model, joint=model != "mdae")
    page = report_of(tmp_path)["README.md"].decode()
    assert "CNF-MVAE has no finished run here: MVAE stands in its place." in page
    for text in (f"MDAE has no joint draws. {WHY}", "(b) MDAE"):
        assert text not in page


def test_figure_3_shows_the_models_themselves_before_their_variants(tmp_path):
    for model, label in (("mopoe", "a"), ("mopoe", None), ("mvae", "a"), ("mvae", None), ("cada-vae", "a")):
        write_run(tmp_path, model, label=label)
    page = report_of(tmp_path)["README.md"].decode()
    assert "(a) MOPOE: joint; (b) MVAE: joint; (c) MOPOE: cross; (d) MVAE: cross." in page
    write_run(tmp_path, "cnf-mvae", label="a")
    page = report_of(tmp_path)["README.md"].decode()
    assert "(a) MOPOE: joint; (b) CNF-MVAE (a): joint;" in page


def test_a_model_without_a_prior_says_so_under_its_samples(tmp_path, drawn):
    write_run(tmp_path, "mdae", joint=False)
    report_of(tmp_path)
    alone = drawn[1]  # after figure 3
    written = [text.get_text() for text in alone.axes[0].texts]
    assert "MDAE: cross" in written
    assert "MDAE: joint" not in written
    assert WHY in " ".join(written)
    assert "same prior draw" not in " ".join(written)


def test_the_losses_of_two_stages_are_two_curves(tmp_path, drawn):
    for seed in (0, 1):
        write_run(tmp_path, "avae", seed, stages=("vaes", "associators"))
    write_run(tmp_path, "mopoe")
    report_of(tmp_path)
    # that of all models; there is one of each model too
    figure = max(drawn, key=lambda drawing: len(drawing.axes))
    plots = {axes.get_title(): axes for axes in figure.axes}
    assert list(plots) == [
        "loss",
        "own/train",
        "loss, vaes",
        "loss, associators",
        "own/vaes",
        "own/associators",
    ]  # MoPoE is the first in the paper
    for stage, begin, end in (("vaes", 0, 500), ("associators", 500, 1000)):
        axes = plots[f"loss, {stage}"]
        *lines, boundary = axes.get_lines()
        assert len(lines) == 2  # seeds
        for line in lines:
            assert begin < min(line.get_xdata()) < max(line.get_xdata()) == end
        assert set(boundary.get_xdata()) == {500}
        high = 1000.0 ** (begin // 500) / 50
        assert high / 10 < axes.get_ylim()[1] < 1.2 * high  # neither stage squeezes the other's scale
        assert axes.get_xlim() == (0, 1020)
    assert len(plots["loss"].get_lines()) == 1
    assert "Dotted: the next stage of training begins." in " ".join(text.get_text() for text in figure.texts)
