"""The page of a report as a person uses it: headless Chromium, a keyboard and a mouse.

Skipped where there is no Chromium.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from report_setup import EVIL, copy_runs

from mmbench.report import write_report

playwright = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed: pip install -e '.[dev]'"
)
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium on this machine: apt-get install chromium"
)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
]


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def report(report_folder):
    return report_folder / "report.html"


@pytest.fixture(scope="module")
def paper_report(paper_folder):
    return paper_folder / "report.html"


@pytest.fixture
def visit(browser):
    """Opens a page and watches it: any word on its console, or any request but the file, fails the test."""
    seen, contexts = [], []

    def call(path, **options):
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: seen.append(message.text))
        page.on("pageerror", lambda error: seen.append(str(error)))
        page.on("dialog", lambda dialog: (seen.append(dialog.message), dialog.dismiss()))
        page.on(
            "request",
            lambda request: (
                seen.append(request.url[:200])
                if not request.url.startswith(("data:", f"{path.as_uri()}"))
                else None
            ),
        )
        page.goto(path.as_uri())
        return page

    yield call
    for context in contexts:
        context.close()
    assert seen == []


def column(page, place):
    """The numbers of a column from top to bottom, of the rows that are shown."""
    cells = page.locator(f"#leaderboard tbody tr:visible > :nth-child({place + 1})").all()
    return [float(cell.get_attribute("data-value")) for cell in cells]


def head_of(page, text):
    """A column's button and its place."""
    buttons = page.locator("#leaderboard button.sort")
    place = next(i for i, found in enumerate(buttons.all_inner_texts()) if found.startswith(text))
    return buttons.nth(place), place


def test_heads_sort_the_best_first_and_turn(report, visit):
    page = visit(report)
    for text, first in (("Joint", "descending"), ("FD-clf street", "ascending")):
        button, place = head_of(page, text)
        before = column(page, place)
        for order in (first, {"ascending": "descending", "descending": "ascending"}[first]):
            button.click()
            assert page.locator("#leaderboard th[aria-sort]").count() == 1
            assert button.locator("xpath=..").get_attribute("aria-sort") == order
            assert column(page, place) == sorted(before, reverse=order == "descending")
    page.locator("#leaderboard button.sort").first.focus()
    page.keyboard.press("Enter")
    names = page.locator("#leaderboard tbody th > a").all_inner_texts()
    assert set(names) == {"Model 0", EVIL, "Model 2"}
    assert names[1:] == ["Model 0", "Model 2"]


def test_filters_hide_models_and_metrics(report, visit):
    page = visit(report)
    page.get_by_label("Models whose name contains").fill("ALERT(1)")
    assert page.locator("#leaderboard tbody tr:visible th").all_inner_texts() == [EVIL]
    assert page.locator("details.model:visible").count() == 1
    assert page.locator("#count").inner_text() == "1 of 3 models"
    page.get_by_label("Models whose name contains").fill("")
    assert page.locator("#leaderboard tbody tr:visible").count() == 3
    probes = page.locator('#leaderboard [data-group="probe"]:visible')
    assert probes.count() > 0
    page.get_by_role("checkbox", name="Linear probe").uncheck()
    assert probes.count() == 0
    assert page.locator('#leaderboard [data-group="quality"]:visible').count() > 0


def test_a_click_on_a_model_opens_its_runs(report, visit):
    page = visit(report)
    assert not page.get_by_text(f"The loss became nan in {EVIL}.", exact=True).is_visible()
    page.locator("#leaderboard").get_by_role("link", name="Model 2").click()
    assert page.evaluate("document.activeElement.tagName") == "SUMMARY"
    opened = page.locator("details.model[open]")
    assert opened.count() == 1
    rows = opened.locator("table.runs").first.locator("tbody tr")
    assert [row.split()[:2] for row in rows.all_inner_texts()] == [["0", "done"], ["1", "failed"]]
    assert page.get_by_text(f"The loss became nan in {EVIL}.", exact=True).is_visible()
    for title in ("Settings", "Environment", "Training curves", "Samples"):
        assert opened.get_by_role("heading", name=title).is_visible()
    page.locator("#leaderboard").get_by_role("link", name="Model 0").focus()
    page.keyboard.press("Enter")
    assert page.locator("details.model[open]").count() == 2


def test_the_class_of_the_samples_can_be_chosen(report, visit):
    page = visit(report)
    shown = page.locator(".grids:visible img.tiles")
    first = [image.get_attribute("src") for image in shown.all()]
    assert len(first) == 2 * (1 + 3)
    page.get_by_role("radio", name="7").check()
    second = [image.get_attribute("src") for image in shown.all()]
    assert len(second) == len(first)
    assert not set(first) & set(second)
    assert "of the class 7" in shown.first.get_attribute("alt")
    page.keyboard.press("ArrowRight")
    assert "of the class 8" in shown.first.get_attribute("alt")


def test_the_figures_of_the_paper_come_and_go(paper_report, visit):
    page = visit(paper_report)
    figures = page.get_by_text("paper 33.45", exact=False)
    assert figures.is_visible()
    page.get_by_role("switch").press("Space")
    assert not figures.is_visible()
    page.get_by_role("switch").check()
    assert figures.is_visible()


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_only_tables_scroll_sideways(report, paper_report, visit, width):
    for path in (report, paper_report):
        page = visit(path, viewport={"width": width, "height": 800})
        page.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_it_can_be_printed(report, visit):
    page = visit(report)
    assert page.locator("details.model[open]").count() == 0
    assert page.pdf().startswith(b"%PDF")
    assert page.evaluate("[...document.querySelectorAll('details[open]')].length") == 0  # as it was before
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    assert page.locator("details.model[open]").count() == 3
    assert not page.locator(".controls").first.is_visible()


def test_without_scripts_everything_is_there(report, visit):
    page = visit(report, java_script_enabled=False)
    assert page.locator(".grids:visible").count() == 10
    assert page.locator(".controls:visible").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(report, paper_report, visit, scheme):
    axe = Path(os.environ.get("MMBENCH_AXE") or _global_axe())
    if not axe.is_file():
        pytest.skip("axe-core is not here: npm install -g axe-core, or name its axe.min.js in MMBENCH_AXE")
    for path in [report] if scheme == "dark" else [report, paper_report]:
        page = visit(path, color_scheme=scheme, bypass_csp=True)
        page.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
        page.add_script_tag(path=axe)
        found = page.evaluate("axe.run()")
        assert len(found["passes"]) > 20
        serious = [
            (v["id"], [n["html"][:150] for n in v["nodes"]])
            for v in found["violations"]
            if v["impact"] in ("serious", "critical")
        ]
        assert serious == []


@pytest.mark.slow
def test_many_models_load_fast(tmp_path, visit, capsys):
    """20 models of 5 seeds with 9 metrics and more: under 15 MiB, and ready in under 2 seconds."""
    copy_runs(tmp_path, models=20, seeds=5)
    write_report(tmp_path)
    path = tmp_path / "digits" / "quick" / "report.html"
    size = path.stat().st_size / 2**20
    page = visit(path)
    loaded = []
    for _ in range(3):  # the best of three: a test machine may be busy
        page.reload()
        loaded.append(page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd") / 1000)
    assert page.locator("#leaderboard tbody tr").count() == 20
    with capsys.disabled():
        print(f"\n20 models, 5 seeds: {size:.1f} MiB, loaded in {min(loaded):.2f} s")
    assert size < 15
    assert min(loaded) < 2


def _global_axe():
    """Where `npm install -g axe-core` puts it; an empty path without npm."""
    if not shutil.which("npm"):
        return ""
    root = subprocess.run(
        ["npm", "root", "-g"], capture_output=True, text=True, check=False, timeout=60
    ).stdout.strip()
    return Path(root) / "axe-core" / "axe.min.js"
