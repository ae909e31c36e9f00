"""What tests share: a cache of their own, and one finished smoke run of every model."""

import os
import shutil
import signal
from functools import cache
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from filelock import FileLock
from options import SHORT_CHAINS, SMALL
from run_files import seed_folder

# a process for each core: threads would only stand in each other's way
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"


# nohup and a shell's & leave signals ignored, and so would the commands that tests start and stop
for name, handler in (("SIGINT", signal.default_int_handler), ("SIGHUP", signal.SIG_DFL)):
    if (number := getattr(signal, name, None)) and signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, handler)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """Files with slow tests come first, so that no process is left with one at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """No test reads or fills the user's cache, and none looks for Inception weights on the network."""
    before = {key: os.environ.get(key) for key in ("MMBENCH_CACHE", "TORCH_HOME")}
    os.environ["MMBENCH_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    os.environ["TORCH_HOME"] = str(tmp_path_factory.mktemp("torch"))
    yield
    for key, value in before.items():
        if value is None:
            del os.environ[key]
        else:
            os.environ[key] = value


@pytest.fixture(scope="session", autouse=True)
def street_digits():
    """Every run on the embedded data set has the same images: the process renders them once."""
    from mmbench.data import digits

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(digits, "_street", cache(digits._street))
        yield


@pytest.fixture(scope="session", autouse=True)
def coarse_pictures():
    """Pictures of few pixels: most runs of these tests draw some that nobody looks at."""
    from mmbench.report.pictures import canvas

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(canvas._STYLE, "figure.dpi", 40)
        yield


@pytest.fixture(scope="session")
def registries():
    """All registries, with what packages register in them."""
    from mmbench.data.base import DATASETS
    from models.parts.own_networks import NETWORKS
    from models.registry import MODELS

    found = (DATASETS, MODELS, NETWORKS)
    for registry in found:
        list(registry)
    return found


@pytest.fixture(autouse=True)
def registered_here_alone(registries):
    """What a test registers is gone after it: `all` means the same models to the next one."""
    before = [dict(registry._entries) for registry in registries]
    yield
    for registry, entries in zip(registries, before, strict=True):
        registry._entries = entries


@pytest.fixture
def register():
    """Registers a loader as the data set "case"."""
    from mmbench.data.base import register_dataset

    return register_dataset("case", source="made up", default_preset="smoke", description="a case")


@pytest.fixture(scope="session")
def invoke():
    """Call the command line in this process: an object with `code` and `text`, which holds what was printed
    to both streams.
    """

    def call(*arguments):
        from mmbench.cli import main

        result = CliRunner().invoke(main, [str(a) for a in arguments], catch_exceptions=True)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return SimpleNamespace(code=result.exit_code, text=result.output)

    return call


@pytest.fixture(scope="session")
def finished(invoke, tmp_path_factory):
    """The results folder of a finished smoke run of all models on the embedded data set, a few steps long:
    made once, to be read by all processes.
    """
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    results, said = shared / "finished", shared / "finished.txt"
    with FileLock(shared / "finished.lock"):
        if not said.exists():
            result = invoke(
                "run",
                "--models",
                "all",
                "--dataset",
                "digits",
                "--preset",
                "smoke",
                "--jobs",
                "1",
                "--results",
                results,
                *SMALL,
                *SHORT_CHAINS,
            )
            assert result.code == 0, result.text
            said.write_text(result.text, encoding="utf-8")
    return SimpleNamespace(path=results, text=said.read_text(encoding="utf-8"))


@pytest.fixture
def run(finished, tmp_path):
    """A copy of the finished run of one model that a test may damage."""
    model = finished.path / "digits" / "smoke" / "mopoe"
    return shutil.copytree(model, tmp_path / "results" / "digits" / "smoke" / "mopoe") / "seed-0"


@pytest.fixture
def copy(finished, tmp_path):
    """A results folder with a copy of MoPoE's finished run alone, whose report is soon written."""
    shutil.copytree(seed_folder(finished.path), seed_folder(tmp_path / "results"))
    return tmp_path / "results"


@pytest.fixture
def digits_once(monkeypatch):
    """The embedded data are made once for all of the tests that ask for it."""
    from refusals import load_data_once

    for file in ("run_job", "finished"):
        monkeypatch.setattr(f"mmbench.execution.{file}.load_data", load_data_once)


@pytest.fixture(scope="session")
def report_folder(tmp_path_factory):
    """A preset folder with its report: three models of two seeds with diagnostics.

    One is an attack, one has a failed seed.
    """
    from report_setup import copy_runs

    from mmbench.report import write_report

    folder = copy_runs(tmp_path_factory.mktemp("report"), models=3, seeds=2, failed=[(2, 1)], evil=1)
    write_report(folder)
    return folder


@pytest.fixture(scope="session")
def paper_folder(tmp_path_factory):
    """The same of one run on the data set that the paper reports."""
    from report_setup import PUBLISHED

    from mmbench.report import write_report

    folder = tmp_path_factory.mktemp("paper") / "mnist-svhn" / "cpu"
    shutil.copytree(
        PUBLISHED.parents[1] / "mnist-svhn" / "cpu" / "cnf-mvae" / "seed-0", folder / "cnf-mvae" / "seed-0"
    )
    write_report(folder)
    return folder
