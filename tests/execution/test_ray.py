"""Runs on a Ray cluster: the bits of a local run whatever is lost on the way, bounded retries, and nodes that
lack something named.
"""

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from filelock import FileLock
from options import SMALL
from run_files import results_of, seed_folder

from mmbench.console import Console
from mmbench.execution.executor import pick_executor
from mmbench.execution.remote import Session
from mmbench.execution.signals import Stop
from mmbench.plan.cluster import Cluster, pick_cluster
from mmbench.plan.planned import PlannedRun
from mmbench.storage.run_folder import RunFolder
from mmbench.training.checkpoints import previous_path
from models.errors import InputError
from models.names import find_model

TESTS = (Path(__file__).parent, Path(__file__).parents[1] / "support")
MEMORY = 80 * 2**20  # bytes of each node's object store
RUN = ("run", "--dataset", "digits", "--preset", "smoke", *SMALL)
LONG = (
    "--models",
    "mopoe",
    "--set",
    "steps=120",
    "--set",
    "batch_size=32",
    "--looks",
    "6",
)  # looks write checkpoints


def die_once_home(run):
    """Dies as soon as the run's checkpoint has travelled: worker and results folder of these tests are on one
    machine.
    """
    written = run.folder.checkpoint.read_bytes()
    for _ in range(1200):
        with suppress(FileNotFoundError):
            if (run.config.home / "checkpoint.pt").read_bytes() == written:
                os._exit(9)
        time.sleep(0.05)
    raise AssertionError("The checkpoint did not travel in a minute.")


@dataclass(frozen=True)
class Work:
    """Writes like a run: a checkpoint with one byte more than the one that it finds.

    Dies until that has `enough`, if `dies`.
    """

    enough: int
    dies: bool = False

    def __call__(self, run, console, stop):
        folder = run.folder
        before = folder.checkpoint.read_bytes() if folder.checkpoint.exists() else b""
        console.say(f"finds {len(before)}")
        (folder.path / "checkpoint.previous.pt").write_bytes(before)
        (folder.path / "half.part").write_bytes(b"")
        folder.checkpoint.write_bytes(before + b"x")
        with console.task("count", 10) as task:
            task.update(1)
            if self.dies and len(before) + 1 < self.enough:
                die_once_home(run)
        while not self.dies and len(before) + 1 < self.enough:
            stop.check()
            time.sleep(0.05)
        (folder.path / "metrics.json").write_bytes(b"{}")
        return True


@dataclass(frozen=True)
class Stepping:
    """Dies after every step but the fourth, with a checkpoint that says how far it got."""

    def __call__(self, run, console, stop):
        path = run.folder.checkpoint
        step = torch.load(path)["step"] + 1 if path.exists() else 1
        torch.save({"step": step}, path)
        if step < 4:
            die_once_home(run)
        (run.folder.path / "metrics.json").write_bytes(b"{}")
        return True


def fake_run(folder, model=Work):
    home = folder / "model" / "seed-0"
    entry = SimpleNamespace(file=None, model=model, packages=())
    return PlannedRun(SimpleNamespace(entry=entry, home=home), 0, RunFolder(home), {}, "", {})


def listen(session):
    """All news up to the end, which must come."""
    found = []
    for _ in range(100):
        found += session.news()
        if found and found[-1][0] == "end":
            return found
    raise AssertionError(found)


def test_what_a_session_writes_comes_back(tmp_path):
    session = Session(fake_run(tmp_path), {"checkpoint.pt": b"xx", "samples/a.png": b"a"}, Work(3), 1)
    scratch = session.folder.path
    assert scratch.parts[-2:] == ("model", "seed-0")
    found = listen(session)
    assert [row for row in found if row[0] == "file"] == [
        ("file", "checkpoint.pt", b"xxx"),
        ("file", "metrics.json", b"{}"),
    ]
    assert [row[0] for row in found if row[0] != "file"] == ["say", "open", "update", "close", "end"]
    assert found[-1] == ("end", "done", None)
    assert ("say", 0, "finds 2") in found
    assert not scratch.exists()


def test_a_session_that_is_told_to_stop(tmp_path):
    session = Session(fake_run(tmp_path), {}, Work(100), 1)
    session.tell_to_stop()
    assert listen(session)[-2:] == [("file", "checkpoint.pt", b"x"), ("end", "stopped", None)]


def test_a_session_that_raises(tmp_path):
    _, how, traceback = listen(Session(fake_run(tmp_path), {}, None, 1))[-1]
    assert how == "raised"
    assert "'NoneType' object is not callable" in traceback


def test_whatever_ends_a_session_is_no_success(tmp_path):
    def leave(run, console, stop):
        raise KeyboardInterrupt

    _, how, traceback = listen(Session(fake_run(tmp_path), {}, leave, 1))[-1]
    assert how == "raised"
    assert "KeyboardInterrupt" in traceback


def test_a_worker_needs_what_the_model_imports_when_it_is_made():
    pytest.importorskip("ray", reason="ray is not installed")
    pytest.importorskip("multivae", reason="needs MultiVae: pip install multivae==1.0.3")
    from mmbench.execution.ray_nodes import needed_versions

    for name, own in (("mopoe", set()), ("multivae-mopoe", {"multivae"})):
        found = needed_versions(SimpleNamespace(config=SimpleNamespace(entry=find_model(name))))
        assert set(found) == {"mmbench", "torch", "torchvision", "numpy", "scipy", "scikit-learn"} | own
        assert all(version(package) == there for package, there in found.items())


WRONG = {
    "executor": (("rey", None, None, None), "Unknown executor 'rey': did you mean 'ray'?"),
    "no cluster": (("local", "auto", None, None), "--ray-address is for a cluster: add --executor ray"),
    "cpus": (("ray", None, 0, None), "--cpus-per-run 0 is not usable"),
    "gpus": (("ray", None, None, 1.5), "--gpus-per-run 1.5 is not usable"),
    "no number": (("ray", None, None, float("nan")), "--gpus-per-run nan is not usable"),
}


@pytest.mark.parametrize("case", WRONG)
def test_options_that_cannot_be_used(case):
    words, message = WRONG[case]
    with pytest.raises(InputError, match=message.replace("?", r"\?")):
        pick_cluster(*words)


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setattr("mmbench.execution.executor.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"install the extra with pip install 'mmbench\[ray\]'"):
        pick_executor(SimpleNamespace(cluster=Cluster("auto", 1, 0.0)), 1, None, None, print)


def test_an_address_where_no_cluster_answers(monkeypatch):
    pytest.importorskip("ray", reason="ray is not installed")
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    with pytest.raises(
        InputError,
        match=(
            r"There is no Ray cluster at 127\.0\.0\.1:1 \(.*refused\): start one with `ray start --head`, "
            r"or give"
        ),
    ):
        pick_executor(
            SimpleNamespace(cluster=Cluster("127.0.0.1:1", 1, 0.0), jobs=None), 1, None, None, print
        )


def test_the_device_of_a_cluster():
    assert pick_cluster("local", None, None, None) is None
    assert pick_cluster("ray", None, None, None) == Cluster("auto", 1, 0.0)
    assert Cluster("auto", 1, 0.0).device("auto") == torch.device("cpu")
    assert Cluster("auto", 1, 0.5).device("auto") == torch.device("cuda")
    with pytest.raises(InputError, match="--device cuda is not what runs get on the cluster"):
        Cluster("auto", 1, 0.0).device("cuda")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A head that makes no runs, on this machine; tests add the nodes that do."""
    pytest.importorskip("ray", reason="ray is not installed")
    import ray
    from ray.cluster_utils import Cluster as Nodes

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_worker_niceness", "0")  # by default 15, which starves them beside other tests
        patch.setenv("PYTHONPATH", os.pathsep.join(map(str, TESTS)))  # of the workers, which find Work there
        nodes = Nodes(
            initialize_head=True,
            head_node_args={"num_cpus": 0, "object_store_memory": MEMORY, "include_dashboard": False},
        )
        yield nodes
        ray.shutdown()
        nodes.shutdown()


@contextmanager
def node(cluster, cpus, **environment):
    """A node with so many processors, which is killed at the end."""
    added = cluster.add_node(num_cpus=cpus, object_store_memory=MEMORY, env_vars=environment)
    try:
        yield added
    finally:
        if added in cluster.list_all_nodes():
            cluster.remove_node(added, allow_graceful=False)


class Listener(Console):
    """Keeps what is said, and acts on some of it."""

    def __init__(self, acts):
        super().__init__()
        self.acts, self.lines = acts, []

    def say(self, line):
        self.lines.append(line)
        for words, act in self.acts.items():
            if words in line:
                act()


def execute(cluster, runs, work, console=None, cpus=1):
    """Failed runs, and what is told of lost ones: how, and the traceback."""
    from mmbench.execution.ray_executor import RayExecutor

    lost = {}
    executor = RayExecutor(pick_cluster("ray", cluster.address, cpus, None), None)
    failed = executor.execute(
        runs, work, console or Listener({}), Stop(), lambda run, *what: lost.update({run.folder.path: what})
    )
    return failed, lost


@pytest.mark.slow
def test_lost_workers_go_on_elsewhere_so_many_times(cluster, tmp_path, monkeypatch):
    """The first run, for which another command has to be waited, dies once and goes on from what has arrived;
    the second one dies always.
    """
    monkeypatch.setattr("mmbench.execution.ray_executor.RETRIES", 1)
    runs = [fake_run(tmp_path / name) for name in ("a", "b")]
    runs[0].folder.path.mkdir(parents=True)
    runs[0].folder.checkpoint.write_bytes(b"xx")
    lock = FileLock(runs[0].folder.path / ".lock")
    lock.acquire()
    said = Listener({"waiting for another command that is at work on it": lock.release})
    with node(cluster, 1), node(cluster, 1):
        failed, lost = execute(cluster, runs, Work(4, dies=True), said)
    assert lost.keys() == {runs[1].folder.path}, lost
    assert failed == runs[1:]
    assert runs[0].folder.checkpoint.read_bytes() == b"xxxx"
    assert sorted(path.name for path in runs[0].folder.path.iterdir() if path.name != ".lock") == [
        "checkpoint.pt",
        "metrics.json",
    ]
    assert runs[1].folder.checkpoint.read_bytes() == b"xx"
    assert (runs[1].folder.path / "checkpoint.previous.pt").read_bytes() == b"x"
    how, traceback = lost[runs[1].folder.path]
    assert how == "its worker was lost 2 times at one step"
    assert "died" in traceback
    assert sum("waiting for another command" in line for line in said.lines) == 1
    assert sum("its worker was lost; it goes on elsewhere (retry 1 of 1)" in line for line in said.lines) == 2


@pytest.mark.slow
def test_losses_count_where_nothing_was_gained_and_a_run_that_cannot_travel_fails_alone(
    cluster, tmp_path, monkeypatch
):
    # fewer than the losses; one to spare for a start that fails on a busy machine
    monkeypatch.setattr("mmbench.execution.ray_executor.RETRIES", 2)
    stays = replace(fake_run(tmp_path / "b"), hash=lambda: None)
    with node(cluster, 1):
        failed, lost = execute(cluster, [stays, fake_run(tmp_path / "a")], Stepping())
    assert lost.keys() == {stays.folder.path}, lost
    assert failed == [stays]
    how, traceback = lost[stays.folder.path]
    assert how == "it cannot be sent to a worker"
    assert "pickle" in traceback
    assert torch.load(tmp_path / "a" / "model" / "seed-0" / "checkpoint.pt") == {"step": 4}
    assert (tmp_path / "a" / "model" / "seed-0" / "metrics.json").exists()


@pytest.mark.slow
def test_nodes_that_lack_something_are_named(cluster, tmp_path, monkeypatch):
    (tmp_path / "lonely_plugin.py").write_text("class Model:\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    import lonely_plugin

    message = (
        r"The Ray node \S+ \(.*\) cannot make model seed 0: ModuleNotFoundError: No module named "
        r"'lonely_plugin'\. Put there what is here"
    )
    with node(cluster, 1), pytest.raises(InputError, match=message):
        execute(cluster, [fake_run(tmp_path, lonely_plugin.Model)], Work(1))
    fake = tmp_path / "other" / "torch-0.0.1.dist-info"
    fake.mkdir(parents=True)
    (fake / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 0.0.1\n")
    message = rf"it has torch 0\.0\.1, which is {re.escape(version('torch'))} on this machine\. Put there"
    with node(cluster, 1, PYTHONPATH=str(fake.parent)), pytest.raises(InputError, match=message):
        execute(cluster, [fake_run(tmp_path)], Work(1))
    with monkeypatch.context() as patch:
        patch.setattr("mmbench.execution.ray_executor.code_hash", lambda: "0" * 16)
        with (
            node(cluster, 1),
            pytest.raises(InputError, match="its mmbench has other code than that of this machine"),
        ):
            execute(cluster, [fake_run(tmp_path)], Work(1))
    with pytest.raises(InputError, match="No node of the Ray cluster has 64 processors for a run"):
        execute(cluster, [], Work(1), cpus=64)


@pytest.mark.slow
def test_the_same_bits_as_local(cluster, invoke, tmp_path):
    """Two models at once, each with as many threads as the one after another in this process."""
    words = (*RUN, "--models", "mvae,cada-vae", "--results")
    threads = torch.get_num_threads()
    assert invoke(*words, tmp_path / "local", "--jobs", "1").code == 0
    with node(cluster, threads), node(cluster, threads):
        result = invoke(
            *words,
            tmp_path / "ray",
            "--executor",
            "ray",
            "--ray-address",
            cluster.address,
            "--cpus-per-run",
            threads,
        )
    assert result.code == 0, result.text
    for model in ("mvae", "cada-vae"):
        assert results_of(seed_folder(tmp_path / "ray", model)) == results_of(
            seed_folder(tmp_path / "local", model)
        )


class Driver:
    """The command in a process of its own, whose output is kept."""

    def __init__(self, cluster, folder):
        self.folder = seed_folder(folder)
        words = ["-m", "mmbench", *RUN, *LONG, "--results", str(folder), "--executor", "ray"]
        words += ["--ray-address", cluster.address]
        self.process = subprocess.Popen(
            [sys.executable, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def wait_for_checkpoint(self):
        """Until there is another one than now."""
        before, end = self._written(), time.monotonic() + 600
        while self._written() in (None, before):  # None also while the next one is put into its place
            assert self.process.poll() is None, self.process.communicate()[0]
            assert time.monotonic() < end
            time.sleep(0.1)

    def step(self):
        """That of the checkpoint that has arrived last."""
        newest = self.folder / "checkpoint.pt"
        try:
            return torch.load(newest, weights_only=True)["step"]
        except FileNotFoundError:  # the next one is being put into its place
            return torch.load(previous_path(newest), weights_only=True)["step"]

    def _written(self):
        with suppress(FileNotFoundError):
            return (self.folder / "checkpoint.pt").stat().st_mtime_ns

    def end(self, number=None):
        """The exit code and the output, after a signal where one is given."""
        if number is not None:
            self.process.send_signal(number)
        text, _ = self.process.communicate(timeout=600)
        return self.process.returncode, text


@pytest.mark.slow
def test_a_run_that_is_stopped_killed_and_moved_has_the_bits_of_a_local_one(cluster, invoke, tmp_path):
    """First Ctrl-C, then the command is killed, then the node, in mid-training each time."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert invoke(*RUN, *LONG, "--jobs", "1", "--results", tmp_path / "local").code == 0
    finally:
        torch.set_num_threads(threads)
    with node(cluster, 1) as first:
        driver = Driver(cluster, tmp_path)
        driver.wait_for_checkpoint()
        earliest = driver.step()  # of all that a run from the beginning writes
        while driver.step() == earliest:
            driver.wait_for_checkpoint()
        code, text = driver.end(signal.SIGINT)
        assert (code, "Stopped. What is done is kept" in text) == (130, True), text
        steps = [driver.step()]
        driver = Driver(cluster, tmp_path)
        driver.wait_for_checkpoint()
        assert driver.end(signal.SIGKILL)[0] == -signal.SIGKILL
        steps.append(driver.step())
        driver = Driver(cluster, tmp_path)
        driver.wait_for_checkpoint()
        steps.append(driver.step())
        # each command goes on from where the one before was
        assert earliest < steps[0] <= steps[1] <= steps[2]
        cluster.remove_node(first, allow_graceful=False)
    with node(cluster, 1):
        code, text = driver.end()
    assert (code, "goes on elsewhere (retry 1 of 3)" in text) == (0, True), text
    assert results_of(seed_folder(tmp_path)) == results_of(seed_folder(tmp_path / "local"))
