"""The site's pages: what is made of docstrings, links and tables, and tutorials without outputs."""

import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

pytest.importorskip("sphinx", reason="the extra docs is not installed")

from evaluation_setup import Oracle, make_setup

from metrics.catalogue import GROUPS, Metric
from metrics.evaluation.one_pass import Pass
from models.registry import MODELS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
TUTORIALS = sorted((DOCS / "tutorials").glob("*.ipynb"))


@pytest.fixture(scope="module", autouse=True)
def extension():
    sys.path.insert(0, str(DOCS))
    yield
    sys.path.remove(str(DOCS))


def test_docstrings_become_restructured_text():
    from extension.docstrings import rewrite_docstring

    lines = [
        "A product of `expert`s, |z| and *shape.",
        "",
        "loss = sum_m w_m",
        "       + beta KL",
        "",
        "Args:",
        "    batch_: of (B, *shape).",
        "",
        ">>> 1 + 1",
        "2",
    ]
    rewrite_docstring(None, "class", "", None, None, lines)
    assert lines == [
        r"A product of ``expert``\ s, \|z\| and \*shape.",
        "",
        "::",
        "",
        "    loss = sum_m w_m",
        "           + beta KL",
        "",
        "Args:",
        r"    batch\_: of (B, \*shape).",
        "",
        ">>> 1 + 1",
        "2",
        "",
    ]


def test_docstrings_become_markdown_without_their_sections():
    from extension.docstrings import to_markdown

    text = "One thing.\n\nz = f(x)\n\nArgs:\n    x: input.\n\n    More of it.\n\n>>> f(1)\n2\n"
    assert to_markdown(text) == "One thing.\n\n```text\nz = f(x)\n```\n\n```python\n>>> f(1)\n2\n```"
    assert to_markdown(None) == ""


@pytest.mark.parametrize(
    ("link", "rewritten"),
    [
        ("[base](../models/base.py)", "[base](#api-models.base)"),
        ("[a room](../mmbench/plan)", "[a room](#api-mmbench.plan)"),
        ("[tests](../tests)", "tests"),
        ("[plugin](../examples/plugin)", "[plugin](/examples/plugin/README.md)"),
        ("[a page](protocol.md#coherence)", "[a page](protocol.md#coherence)"),
        ("[no page](python.md)", "{download}`no page <python.md>`"),
        ("[web](https://example.org/models)", "[web](https://example.org/models)"),
        ("![a picture](../models)", "![a picture](../models)"),
    ],
)
def test_links_to_code_lead_to_its_reference(link, rewritten):
    from extension.links import rewrite_links

    pages = {"docs/protocol"}
    app = SimpleNamespace(
        env=SimpleNamespace(
            found_docs=pages, path2doc=lambda path: path.relative_to(ROOT).with_suffix("").as_posix()
        )
    )
    source = [link]
    rewrite_links(app, "docs/architecture", source)
    assert source == [rewritten]


def test_a_published_page_without_a_title_gets_one():
    from extension.links import rewrite_links

    source = ["| a | table |"]
    rewrite_links(None, "results/published/mnist-svhn/cpu/claims", source)
    assert source[0].startswith("# Claims\n\n")


def test_formulas_of_all_models_are_latex_that_can_be_drawn():
    from docutils.utils.math.latex2mathml import tex2mathml

    drawn = [tex2mathml(entry.about.formula, as_block=True) for entry in MODELS if entry.about.formula]
    assert len(drawn) > 30
    assert all("<math" in formula for formula in drawn)


def test_figures_are_those_of_the_published_tables():
    from extension.figures import PUBLISHED, figures_of

    found = dict(figures_of("cnf-mvae"))
    figures = {figure.metric: figure for figure in found[PUBLISHED / "mnist-svhn" / "cpu"]}
    assert figures["Joint (%)"].value == "29.5 ± 0.8"
    assert figures["Joint (%)"].paper == "33.5"
    assert PUBLISHED / "ablations" / "mnist-svhn" / "cpu" not in found  # which has variants alone


def test_ranks_are_of_the_models_that_all_main_studies_have():
    from extension.figures import ranks

    studies, rows = ranks()
    assert {"digits/quick", "mnist-svhn/cpu"} <= set(studies)
    for index in range(len(studies)):
        assert sorted(int(cells[index]) for _, cells in rows) == list(range(1, len(rows) + 1))


def test_what_models_can_do_is_found_by_trying():
    from extension.facts import find_abilities

    mdae, mopoe = find_abilities("mdae"), find_abilities("mopoe")
    assert (mdae.joint, mdae.cross, mdae.likelihood) == (False, True, "no")
    assert (mopoe.joint, mopoe.cross, mopoe.likelihood) == (True, True, "yes")
    assert 14 < mopoe.gigaflops < 16  # benchmarks/README.md: 15.1
    assert find_abilities("multivae-cvae") is None


def test_the_reference_has_every_module():
    from extension.pages import rooms

    pages = [name for names in rooms().values() for name in names]
    files = {path for package in ("models", "metrics", "mmbench") for path in (ROOT / package).rglob("*.py")}
    assert len(pages) == len(set(pages)) == len(files) - 1  # all but mmbench/__main__.py


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_tutorials_are_kept_without_outputs(path):
    notebook = json.loads(path.read_text())
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert code
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)


def test_every_page_is_in_a_table_of_contents():
    contents = (DOCS / "index.md").read_text()
    pages = {path.stem for path in DOCS.glob("*.md")} - {"index", "README"}
    assert pages | {f"tutorials/{path.stem}" for path in TUTORIALS} <= set(contents.split())


def test_the_metric_of_the_page_can_be_measured():
    (code,) = re.findall(r"```python\n(.*?)```", (DOCS / "extending.md").read_text(), re.DOTALL)
    names: dict = {}
    exec(code, names)
    metric = names["spread"]
    assert isinstance(metric, Metric)
    setup = make_setup()
    arguments = (setup[key] for key in ("test", "train", "tuples", "references", "protocol"))
    groups = (metric.group, GROUPS["fd_clf"])
    run = Pass(Oracle(), *arguments, groups, torch.device("cpu"), lambda *shown: None)
    found = {str(name): value for name, value in metric.measure(run)}
    assert found.keys() == {f"spread/{name}" for name in run.model.modalities}
    assert all(value > 0 for value in found.values())
