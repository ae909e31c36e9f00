"""What tests share: a cache of their own, and one finished smoke run of every model."""

import os
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

SMALL = ("--set", "draws=60", "--set", "joint_draws=40", "--set", "probe_images=60", "--set", "judge_steps=3", "--set", "steps=4")


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


@pytest.fixture(scope="session")
def invoke():
    """Call the command line in this process: an object with `code` and `text`, which holds what was printed to both streams."""

    def call(*arguments):
        from mmbench.cli import main

        result = CliRunner().invoke(main, [str(a) for a in arguments], catch_exceptions=True)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return SimpleNamespace(code=result.exit_code, text=result.output)

    return call


@pytest.fixture(scope="session")
def finished(invoke, tmp_path_factory):
    """The results folder of a finished smoke run of all models on the embedded data set, a few steps long."""
    results = tmp_path_factory.mktemp("results")
    result = invoke("run", "--models", "all", "--dataset", "digits", "--preset", "smoke", "--jobs", "1", "--results", results, *SMALL)
    assert result.code == 0, result.text
    return SimpleNamespace(path=results, text=result.text)
