"""Runs on disk, sheets of samples, and the report built from them."""

import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image
from written_runs import BLUE, GREEN, RED, edit, some_samples, write_run

import mmbench
from mmbench.report import write_report
from mmbench.report.numbers.results import find_runs
from mmbench.storage.locks import locked
from mmbench.storage.samples import SampleSet, save_samples
from models.errors import InputError

EVIL = "<script>alert(1)</script>&_%$"
EVIL_MARKDOWN = r"&lt;script&gt;alert(1)&lt;/script&gt;&amp;\_%\$"


# Results


def test_load_results_is_tidy_from_any_folder(tmp_path):
    folder = write_run(tmp_path, "mopoe", 0, value=0.25)
    write_run(tmp_path, "mopoe", 1, value=0.5)
    write_run(tmp_path, "mopoe", 0, label="wide", value=0.75, hash="f" * 16)
    write_run(tmp_path, "mmvae", 0, state="failed")
    results = mmbench.load_results(tmp_path)
    assert list(results) == [
        "dataset",
        "preset",
        "model",
        "title",
        "label",
        "seed",
        "state",
        "hash",
        "metric",
        "value",
        "reason",
        "path",
    ]
    joint = results[results["metric"] == "joint_coherence"]
    assert joint.set_index(["model", "label", "seed"])["value"].to_dict() == {
        ("mopoe", "", 0): 0.25,
        ("mopoe", "", 1): 0.5,
        ("mopoe", "wide", 0): 0.75,
    }
    fid = results[(results["metric"] == "fid/mnist") & (results["label"] == "wide")].iloc[0]
    assert np.isnan(fid["value"])
    assert fid["reason"] == "no weights"
    assert (results["metric"] == "judge/mnist").sum() == 3
    failed = results[results["model"] == "mmvae"]
    assert len(failed) == 1
    assert failed.iloc[0]["state"] == "failed"
    assert np.isnan(failed.iloc[0]["value"])
    for path, count in (
        (tmp_path / "mnist-svhn", 10),
        (folder.parents[1], 10),
        (folder.parent, 6),
        (folder, 3),
        (str(folder), 3),
    ):
        assert len(mmbench.load_results(path)) == count


def test_a_run_without_status_is_pending(tmp_path):
    folder = write_run(tmp_path, "mopoe")
    (folder / "status.json").unlink()
    assert [run.state for run in find_runs(tmp_path)] == ["pending"]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("absent", "does not exist"),
        ("file", "is a file"),
        ("void", "is empty"),
        ("alien", "holds no run"),
        ("alien/config.json", "is a file"),
    ],
)
def test_paths_without_runs_are_refused(tmp_path, path, message):
    (tmp_path / "void").mkdir()
    (tmp_path / "alien").mkdir()
    (tmp_path / "alien" / "config.json").write_text("{}")
    (tmp_path / "file").write_text("")
    for use in (mmbench.load_results, write_report):
        with pytest.raises(InputError, match=message) as caught:
            use(tmp_path / path)
        assert str(tmp_path / path) in str(caught.value)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.json", '{"model":', "cannot be read as JSON"),
        ("config.json", "\udcff", "cannot be read as JSON"),
        ("config.json", "[]", "should hold a JSON object, not list"),
        ("config.json", {"seed": "0"}, "'seed' is '0', expected a whole number from 0"),
        ("config.json", {"modalities": ["mnist"]}, "is 'mnist', expected an object"),
        ("status.json", "null", "should hold a JSON object"),
        (
            "status.json",
            {"state": "dead"},
            "'state' is 'dead', expected one of pending, running, done, failed",
        ),
        ("metrics.json", None, "is missing"),
        ("metrics.json", {"hash": "f" * 16}, "belongs to another configuration"),
        (
            "metrics.json",
            {"metrics": {"joint_coherence": "high"}},
            "'metrics.joint_coherence' is 'high', expected a number",
        ),
        (
            "metrics.json",
            {"metrics": {"joint_coherence": True}},
            "'metrics.joint_coherence' is True, expected a number",
        ),
        ("metrics.json", '{"metrics": {"joint_coherence": NaN}}', "Out of range float values"),
        (
            "metrics.json",
            {"references": None},
            "is no list of metrics .'references' is None, expected an object",
        ),
    ],
)
def test_damaged_files_are_named(tmp_path, file, content, message):
    path = write_run(tmp_path, "mopoe") / file
    if isinstance(content, dict):
        edit(path, **content)
    elif content is None:
        path.unlink()
    else:
        path.write_text(content, encoding="utf-8", errors="surrogateescape")
    for use in (mmbench.load_results, write_report):
        with pytest.raises(InputError, match=message) as caught:
            use(tmp_path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("table1.csv"))


def test_runs_of_different_settings_are_never_averaged(tmp_path):
    write_run(tmp_path, "mopoe", 0)
    write_run(tmp_path, "mopoe", 1, hash="f" * 16)
    with pytest.raises(InputError, match=r"seed-0 and .*seed-1 have different settings .*--label"):
        mmbench.load_results(tmp_path)


def test_a_seed_counts_once(tmp_path):
    folder = write_run(tmp_path, "mopoe", 0)
    folder.parent.rename(folder.parent.with_name("copy"))
    write_run(tmp_path, "mopoe", 0)
    with pytest.raises(InputError, match="have the same model and seed 0"):
        mmbench.load_results(tmp_path)


# Report


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A results folder with its report: MoPoE, a failed MMVAE, and a model whose name is an attack."""
    root = tmp_path_factory.mktemp("results")
    write_run(root, "mopoe", 0, title="MoPoE", value=0.3)
    write_run(root, "mopoe", 1, title="MoPoE", value=0.5)
    write_run(root, "mmvae", 0, "failed")
    evil = write_run(root, "evil", title=EVIL, hash="e" * 16)
    edit(evil / "config.json", label=EVIL)
    written = write_report(root)
    return root / "mnist-svhn" / "quick", written


def test_everything_is_written(report):
    folder, written = report
    tables = {f"table{number}.{suffix}" for number in (1, 2, 3) for suffix in ("csv", "md", "tex")}
    figures = {"figure3.png", "samples-mopoe.png", "samples-evil.png", "training.png"}
    assert {path.name for path in written} == tables | figures | {
        "README.md",
        "pictures.md",
        "report.html",
        "results.json",
        ".written.json",
    }
    assert {path.parent for path in written} == {folder}
    for name in figures:
        with Image.open(folder / name) as picture:
            picture.load()
            assert min(picture.size) > 50  # tests draw few pixels
            assert not picture.info.keys() & {"Software", "Creation Time"}


def test_the_page_shows_everything(report):
    folder, _ = report
    page = (folder / "README.md").read_text(encoding="utf-8")
    for number in (1, 2, 3):
        assert (folder / f"table{number}.md").read_text(encoding="utf-8") in page
    pictures = (folder / "pictures.md").read_text(encoding="utf-8")
    assert "](figure3.png)" in page
    for name in ("samples-mopoe.png", "samples-evil.png", "training.png"):
        assert f"]({name})" in pictures
    for text in (
        "# mnist-svhn, preset quick",
        "3 models, 4 runs: 3 done, 1 failed.",
        "```\nmmbench run --models all --preset quick\n```",
        "40.00 ± 14.14",
        "4,000 steps, seed 0.",
        f"CNF-MVAE has no finished run here: {EVIL_MARKDOWN} ({EVIL_MARKDOWN}) stands in its place.",
        "| [MoPoE](mopoe/seed-0/) | 0 | done | 1 h 2 min | 9.5 s | 12.3 |",
        "| [MMVAE](mmvae/seed-0/) | 0 | failed |",
        "````\nThe loss is ```nan``` at step 7.\n````",
        "- **MoPoE**: beta 2.5",
        "- device cpu",
    ):
        assert text in page
    assert "<script" not in page + pictures


def coloured(picture, colour):
    """Where a picture has a colour, as (rows, columns)."""
    return np.nonzero((np.abs(picture.astype(int) - colour) < 40).all(axis=-1))


def test_figure_3_places_joint_above_cross_and_conditions_above_outputs(report):
    with Image.open(report[0] / "figure3.png") as figure:
        picture = np.asarray(figure.convert("RGB"))
    red, green, blue = (coloured(picture, colour) for colour in (RED, GREEN, BLUE))
    assert min(len(rows) for rows, _ in (red, green, blue)) > 1000
    assert red[0].max() < min(green[0].min(), blue[0].min())
    assert blue[0].min() < green[0].min()  # svhn as a condition stands above svhn as an output
    half = picture.shape[1] // 2
    # two models side by side
    assert {True, False} == set(np.unique(red[1] < half)) == set(np.unique(green[1] < half))


def test_the_same_runs_give_the_same_bytes(report):
    folder, written = report
    before = {path: path.read_bytes() for path in written}
    with mpl.rc_context({"font.size": 30, "lines.linewidth": 9, "savefig.dpi": 20}):
        assert write_report(folder / "mopoe" / "seed-0") == written  # from anywhere in the folder
    assert {path: path.read_bytes() for path in written} == before
    assert not list(folder.rglob("*.part"))


def test_a_report_of_nothing_finished(tmp_path):
    folder = write_run(tmp_path, "mopoe", state="running")
    (folder / "history.csv").write_text("")
    names = {path.name for path in write_report(tmp_path)}
    assert "README.md" in names
    assert not any(name.endswith(".png") for name in names)
    page = (folder.parents[1] / "README.md").read_text(encoding="utf-8")
    assert "No finished run here holds samples." in page
    assert "No seed is done: seed 0 is stopped." in page
    assert "1 model, 1 run: 1 stopped." in page
    with locked(folder / ".lock", lambda: pytest.fail("held")):
        write_report(tmp_path)
    page = (folder.parents[1] / "README.md").read_text(encoding="utf-8")
    assert "No seed is done: seed 0 is running." in page


def test_samples_of_one_kind_are_enough(tmp_path):
    folder = write_run(tmp_path, "mopoe")
    save_samples(folder / "samples", SampleSet(some_samples().joint, []))
    assert "samples-mopoe.png" in {path.name for path in write_report(tmp_path)}


def test_nothing_is_written_where_something_is_damaged(tmp_path):
    folder = write_run(tmp_path, "mopoe")
    history = (folder / "history.csv").read_text()
    (folder / "history.csv").write_text("no,steps\n1,2\n")
    with pytest.raises(InputError, match=r"history\.csv is no training history"):
        write_report(tmp_path)
    (folder / "history.csv").write_text(history)
    (folder / "samples" / "joint-mnist.webp").write_bytes(b"")
    with pytest.raises(InputError, match=r"joint-mnist\.webp cannot be read"):
        write_report(tmp_path)
    assert not [path for path in folder.parents[1].iterdir() if path.is_file() and path.name != ".lock"]


def test_a_folder_that_cannot_be_written(tmp_path):
    folder = write_run(tmp_path, "mopoe", state="failed")
    (folder.parents[1] / "table1.csv").mkdir()
    with pytest.raises(InputError, match=r"table1\.csv cannot be written"):
        write_report(tmp_path)


def test_strangers_in_a_preset_folder(tmp_path):
    write_run(tmp_path, "mopoe")
    write_run(tmp_path, "mmvae", preset="cpu")
    with pytest.raises(InputError, match="mixes runs of several data sets or presets"):
        write_report(tmp_path)


def test_reports_need_no_torch():
    code = "import sys, mmbench.report.pages.page, mmbench.storage.samples; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
