"""What models, data sets and metrics say of themselves: for pages, `mmbench cite` and `mmbench doctor`."""

import doctest
import re
from collections import Counter
from pathlib import Path

import pytest

from metrics.catalogue import GROUPS
from mmbench.data import DATASETS
from models.about import About, cite
from models.errors import InputError
from models.model_file import load_model_file
from models.registry import MODELS

BIBLIOGRAPHY = Path(__file__).parents[1] / "models" / "references.bib"
OWN = [entry for entry in MODELS if entry.module.partition(".")[0] in {"models", "mmbench"}]
CITED = [*OWN, *DATASETS, *GROUPS.values()]


def sentences(text):
    return re.findall(r"\S.*?[.](?=\s|$)", text)


@pytest.mark.parametrize("entry", OWN, ids=lambda entry: entry.name)
def test_every_model_says_what_its_page_needs(entry):
    assert len(sentences(entry.about.idea)) == 3, entry.about.idea
    assert entry.about.formula
    assert sentences(entry.about.departures)
    assert entry.bibtex.startswith("@")


@pytest.mark.parametrize("entry", list(DATASETS), ids=lambda entry: entry.name)
def test_every_data_set_says_what_its_page_needs(entry):
    assert sentences(entry.licence)
    assert entry.bibtex.startswith("@")
    assert entry.shareable != entry.needs_data_dir  # what others give out is theirs to give out


@pytest.mark.parametrize("group", list(GROUPS.values()), ids=lambda group: group.name)
def test_every_metric_says_what_its_page_needs_and_its_example_is_right(group):
    assert sentences(group.span)
    assert sentences(group.hides)
    assert group.bibtex.startswith("@")
    example = doctest.DocTestParser().get_doctest(group.load().measure.__doc__, {}, group.name, None, 0)
    assert example.examples
    assert doctest.DocTestRunner().run(example).failed == 0


def test_names_are_not_shared_by_a_model_a_data_set_and_a_metric():
    assert [name for name, count in Counter(entry.name for entry in CITED).items() if count > 1] == []


def test_the_bibliography_is_whole_and_all_of_it_is_cited():
    text = BIBLIOGRAPHY.read_text(encoding="utf-8")
    keys = re.findall(r"^@\w+\{(\S+),$", text, re.MULTILINE)
    assert keys == sorted(set(keys))
    for key in keys:
        entry = cite(key)
        assert entry.count("{") == entry.count("}")
        fields = dict(re.findall(r"^  (\w+) += \{(.*?)\},?$", entry, re.MULTILINE | re.DOTALL))
        assert {"title", "author", "year"} <= fields.keys(), key
        assert re.fullmatch(r"(19|20)\d\d", fields["year"]), key
        assert entry.count("},\n") == len(fields) - 1, f"a comma is missing or one too many in {key}"
    assert {key for entry in CITED for key in re.findall(r"^@\w+\{(\S+),$", entry.bibtex, re.MULTILINE)} == {
        *keys
    }


def test_the_sources_of_the_registry_and_the_bibliography_agree():
    """Every arXiv number and DOI in the source of an entry is in its BibTeX."""
    found = 0
    for entry in (*OWN, *DATASETS):
        for number in re.findall(r"arXiv (\d{4}\.\d{5})|doi (\S+)|OpenReview (\w+)", entry.source):
            assert "".join(number) in entry.bibtex, entry.name
            found += 1
    assert found > 15


def test_cite_prints_each_publication_once(invoke):
    result = invoke("cite", "mopoe", "multivae:MoPoE", "digits", "prdc")
    assert result.code == 0
    keys = re.findall(r"^@\w+\{(\S+),$", result.text, re.MULTILINE)
    assert keys == [
        "sutter2021mopoe",
        "senellart2023multivae",
        "alpaydin1998digits",
        "kynkaanniemi2019prc",
        "naeem2020prdc",
    ]
    assert cite("sutter2021mopoe") in result.text


def test_cite_refuses_what_it_does_not_know(invoke):
    result = invoke("cite", "mopeo")
    assert result.code == 2
    assert "did you mean 'mopoe'?" in result.text


MODEL_FILE = """
from dataclasses import dataclass
from models.about import About
from models.base import EmbeddingModel
from models.registry import register

@dataclass(frozen=True)
class Settings:
    pass

@register("about-case", settings=Settings, source="nowhere"{about})
class Case(EmbeddingModel):
    def loss(self, batch, progress): ...
    def embed(self, inputs): ...
"""


@pytest.fixture
def written(tmp_path):
    def write(about):
        path = tmp_path / "case.py"
        path.write_text(MODEL_FILE.format(about=about))
        return path

    return write


def test_a_model_of_ones_own_needs_no_page(written, invoke):
    (entry,) = load_model_file(written(""))
    assert entry.about == About()
    result = invoke("cite", "about-case")
    assert result.code == 2
    assert "about-case has no BibTeX" in result.text


def test_an_about_of_another_type_is_refused(written):
    with pytest.raises(InputError, match=r"expected models\.about\.About"):
        load_model_file(written(', about="an idea"'))


def test_doctor_says_what_a_report_needs_and_no_private_path(invoke, monkeypatch, tmp_path):
    home = tmp_path / "somebody"
    (home / "data").mkdir(parents=True)
    (home / "data" / "mnist_train.npz").write_bytes(b"")
    (home / "data" / "diary.txt").write_bytes(b"")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("MMBENCH_CACHE", str(home / "cache"))
    monkeypatch.setenv("MMBENCH_DATA", str(home / "data"))
    result = invoke("doctor")
    assert result.code == 0
    assert "somebody" not in result.text
    assert "diary" not in result.text
    rows = dict(re.split(" {2,}", line, maxsplit=1) for line in result.text.splitlines())
    assert {"mmbench", "torch", "cores", "threads", "models"} <= rows.keys()
    assert rows["cache"].startswith("~/cache, 0 files")
    assert rows["data"] == "~/data: mnist_train.npz"
