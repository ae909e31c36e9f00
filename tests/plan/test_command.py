"""The command that is recorded with a run: complete, minimal, and itself what it records."""

import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics.catalogue import GROUPS
from mmbench.cli.jobs import run as run_command
from mmbench.cli.jobs import tune as tune_command
from mmbench.plan.command import Command
from mmbench.plan.job import JobOptions, check_job
from mmbench.plan.planned import plan_runs
from mmbench.storage.files import read_json, write_json
from mmbench.tuning.tune import METRICS
from models.conformance import TWO
from models.model_file import load_model_file
from models.registry import MODELS

DATA = SimpleNamespace(
    provenance={"counts": {}},
    modalities=TWO,
    classes=(),
    class_count=10,
    train=SimpleNamespace(pairs=torch.zeros(1, 2)),
)
OWN = """
from models.mopoe import MoPoE, MoPoESettings
from models.registry import register

@register("of-a-file", settings=MoPoESettings, source="nobody")
class Own(MoPoE): ...
"""
NAMES = ("mopoe", "mvae", "cnf-mvae", "avae")
WIDE = {
    "steps": st.integers(1, 500),
    "batch_size": st.integers(2, 64),
    "pairs_per_image": st.integers(1, 20),
}
OF_MOPOE = {"beta": st.floats(0.1, 10), "latent_size": st.integers(1, 64)}


@pytest.fixture(scope="module", autouse=True)
def own_file(tmp_path_factory):
    """A model file in the folder where the commands are given."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "own.py").write_text(OWN)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        load_model_file(Path("own.py"))
        yield
    MODELS.discard("of-a-file")


def spaced(words):
    """Words in a list as people write it: with and without spaces behind commas."""
    return st.sampled_from([",", ", "]).map(lambda comma: comma.join(words))


@st.composite
def pairs(draw, values, prefix=""):
    """Words of --set, in which a key may come twice."""
    keys = draw(st.lists(st.sampled_from(sorted(values)), max_size=4))
    return [f"{prefix}{key}={draw(values[key])}" for key in keys]


@st.composite
def options(draw):
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, unique=True))
    if "mopoe" not in names:
        names = ["mopoe", *names]
    seeds = draw(st.none() | st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=3, unique=True))
    metrics = draw(st.none() | st.lists(st.sampled_from(sorted(GROUPS)), min_size=1, max_size=4))
    every = draw(st.booleans())
    named = draw(st.sampled_from([[], ["mopoe=paper"], ["mopoe=published"]]))
    of_mopoe = {key: OF_MOPOE[key] for key in OF_MOPOE if not (named and key == "beta")}
    return {
        "models": "all" if every else draw(spaced(names)),
        "dataset": draw(st.sampled_from(["digits", "digits-text"])),
        "preset": draw(st.none() | st.sampled_from(["smoke", "quick"])),
        "seeds": seeds and draw(spaced([str(seed) for seed in seeds])),
        "overrides": [*draw(pairs(WIDE)), *named, *draw(pairs(of_mopoe, "mopoe."))],
        "label": draw(st.none() | st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,9}\Z")),
        "precision": draw(st.sampled_from(["auto", "fp32", "bf16"])),
        "metrics": metrics and draw(spaced(metrics)),
        "looks": draw(st.integers(0, 3)),
        "model_files": draw(st.sampled_from([(), (Path("own.py"),), (Path("own.py"), Path("own.py"))])),
    }


def given_again(command, parser=run_command):
    """The options that the command line makes of a recorded command."""
    program, verb, *words = shlex.split(str(command))
    assert (program, verb) == ("mmbench", parser.name)
    return parser.make_context(verb, words).params


def described(job):
    """What a job makes: hashes, seeds, labels and commands of its runs, and its metrics."""
    runs = plan_runs(job, DATA)
    keys = [
        (run.hash, run.seed, run.description["label"], run.description["command"], run.folder.path)
        for run in runs
    ]
    return keys, job.metrics, job.execution.looks, str(job.command)


@settings(deadline=None, max_examples=60)
@given(options=options())
def test_the_recorded_command_makes_the_same_runs_and_records_itself(options):
    results = Path("results-that-are-not-there")
    job = check_job(JobOptions(**options, device="cpu", results=results))
    again = check_job(JobOptions(**{**given_again(job.command), "device": "cpu", "results": results}))
    assert described(again) == described(job)
    words = [name for name, _ in job.command.options if name not in ("--set", "--model-file", "--observe")]
    assert len(words) == len(set(words))
    keys = [value.partition("=")[0] for name, value in job.command.options if name == "--set"]
    assert len(keys) == len(set(keys))
    files = [value for name, value in job.command.options if name == "--model-file"]
    assert len(files) == len(set(files))


@settings(deadline=None, max_examples=20)
@given(options=options(), trials=st.integers(1, 20))
def test_so_does_the_command_of_a_search(options, trials):
    kept = ("models", "dataset", "preset", "overrides", "precision", "model_files")
    words = {key: options[key] for key in kept} | {"seeds": "0", "metrics": METRICS, "device": "cpu"}
    job = check_job(JobOptions(**words))
    command = job.command.without("--seeds", "--metrics").options
    recorded = Command("tune", command).having("--trials", str(trials))
    found = given_again(recorded, tune_command)
    assert found.pop("trials") == trials
    again = check_job(JobOptions(**{**found, "seeds": "0", "metrics": METRICS, "device": "cpu"}))
    assert again.command == job.command
    assert again.configs == job.configs


def test_a_run_of_named_settings_is_made_again_without_a_label_of_the_job(finished, tmp_path):
    """Which would be one of all models of the command."""
    stored = read_json(finished.path / "digits" / "smoke" / "mopoe" / "seed-0" / "config.json")
    command = "mmbench run --models mvae,mopoe --dataset digits --preset smoke --set mopoe=published"
    file = tmp_path / "config.json"
    write_json(file, {**stored, "command": command, "label": "published", "named": "published"})
    again = check_job(JobOptions(config=file, device="cpu"))
    assert (again.label, str(again.command)) == (None, command)
    assert again.label_of(again.configs[0]) == "published"
    write_json(file, {**stored, "command": f"{command} --label own", "label": "own", "named": "published"})
    again = check_job(JobOptions(config=file, device="cpu"))
    assert (again.label, again.label_of(again.configs[0])) == ("own", "own")


def test_fid_that_a_file_of_weights_asked_for_is_in_the_command(monkeypatch):
    monkeypatch.setattr("mmbench.plan.choices.find_weights", lambda path: path)
    job = check_job(JobOptions("mopoe", "digits", "smoke", inception_weights=Path("weights.pth")))
    assert "fid" in job.metrics
    again = check_job(JobOptions(**{**given_again(job.command), "device": "cpu"}))
    assert (again.metrics, again.command) == (job.metrics, job.command)
    assert "weights.pth" not in str(job.command)


def test_a_config_file_is_made_again_with_what_is_asked_for_now(finished, tmp_path):
    config = finished.path / "digits" / "smoke" / "mopoe" / "seed-0" / "config.json"
    stored = read_json(config)
    first = f"{stored['command']} --metrics probe --label first --looks 2"
    file = tmp_path / "config.json"
    write_json(file, {**stored, "command": first, "label": "first"})
    plain = check_job(JobOptions(config=file, device="cpu"))
    assert str(plain.command) == f"{stored['command']} --label first"
    other = check_job(JobOptions(config=file, device="cpu", metrics="kid, probe", label="again", looks=3))
    assert str(other.command) == f"{stored['command']} --label again --metrics kid,probe --looks 3"
    assert given_again(other.command)["label"] == "again"
