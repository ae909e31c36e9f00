"""The page of a report as text: what is best, nothing from outside becomes markup, it needs only itself."""

import re
from configparser import ConfigParser
from dataclasses import replace
from html.parser import HTMLParser
from itertools import combinations, groupby, pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from report_setup import EVIL, copy_runs, some_diagnostics
from scipy import stats

from mmbench.report import write_report
from mmbench.report.numbers.leaderboard import LEVEL, build_leaderboard
from mmbench.report.numbers.results import find_runs
from mmbench.report.numbers.tables import build_tables
from mmbench.report.pictures.canvas import Picture, looks
from mmbench.report.pictures.confusions import draw_confusions
from mmbench.report.pictures.curves import draw_curves
from mmbench.report.pictures.grids import cross_grids
from mmbench.report.pictures.latents import draw_latents
from mmbench.storage.diagnostics import StoredDiagnostics, load_diagnostics, save_diagnostics
from mmbench.storage.files import write_json
from mmbench.storage.samples import CrossSamples, SampleSet
from models.errors import InputError


class Reader(HTMLParser):
    """The elements of a page in order, as (tag, attributes), and its text outside of scripts and styles."""

    def __init__(self, page):
        super().__init__()
        self.found, self.text, self.skipped = [], "", False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        self.skipped = tag in ("script", "style")

    def handle_endtag(self, tag):
        self.skipped = False

    def handle_data(self, data):
        self.text += "" if self.skipped else data

    def all(self, *tags):
        return [attributes for tag, attributes in self.found if tag in tags]


def read(folder):
    page = (folder / "report.html").read_text(encoding="utf-8")
    return page, Reader(page)


def board_of(root):
    runs = find_runs(root)
    models = [list(group) for _, group in groupby(runs, key=lambda run: (run.model, run.label))]
    return build_leaderboard(build_tables(runs), models)


@pytest.fixture(scope="module")
def made(report_folder):
    return report_folder, *read(report_folder)


# Which is best


def test_the_best_and_what_is_not_significantly_worse(tmp_path):
    copy_runs(tmp_path, models=4, seeds=5, diagnostics=False)
    board = board_of(tmp_path)
    assert board.tested
    checked = set()
    for place, column in enumerate(board.columns):
        entries = [line.entries[place] for line in board.lines]
        if not column.better:
            assert not any(entry.cell.best or entry.level for entry in entries)
            continue
        sign = 1 if column.better == "higher" else -1
        means = [sign * column.shown(np.mean(list(entry.cell.values.values()))) for entry in entries]
        best = entries[int(np.argmax(means))]
        for entry, mean in zip(entries, means, strict=True):
            assert entry.cell.best == (mean == max(means))
            p = stats.ttest_ind(
                list(entry.cell.values.values()), list(best.cell.values.values()), equal_var=False
            ).pvalue
            assert entry.level == (not entry.cell.best and p > LEVEL)
            checked.add((entry.cell.best, entry.level))
    assert checked == {(True, False), (False, True), (False, False)}


def test_one_seed_tests_nothing(tmp_path):
    folder = copy_runs(tmp_path, models=2, diagnostics=False)
    board = board_of(tmp_path)
    assert not board.tested
    assert not any(entry.level for line in board.lines for entry in line.entries)
    write_report(tmp_path)
    text = read(folder)[1].text
    assert "Every figure rests on one seed" in text
    assert "0 (one seed)" in text
    assert "Welch" not in text
    assert "★" in text
    assert "so the spread between seeds is unknown" in text


def test_columns_that_nobody_fills_are_left_out_with_the_reason(made):
    _, page, reader = made
    assert (
        "Left out, since no run has a value: FID handwritten, FID street (not computed in this run;"
        in reader.text
    )
    assert 'FID handwritten&nbsp;<span aria-hidden="true">' not in page


def test_the_figures_of_the_paper_stand_beside_ours(paper_folder):
    page, reader = read(paper_folder)
    assert "paper 33.45, Δ \N{MINUS SIGN}3.92" in page  # seed 0 of table1.csv of the published runs
    assert "paper 50.76" in page  # FID, which the run has not
    assert "The preset cpu is not the paper's budget" in reader.text


# The page


def test_the_attack_is_text(made):
    _, page, reader = made
    assert "<script>alert" not in page
    assert page.count("<script>") == page.count("</script>") == 1
    assert reader.text.count(EVIL) > 5
    assert all(EVIL in attributes["alt"] for attributes in reader.all("img") if "alert" in attributes["alt"])


def test_the_page_needs_nothing_but_itself(made):
    _, page, reader = made
    used = [
        value
        for attributes in reader.all("img", "link", "script", "a", "iframe", "source")
        for name in ("src", "href")
        if (value := attributes.get(name))
    ]
    assert used
    assert [value for value in used if not value.startswith(("data:image/webp;base64,", "data:,", "#"))] == []
    assert "url(" not in page
    assert "@import" not in page
    policy = next(attributes["content"] for attributes in reader.all("meta") if attributes.get("http-equiv"))
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "unsafe" not in policy


def test_links_lead_somewhere_and_names_are_given(made):
    _, _, reader = made
    ids = [attributes["id"] for _, attributes in reader.found if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {attributes["href"][1:] for attributes in reader.all("a")} <= set(ids)
    assert all(attributes["alt"] for attributes in reader.all("img"))
    assert {attributes.get("scope") for attributes in reader.all("th")} == {"col", "colgroup", "row"}
    levels = [int(tag[1]) for tag, _ in reader.found if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(later - earlier <= 1 for earlier, later in pairwise(levels))


def test_everything_is_on_the_page(made):
    folder, page, reader = made
    text = " ".join(reader.text.split())
    for part in (
        f"3: Model 0, {EVIL}, Model 2",
        "steps 1,400, batch size 256",
        "5 done, 1 failed",
        "1 run failed: Model 2, seed 1.",
        f"The loss became nan in {EVIL}.",
        "p > 0.05 in Welch's two-sided t-test",
        "Rests on 1 of 2 seeds",
        "Latent space",
        "Confusions of cross generation",
        "Learning curves",
        "Judges' accuracy",
    ):
        assert part in text
    assert len(page.encode()) < 5 * 2**20
    alts = " ".join(attributes["alt"] for attributes in reader.all("img"))
    for part in (
        "Joint coherence against FD-clf street",
        "of every seed",
        "on validation data",
        "joint draws of street",
        "each drawn as the number of its class",
        "0: ",
    ):
        assert part in alts
    assert "report.html" in (folder / "README.md").read_text(encoding="utf-8")


def test_a_page_of_nothing_finished(tmp_path):
    folder = copy_runs(tmp_path, models=1, failed=[(0, 0)], diagnostics=False)
    write_report(tmp_path)
    page, reader = read(folder)
    assert "No run is done yet" in reader.text
    assert '<h2 id="samples">' not in page


def test_the_package_holds_the_templates():
    root = Path(__file__).parents[2]
    setup = ConfigParser()
    setup.read(root / "setup.cfg")
    patterns = setup["options.package_data"]["mmbench.report.pages"].split()
    held = {path for pattern in patterns for path in (root / "mmbench" / "report" / "pages").glob(pattern)}
    assert {
        path for path in (root / "mmbench" / "report" / "pages" / "templates").iterdir() if path.is_file()
    } <= held


# Pictures


def test_conditions_stand_above_what_was_made_of_them(made):
    runs = find_runs(made[0])
    images = np.arange(6, dtype=np.uint8)[:, None, None, None] * np.ones((6, 1, 4, 4), np.uint8) * 40
    texts = [f"word {i}" for i in range(6)]
    samples = SampleSet({}, [CrossSamples("a", "b", [0, 0, 0, 1, 1, 1], images, texts)])
    other = SampleSet({}, [CrossSamples("a", "b", [0, 0, 0, 1, 1, 1], images[::-1], texts)])
    grids, strangers = cross_grids([(runs[0], samples), (runs[2], samples), (runs[4], other)])
    assert [grid.name for grid in grids] == ["0", "1"]
    of_names = replace(runs[0], config=runs[0].config | {"classes": ["shoe", "shirt"]})
    named, _ = cross_grids([(of_names, samples)])
    assert [grid.name for grid in named] == ["shoe", "shirt"]
    assert named[1].directions[0].conditions.alt == "Conditions: a of the class shirt"
    way = grids[1].directions[0]
    assert way.conditions.size == (4 * 6, 6)
    assert [(sheet.name, sheet.owner, sheet.texts) for sheet in way.outputs] == [
        ("Model 0", "model-0", ("word 3", "word 4", "word 5")),
        (EVIL, "model-1", ("word 3", "word 4", "word 5")),
    ]
    assert strangers == ["Model 2"]


def test_the_charts_are_files_too_for_readers_of_the_markdown(made):
    """The same pictures, under the titles that the page gives them."""
    folder, page, _ = made
    text = (folder / "pictures.md").read_text(encoding="utf-8")
    for heading, count in (("## Coherence against quality", 2), ("## Learning curves", 1)):
        part = text.partition(heading)[2].partition("\n## ")[0]
        names = re.findall(r"\]\(([a-z0-9-]+\.png)\)", part)
        assert len(names) >= count
        for name in names:
            assert Picture("", (folder / name).read_bytes(), "", (0, 0)).source in page
    assert (folder / "joint-coherence-against-fd-clf-street.png").exists()


def test_looks_at_validation_data_are_no_terms_of_the_loss(made):
    runs = find_runs(made[0])[:1]
    history = pd.read_csv(runs[0].folder / "history.csv")
    assert "validation/joint_coherence" in history
    before = draw_curves([runs], "")
    history.drop(columns="validation/joint_coherence").to_csv(runs[0].folder / "history.csv", index=False)
    try:
        assert draw_curves([runs], "") == before
    finally:
        history.to_csv(runs[0].folder / "history.csv", index=False)


@pytest.mark.parametrize(
    "change",
    [
        {"confusion": {"a->b": [[1, 2]]}},
        {"confusion": None},
        {"latent": {"explained": [1.0], "points": {"a": {"x": [1], "y": [1], "label": [1]}}}},
    ],
)
def test_damaged_diagnostics_are_named(tmp_path, change):
    path = tmp_path / "samples" / "diagnostics.json"
    write_json(path, some_diagnostics(np.random.default_rng(0)) | change)
    with pytest.raises(InputError, match="diagnostics"):
        load_diagnostics(tmp_path)
    path.unlink()
    assert load_diagnostics(tmp_path) is None


def found_of(classes):
    """Diagnostics of so many classes, two items each."""
    points = np.column_stack([np.arange(2.0 * classes), np.ones(2 * classes), np.repeat(range(classes), 2)])
    return StoredDiagnostics({"a->b": np.eye(classes, dtype=int)}, {"a": points}, (0.7, 0.3))


def test_diagnostics_are_read_as_they_were_stored_and_added_to(tmp_path):
    save_diagnostics(tmp_path, found_of(3), keep=False)
    other = StoredDiagnostics({"b->a": np.full((3, 3), 7)}, {}, ())
    save_diagnostics(tmp_path, other, keep=True)
    found = load_diagnostics(tmp_path)
    np.testing.assert_array_equal(found.confusion["a->b"], np.eye(3))
    np.testing.assert_array_equal(found.confusion["b->a"], np.full((3, 3), 7))
    np.testing.assert_array_equal(found.points["a"], found_of(3).points["a"])
    assert (found.explained, found.classes) == ((0.7, 0.3), 3)
    save_diagnostics(tmp_path, other, keep=False)
    assert load_diagnostics(tmp_path).points == {}


@pytest.mark.parametrize("classes", [2, 3, 10, 43])
def test_pictures_are_of_as_many_classes_as_there_are(classes):
    (picture,) = draw_confusions("Model", found_of(classes))
    assert "share of conditions of each class whose output is of that class." in picture.alt
    assert picture.alt.count(": 100 %") == classes
    by_class, _ = draw_latents("Model", found_of(classes), tuple(map(str, range(classes))))
    assert by_class.title == "Model: by class"


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (["shoe", "shirt", "a bag of $whatever$"], ["shoe", "shirt", "a bag of $whatever$"]),
        (["shoe"], ["shoe", "1", "2"]),  # a stranger's run may have too few
        (["shoe", "shirt", "bag", "sock"], ["shoe", "shirt", "bag"]),  # or too many
    ],
)
def test_pictures_give_classes_their_names(names, shown):
    (picture,) = draw_confusions("Model", found_of(3), names)
    said = ", ".join(f"{name}: 100 %" for name in shown)
    assert picture.alt.endswith(f"each class whose output is of that class. {said}.")
    by_class, _ = draw_latents("Model", found_of(3), names)
    assert by_class.title == f"Model: by class (0 {shown[0]}, 1 {shown[1]}, 2 {shown[2]})"


@pytest.mark.parametrize("count", [3, 12, 300])
def test_names_of_classes_stand_beside_the_map_and_inside_the_picture(count, monkeypatch):
    """Whatever their length: the columns' names stand upright where they are wider than a column."""
    drawn = []
    monkeypatch.setattr(
        "mmbench.report.pictures.confusions.figure_png", lambda figure, title, alt: drawn.append(figure)
    )
    draw_confusions("Model", found_of(count), [f"class of name {number}" for number in range(count)])
    (figure,), (axes,) = drawn, drawn[0].axes
    figure.canvas.draw()
    labels = [*axes.get_xticklabels(), *axes.get_yticklabels()]
    boxes = [label.get_window_extent() for label in labels]
    width, height = figure.canvas.get_width_height()
    assert all(box.x0 >= 0 and box.x1 <= width and box.y0 >= 0 and box.y1 <= height for box in boxes)
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))
    assert len(labels) == 2 * min(count, 20)
    map_left, map_bottom = axes.get_window_extent().min
    assert all(box.x1 < map_left or box.y1 < map_bottom for box in boxes)


def test_twenty_series_look_different():
    found = looks(20)
    assert len(set(found)) == 20
    assert len({(look.colour, look.line) for look in found}) == 20  # lines are told apart without markers too
