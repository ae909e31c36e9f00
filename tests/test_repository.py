"""The repository is small, what can be drawn again is not in it, and links of its pages lead somewhere."""

import re
import subprocess
from pathlib import Path
from urllib.parse import unquote

import pytest

from mmbench.storage.records import find_folders
from mmbench.storage.runs import read_run
from mmbench.storage.samples import load_samples

ROOT = Path(__file__).parents[1]
PUBLISHED = ROOT / "results" / "published"
PAGES = sorted(
    [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), ROOT / "benchmarks" / "README.md"]
    + [path for path in PUBLISHED.rglob("*.md") if path.name != "pictures.md"]
)
ALL, ONE = 20_000_000, 2_000_000  # bytes of all tracked files, and of one


@pytest.fixture(scope="module")
def tracked():
    """The files that git tracks here, those that were deleted but not committed left out."""
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no git checkout: which files are tracked is known in one only")
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def test_a_clone_is_small(tracked):
    sizes = {path.relative_to(ROOT).as_posix(): path.stat().st_size for path in tracked}
    assert sum(sizes.values()) <= ALL, f"{sum(sizes.values()) / 1e6:.1f} MB are tracked"
    assert {name: size for name, size in sizes.items() if size > ONE} == {}


def test_what_a_report_draws_again_is_not_tracked(tracked):
    """Or `mmbench report` would leave changes behind; of pages one is kept, of pictures figure 3."""
    drawn = {path for path in tracked if PUBLISHED in path.parents and path.suffix in {".png", ".html"}}
    assert {path.name for path in drawn} == {"figure3.png", "report.html"}
    assert [path for path in drawn if path.name == "report.html"] == [
        PUBLISHED / "mnist-svhn" / "cpu" / "report.html"
    ]
    assert not [
        path for path in tracked if path.name in {"results.json", "pictures.md"} and PUBLISHED in path.parents
    ]


@pytest.mark.parametrize("study", sorted({path.parents[2] for path in PUBLISHED.rglob("seed-*/config.json")}))
def test_published_runs_are_read(study):
    """Every file is as its checksum says, and sample sheets are of one run per model at most."""
    runs = [read_run(folder) for folder in find_folders(study)]
    assert {run.state for run in runs} == {"done"}
    shown = [run for run in runs if (run.folder / "samples" / "samples.json").exists()]
    assert len({run.folder.parent for run in shown}) == len(shown)
    for run in shown:
        assert load_samples(run.folder / "samples").cross


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_relative_link_leads_somewhere(page):
    text = page.read_text(encoding="utf-8")
    prose = re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", prose) if "://" not in link]
    dead = []
    for link in links:
        name, _, anchor = link.partition("#")
        target = page.parent / unquote(name) if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(link)
    assert dead == []


def anchors(page):
    """The names that a forge gives to the headings of a Markdown page."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
