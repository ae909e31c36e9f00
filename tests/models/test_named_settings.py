"""Named settings: what is registered, how a command and Python choose it, and what runs of it are called."""

import json
from dataclasses import asdict, dataclass
from types import SimpleNamespace

import pytest
import torch
from click.testing import CliRunner

import mmbench
from mmbench.cli import main
from mmbench.plan.job import JobOptions, check_job
from mmbench.plan.overrides import make_configs
from mmbench.plan.planned import plan_runs
from mmbench.storage.run_folder import RunFolder
from models.conformance import TWO
from models.errors import InputError
from models.model_file import load_model_file
from models.named_settings import PAPER, PUBLISHED, Sourced, check_named, named_values
from models.names import find_models
from models.registry import MODELS
from models.settings import resolve, setting

DATA = SimpleNamespace(provenance={}, modalities=TWO, classes=(), class_count=10)
NAMED = [(entry, name) for entry in find_models("all") for name in entry.named]
OWN = """
from models.mopoe import MoPoE, MoPoESettings
from models.named_settings import Sourced
from models.registry import register

named = {"published": {"beta": Sourced(3.5, "a paper")}}

@register("of-a-file", settings=MoPoESettings, source="nobody", named=named)
class Own(MoPoE): ...
"""


def config_of(word, preset="smoke", dataset="digits"):
    """The configuration of the model that `word` names with its settings."""
    model, *others = word.partition("=")[0].split()
    return make_configs([MODELS.get(model)], dataset, preset, [word, *others])[0]


def test_the_baselines_have_theirs():
    found = {entry.name: set(entry.named) for entry in find_models("all") if entry.named}
    both = {PAPER, PUBLISHED}
    assert found == {
        "cada-vae": both,
        "mmvae": both,
        "mopoe": both,
        "dmvae": {PUBLISHED},
        "mvae": {PUBLISHED},
    }


def test_mmvae_as_published_is_the_one_of_its_authors():
    chosen = config_of("mmvae=published").settings
    assert (chosen.samples, chosen.posterior) == (30, "laplace")
    assert (chosen.likelihood, chosen.likelihood_scale, chosen.modality_weights) == (
        "laplace",
        0.75,
        "published",
    )
    paper = config_of("mmvae=paper").settings
    assert (paper.samples, paper.posterior) == (1, "gaussian")
    model = MODELS.get("mmvae").model(TWO, chosen)
    assert "prior_spread" in dict(model.named_parameters())  # its scales are learned


@pytest.mark.parametrize(("entry", "name"), NAMED, ids=lambda each: getattr(each, "name", each))
def test_every_named_model_has_sources_and_trains(entry, name):
    assert all(value.source.strip() for value in entry.named[name].values())
    chosen = resolve(entry.settings, named_values(entry.named, name, entry.name), entry.name)
    torch.manual_seed(0)
    model = entry.model(TWO, chosen)
    batch = {m.name: torch.rand(4, *m.shape) for m in TWO}
    total = model.loss(batch, torch.tensor(0.5)).total
    total.backward()
    assert total.isfinite()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_named_settings_replace_what_was_tuned():
    tuned = make_configs([MODELS.get("mopoe")], "mnist-svhn", "cpu", [])[0]
    assert tuned.settings.likelihood_scale == 0.1062
    assert tuned.named == ""
    published = config_of("mopoe=published", "cpu", "mnist-svhn")
    assert (published.settings.likelihood_scale, published.settings.beta) == (0.75, 2.5)
    assert published.named == PUBLISHED


def test_other_settings_may_be_set_beside_them():
    entry = MODELS.get("mmvae")
    (config,) = make_configs([entry], "digits", "smoke", ["mmvae=published", "latent_size=7"])
    assert (config.settings.latent_size, config.settings.samples) == (7, 30)
    (same,) = make_configs([entry], "digits", "smoke", ["mmvae=published", "samples=30"])
    assert same.settings.samples == 30


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (
            ["mopoe=publshed"],
            "Unknown settings 'publshed' of mopoe: did you mean 'published'? Known: ",
        ),
        (["mopoe="], "Unknown settings '' of mopoe: Known: paper, published."),
        (["cnf-mvae=published"], "Unknown settings 'published' of cnf-mvae: Known: none."),
        (
            ["mmvae=paper"],
            "--set mmvae=paper is for mmvae, which --models does not name: add mmvae",
        ),
        (
            ["mopoe=published", "mopoe.beta=1"],
            "--set mopoe=published means beta=2.5, and another --set means beta=1.0: leave one of them out.",
        ),
        (
            ["mopoe=published", "likelihood=gaussian"],
            "--set mopoe=published means likelihood=laplace, and another --set means likelihood=gaussian",
        ),
    ],
)
def test_unusable_words_are_refused(pairs, message):
    entries = [MODELS.get(name) for name in ("mopoe", "cnf-mvae")]
    with pytest.raises(InputError) as error:
        make_configs(entries, "digits", "smoke", pairs)
    assert message in str(error.value)


def test_a_search_refuses_them(tmp_path):
    arguments = ["tune", "--models", "mopoe", "--dataset", "digits", "--preset", "smoke", "--trials", "1"]
    arguments += ["--set", "mopoe=published", "--results", str(tmp_path), "--device", "cpu"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert "--set mopoe=published says what a search would change: leave it out." in result.output


@dataclass(frozen=True)
class Settings:
    beta: float = setting(1.0, "a weight", low=0)


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"pubished": {}}, "'pubished' of me are not usable: did you mean 'published'?"),
        ({"paper": {"beta": 1.0}}, "have beta=1.0: expected Sourced(value, source)."),
        ({"paper": {"beta": Sourced(1.0, " ")}}, "expected Sourced(value, source)."),
        ({"paper": {"gamma": Sourced(1.0, "here")}}, "Unknown setting 'gamma' of paper me"),
        ({"paper": {"beta": Sourced(-1.0, "here")}}, "Setting beta=-1.0 of paper me is not usable"),
    ],
)
def test_a_registration_is_checked(named, message):
    with pytest.raises(InputError) as error:
        check_named(named, Settings, "me")
    assert message in str(error.value)


def test_they_work_in_a_model_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(OWN)
    options = JobOptions("of-a-file", "digits", "smoke", model_files=[tmp_path / "own.py"], device="cpu")
    plain = check_job(options)
    load_model_file(tmp_path / "own.py")
    chosen = config_of("of-a-file=published")
    assert (plain.configs[0].settings.beta, chosen.settings.beta) == (2.5, 3.5)


def test_python_takes_them():
    data = SimpleNamespace(modalities=TWO, class_count=10)
    model = mmbench.make_model("mmvae", data, named="published", latent_size=8)
    assert (model.settings.samples, model.settings.latent_size) == (30, 8)
    with pytest.raises(InputError, match="Unknown settings 'x' of mmvae"):
        mmbench.make_model("mmvae", data, named="x")


def test_runs_lie_apart_and_say_what_they_are(tmp_path):
    """Of one model, two commands into one folder of results; a label of one's own goes before the name."""

    def planned(*pairs, **options):
        words = JobOptions(
            "mopoe,cnf-mvae", "digits", "smoke", overrides=pairs, results=tmp_path, device="cpu", **options
        )
        return {run.config.entry.name: run for run in plan_runs(check_job(words), DATA)}

    plain, published = planned(), planned("mopoe=published")
    assert plain["mopoe"].folder.path == RunFolder.of(tmp_path, "digits", "smoke", "mopoe", None, 0).path
    assert published["mopoe"].folder.path.parent.name == "mopoe+published"
    assert published["cnf-mvae"].folder.path == plain["cnf-mvae"].folder.path
    assert (published["mopoe"].description["named"], published["mopoe"].description["label"]) == (
        PUBLISHED,
        PUBLISHED,
    )
    assert "named" not in plain["mopoe"].description
    assert "named" not in published["mopoe"].decisive
    own = planned("mopoe=published", label="own")["mopoe"]
    assert (own.folder.path.parent.name, own.description["named"]) == ("mopoe+own", PUBLISHED)


def test_they_are_listed_with_sources():
    shown = CliRunner().invoke(main, ["models", "mmvae"]).output
    assert "As published: --set mmvae=published" in shown
    assert "As in the paper: --set mmvae=paper" in shown
    lines = [line.split(maxsplit=2) for line in shown.splitlines()]
    assert ["samples", "30", "github.com/iffsid/mmvae: README, flags of the released models"] in lines
    (found,) = json.loads(CliRunner().invoke(main, ["models", "mopoe", "--json"]).output)
    entry = MODELS.get("mopoe")
    assert {key: value["value"] for key, value in found["named"]["published"].items()} == named_values(
        entry.named, PUBLISHED, "mopoe"
    )
    assert found["named"]["published"]["beta"]["source"]
    assert set(found["named"]["published"]) < set(asdict(entry.settings()))
