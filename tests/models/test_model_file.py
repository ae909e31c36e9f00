"""Models of one's own: in a file given on the command line, and in the example package."""

import pickle
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from options import SMALL
from torch.distributions import Normal, kl_divergence

from mmbench.data import load_data
from mmbench.plan.job import JobOptions, check_job
from mmbench.plan.overrides import make_configs
from mmbench.storage.files import read_json
from models.conformance import TWO, check_model
from models.errors import InputError
from models.model_file import load_model_file
from models.names import find_models
from models.registry import MODELS

EXAMPLE = Path(__file__).parents[2] / "examples" / "plugin"
# under another name: the example may be installed, and its own name is taken then
CODE = (EXAMPLE / "mmbench_jmvae.py").read_text(encoding="utf-8").replace('"jmvae"', '"mine"')
RUN = ("run", "--dataset", "digits", "--preset", "smoke", "--metrics", "probe", *SMALL)
REGISTER = (
    'from models.registry import register\n@register("{}", settings={}, source="nobody")\nclass Model: ...\n'
)

DATA = SimpleNamespace(
    provenance={}, modalities=TWO, class_count=10, train=SimpleNamespace(pairs=torch.zeros(1, 2))
)

load_data_once = cache(load_data)


@pytest.fixture
def write(tmp_path):
    """Writes a model file."""

    def make(code=CODE, name="my_model.py"):
        (tmp_path / name).write_bytes(code.encode() if isinstance(code, str) else code)
        return tmp_path / name

    return make


def test_a_file_registers_its_models_once(write):
    path = write()
    (entry,) = load_model_file(path)
    assert (entry.name, entry.file.path) == ("mine", path)
    assert MODELS.get("mine") is entry
    assert load_model_file(path) == load_model_file(write(name="copy.py")) == [entry]
    assert [path.name for path in path.parent.iterdir() if path.suffix != ".py"] == []  # no compiled files
    assert all(entry.file is None for entry in MODELS if entry.name != "mine")


@pytest.mark.parametrize("name", ["torch.py", "random.py", "my model.py", "2nd.model.py"])
def test_a_file_may_have_any_name(name, write):
    before = {name: sys.modules.get(name) for name in ("torch", "random")}
    assert [entry.name for entry in load_model_file(write(name=name))] == ["mine"]
    assert before == {name: sys.modules.get(name) for name in before}


BAD = {
    "typo": (
        "import torch\nimport dataclas\n",
        "fails in line 2: ModuleNotFoundError: No module named 'dataclas'",
    ),
    "syntax": ("x = 1\ny = (\n", "fails in line 2: SyntaxError: '(' was never closed"),
    "error in a function": (
        "def f():\n    return 1 / 0\n\nf()\n",
        "fails in line 2: ZeroDivisionError: division by zero",
    ),
    "error in another module": (
        "import json\n\njson.loads('')\n",
        "fails in line 3: JSONDecodeError: Expecting value",
    ),
    "end of the program": ("raise SystemExit(3)\n", "fails in line 1: SystemExit: 3"),
    "null byte": ("x = '\0'\n", "fails: "),
    "module beside it": (
        "import my_layers.deep\n",
        "No module named 'my_layers'. A model file stands alone: move what it needs into it",
    ),
    "taken name": (
        CODE.replace('"mine"', '"mopoe"'),
        "The model name 'mopoe' is taken already: register yours under another name.",
    ),
    "bad settings": (
        REGISTER.format("mine", "3"),
        "fails in line 2: The settings of mine are 3: expected a class with the decorator",
    ),
    "no model": (
        "import torch\n",
        'registers no model: put @register("my-model", settings=MySettings, '
        'source="where it was published") above its class,',
    ),
    "no text": (
        b"\xff\xfe\x00",
        "cannot be read (invalid or missing encoding declaration): "
        "expected a Python file that registers a model.",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_an_error_that_names_file_and_line(case, write, invoke):
    code, message = BAD[case]
    write(name="my_layers.py")
    path = write(code)
    before = [entry.name for entry in MODELS]
    for command in (("run", "--dataset", "digits"), ("check",), ("evaluate", path.parent)):
        result = invoke(*command, "--model-file", path)
        assert result.code == 2
        assert result.text.startswith(f"Error: The model file {path} ")
        assert message in result.text
        assert result.text.count("\n") == 1
    assert [entry.name for entry in MODELS] == before
    assert not (path.parent / "results").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing.py", "cannot be read (No such file or directory): expected a Python file"),
        ("folder.py", "cannot be read (Is a directory): expected a Python file"),
        ("x" * 300 + ".py", "cannot be read (File name too long): expected a Python file"),
        ("notes.txt", "is no Python file: expected a name that ends in .py."),
    ],
)
def test_what_is_no_file_of_python_is_refused(name, message, tmp_path):
    (tmp_path / "folder.py").mkdir()
    with pytest.raises(InputError, match=re.escape(f"The model file {tmp_path / name} {message}")):
        load_model_file(tmp_path / name)


def test_a_file_that_fails_leaves_no_model_behind(write):
    with pytest.raises(
        InputError, match=f"fails in line {len(CODE.splitlines()) + 1}: NameError: name 'oops' is not defined"
    ):
        load_model_file(write(CODE + "oops\n"))
    assert [entry.name for entry in load_model_file(write())] == ["mine"]


def test_which_models_are_run(write):
    def picked(names, *files):
        return [
            config.entry.name
            for config in check_job(
                JobOptions(names, "digits", preset="smoke", device="cpu", model_files=files)
            ).configs
        ]

    path = write()
    other = write(CODE.replace('"mine"', '"other"'), "other.py")
    assert picked(None, path) == picked("mine", path) == picked(None, path, path) == ["mine"]
    assert picked("mopoe", path) == picked("mopoe,mine", path) == ["mopoe", "mine"]
    assert picked(None, other, path) == ["other", "mine"]
    assert picked("all", path, other) == [entry.name for entry in find_models("all")]
    with pytest.raises(
        InputError,
        match=r"No model to run: name some with --models .*, or a file of yours with --model-file\.",
    ):
        picked(None)


def test_the_text_of_the_file_decides_the_result(write):
    def decisive(code):
        entries = load_model_file(write(code))
        (found,) = [config.decisive(DATA) for config in make_configs(entries, "digits", "smoke", [])]
        MODELS.discard("mine")
        return found

    plain = decisive(CODE)
    assert re.fullmatch("[0-9a-f]{16}", plain["code"])
    assert decisive(CODE.replace("\n", "\r\n")) == plain
    assert decisive(CODE + "# edited\n")["code"] != plain["code"]
    assert "code" not in make_configs([MODELS.get("mopoe")], "digits", "smoke", [])[0].decisive(DATA)


def test_another_process_gets_the_text_that_was_read(write):
    """Not what the file holds by then: a job may take hours, in which its author goes on writing."""
    path = write()
    (config,) = make_configs(load_model_file(path), "digits", "smoke", ["alpha=0.5"])
    path.write_text("oops")
    code = """
import pickle, sys
config = pickle.load(sys.stdin.buffer)
from models.conformance import TWO
print(repr(config.entry.model(TWO, config.settings)), config.entry.file.code)
"""
    found = subprocess.run(
        [sys.executable, "-c", code],
        input=pickle.dumps(config),
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert found.returncode == 0, found.stderr.decode()
    assert (
        found.stdout.decode().split()
        == f"{config.entry.model(TWO, config.settings)!r} {config.entry.file.code}".split()
    )


def test_a_run_of_a_file_from_beginning_to_end(write, invoke, tmp_path, monkeypatch):
    for file in ("run_job", "finished"):
        monkeypatch.setattr(f"mmbench.execution.{file}.load_data", load_data_once)
    monkeypatch.setattr("mmbench.report.write_report", lambda *_: [])
    monkeypatch.chdir(tmp_path)
    path = Path(write().name)
    folder = Path("results/digits/smoke/mine/seed-0")

    result = invoke(*RUN, "--model-file", path, "--jobs", "2")  # in a process of its own
    assert result.code == 0, result.text
    config = read_json(folder / "config.json")
    assert config["code"] == MODELS.get("mine").file.code
    assert config["command"].startswith(
        "mmbench run --model-file my_model.py --models mine --dataset digits --preset smoke --seeds 0 "
    )
    assert "probe/street" in read_json(folder / "metrics.json")["metrics"]
    assert "1 runs, 1 of them done" in invoke(*RUN, "--model-file", path).text
    assert invoke("evaluate", folder, "--model-file", path, "--metrics", "probe").code == 0

    MODELS.discard("mine")  # as in a new process
    for command in (("evaluate", folder), ("run", "--config", folder / "config.json")):
        unknown = invoke(*command)
        assert unknown.code == 2
        assert "The model mine came from a file of yours: name it with --model-file." in unknown.text

    path.write_text(path.read_text(encoding="utf-8") + "# edited\n")
    edited = invoke(*RUN, "--model-file", path)
    assert edited.code == 2
    assert (
        f"differs in code ({config['code']} there, {MODELS.get('mine').file.code} asked for). Keep both "
        "with --label NAME" in edited.text
    )
    evaluated = invoke("evaluate", folder, "--model-file", path)
    assert evaluated.code == 2
    assert "was made with other data, code or settings: code (" in evaluated.text
    assert evaluated.text.endswith("Give its model's file, as it was, with --model-file.\n")


def test_check_looks_at_every_model_of_a_file(write, invoke):
    broken = "\n@dataclass(frozen=True)\nclass None_: ...\n" + REGISTER.format("broken", "None_")
    result = invoke("check", "--model-file", write(CODE + broken))
    assert result.code == 1
    assert "mine keeps the contract." in result.text
    assert "broken breaks the contract in " in result.text
    assert "broken" not in invoke("check", "mine", "--model-file", write(CODE + broken)).text
    nothing = invoke("check")
    assert nothing.code == 2
    assert "No model to check: name one" in nothing.text


def test_the_example_package_is_small_and_names_its_module():
    assert (
        sum(
            len(path.read_text(encoding="utf-8").splitlines()) for path in EXAMPLE.iterdir() if path.is_file()
        )
        < 80
    )
    (module,) = re.findall(
        r'\[project\.entry-points\."mmbench\.models"\]\njmvae = "(\w+)"',
        (EXAMPLE / "pyproject.toml").read_text(),
    )
    assert (EXAMPLE / f"{module}.py").exists()


def test_the_example_keeps_the_contract(write):
    (entry,) = load_model_file(write())
    assert [problem for _, problem in check_model(entry) if problem] == []


def test_the_loss_of_the_example(write):
    """Against torch's distributions."""
    (entry,) = load_model_file(write())
    torch.manual_seed(0)
    model = entry.model(TWO, entry.settings(alpha=0.3)).eval()
    batch = {m.name: torch.rand(5, *m.shape) for m in TWO}
    torch.manual_seed(1)
    total = model.loss(batch, torch.tensor(0.5)).total

    def normal(p):
        return Normal(p.mean, p.logvar.exp().sqrt())

    joint = model.posterior(batch)
    torch.manual_seed(1)
    latent = joint.rsample()
    expected = kl_divergence(normal(joint), Normal(0, 1)).sum(-1)
    for m in TWO:
        only = {m.name: batch[m.name]}
        expected += -m.weight * model.likelihoods[m.name](batch[m.name], model.decode(m.name, latent))
        expected += 0.3 * kl_divergence(normal(joint), normal(model.posterior(only))).sum(-1)
        torch.testing.assert_close(model.infer(only), model.posteriors(only)[m.name].mean)
    torch.testing.assert_close(total, expected.mean())
    assert torch.equal(model.infer(batch), joint.mean)
