"""How far runs are, from their files: every state, in another process that holds or has lost its lock, without torch; and tables of runs."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
from options import SMALL
from written_runs import write_run

from mmbench.console import summarise, tabulate
from mmbench.report.status import describe_runs, tabulate_runs
from mmbench.storage.files import DamagedError, read_json
from mmbench.storage.locks import is_held, locked
from mmbench.storage.records import read_status
from mmbench.storage.run_folder import RunFolder
from models.errors import InputError

RUN = (
    sys.executable,
    "-m",
    "mmbench",
    "run",
    "--dataset",
    "digits",
    "--preset",
    "smoke",
    "--jobs",
    "1",
    *SMALL,
)


@pytest.fixture
def folder(tmp_path):
    return write_run(tmp_path, "mopoe", value=0.25)


def line(tmp_path):
    """The line of the only run."""
    found, _ = describe_runs(tmp_path)
    return found


def begin(folder, **more):
    RunFolder(folder).set_status("running", **more)
    (folder / ".lock").touch()


def test_a_finished_run_shows_its_metrics_beside_the_judges(folder, tmp_path):
    assert (
        line(tmp_path)
        == "mnist-svhn/quick/mopoe/seed-0  done     joint_coherence 25.0 % (judges: mnist 99.0 %)"
    )


def test_a_failed_run_shows_its_error_in_one_line(folder, tmp_path):
    RunFolder(folder).set_status("failed", error="RuntimeError: one\n  and two", traceback="...")
    assert line(tmp_path).endswith("failed   RuntimeError: one and two")


def test_a_run_with_a_configuration_alone_is_pending(folder, tmp_path):
    (folder / "status.json").unlink()
    assert line(tmp_path).endswith("seed-0  pending")


def test_a_run_is_running_while_its_lock_is_held(folder, tmp_path):
    begin(folder, step=1234)
    assert re.search(r"stopped  step 1,234 of 4,000 \d s ago, no checkpoint yet$", line(tmp_path))
    with locked(folder / ".lock", lambda: pytest.fail("held")):
        assert re.search(r"running  step 1,234 of 4,000 \d s ago, no checkpoint yet$", line(tmp_path))


def test_ages_are_those_of_the_files(folder, tmp_path):
    begin(folder)
    (folder / "checkpoint.pt").touch()
    for name, age in (("status.json", 600), ("checkpoint.pt", 7200)):
        os.utime(folder / name, 2 * (time.time() - age,))
    assert line(tmp_path).endswith("stopped  begun 10 min ago, checkpoint 2.0 h old")
    begin(folder, step=4000)
    assert "all 4,000 steps trained, not evaluated 0 s ago" in line(tmp_path)


def test_a_damaged_run_is_a_line_like_any_other(folder, tmp_path):
    write_run(tmp_path, "mmvae", 3)
    (folder / "status.json").write_text("{")
    mmvae, mopoe, counts = describe_runs(tmp_path)
    assert mmvae.startswith("mnist-svhn/quick/mmvae/seed-3  done ")
    assert "damaged" in mopoe
    assert "cannot be read as JSON" in mopoe
    assert counts == "1 done, 1 damaged."


def test_runs_are_in_order_and_counted(tmp_path):
    for seed in (10, 9):
        write_run(tmp_path, "mopoe", seed)
    write_run(tmp_path, "cada-vae", 0, state="failed", label="wide")
    *lines, counts = describe_runs(tmp_path / "mnist-svhn")
    assert [found.split()[0].removeprefix("mnist-svhn/quick/") for found in lines] == [
        "cada-vae+wide/seed-0",
        "mopoe/seed-9",
        "mopoe/seed-10",
    ]
    assert counts == "2 done, 1 failed."


def test_a_folder_without_runs_is_refused(tmp_path):
    with pytest.raises(InputError, match="is empty"):
        describe_runs(tmp_path)


def test_a_step_that_is_no_number_is_a_damage(folder):
    RunFolder(folder).set_status("running", step="many")
    with pytest.raises(DamagedError, match="'many' for 'step', expected a number"):
        read_status(folder, None)


def test_to_ask_for_a_lock_makes_no_file_and_leaves_it_free(tmp_path):
    path = tmp_path / ".lock"
    assert is_held(path) is False
    assert not path.exists()
    with locked(path, lambda: pytest.fail("held")):
        assert is_held(path) is True
    assert is_held(path) is False
    with locked(path, lambda: pytest.fail("held")):
        pass


def test_no_torch_is_loaded(folder, tmp_path):
    code = f"""
import sys
from mmbench.cli import main
try:
    main(["status", {str(tmp_path)!r}])
except SystemExit as end:
    assert end.code == 0, end.code
print("loaded:", sorted({{"torch", "numpy", "pandas", "matplotlib"}} & set(sys.modules)))
"""
    text = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    assert text.splitlines()[-2:] == ["1 done.", "loaded: []"]


def test_a_run_is_seen_from_another_process_while_it_runs_and_after_it_was_killed(tmp_path):
    command = [*RUN, "--models", "mopoe", "--results", str(tmp_path), "--set", "steps=1000000"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        deadline = time.monotonic() + 120
        while not list(tmp_path.rglob("status.json")) or "step" not in line(tmp_path):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.1)
        assert re.search(
            r"digits/smoke/mopoe/seed-0  running  step [\d,]+ of 1,000,000 \d+ s ago, no checkpoint yet$",
            line(tmp_path),
        )
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        assert re.search(
            r"stopped  step [\d,]+ of 1,000,000 \d+ s ago, checkpoint \d+ s old$", line(tmp_path)
        )
    finally:
        process.kill()
        process.communicate()


def test_a_job_ends_with_a_table_of_its_runs(invoke, tmp_path, monkeypatch):
    monkeypatch.setattr("mmbench.report.write_report", lambda *_: [])  # takes seconds
    command = (
        "run",
        "--dataset",
        "digits",
        "--preset",
        "smoke",
        "--jobs",
        "1",
        *SMALL,
        "--models",
        "mopoe",
        "--results",
        tmp_path,
    )
    result = invoke(*command, "--seeds", "0,10", "--metrics", "coherence,probe")
    assert result.code == 0, result.text
    lines = result.text.splitlines()
    head = next(
        i
        for i, found in enumerate(lines)
        if found.split() == ["seed", "state", "joint", "cross", "probe", "time"]
    )
    for seed, found in zip((0, 10), lines[head + 1 :], strict=False):
        metrics = read_json(tmp_path / "digits" / "smoke" / "mopoe" / f"seed-{seed}" / "metrics.json")[
            "metrics"
        ]
        cross = [
            metrics[f"cross_coherence/{pair}/sample"]
            for pair in ("handwritten->street", "street->handwritten")
        ]
        probes = [metrics[f"probe/{name}"] for name in ("handwritten", "street")]
        shares = [
            f"{100 * value:.1f}" for value in (metrics["joint_coherence"], sum(cross) / 2, sum(probes) / 2)
        ]
        assert found.split()[:-2] == ["mopoe", str(seed), "done", *shares]
        assert found.split()[-1] == "s"
    assert len({len(found) for found in lines[head : head + 3]}) == 1


def test_a_table_of_runs_without_metrics(folder, tmp_path):
    RunFolder(folder).set_status("failed", error="no", traceback=None)
    shutil.copytree(folder, pending := folder.parent / "seed-1")
    (pending / "config.json").write_text("{}")
    _, failed, damaged, _ = tabulate_runs([folder, pending])
    assert failed.split() == ["mopoe", "0", "failed"]
    assert damaged.split() == ["mopoe", "1", "damaged"]


def test_columns_stand_below_each_other():
    assert tabulate([["", "n"], ["model", "100"], ["m", ""]]) == ["         n", "model  100", "m"]


def test_of_many_cross_coherences_the_means_stand_alone():
    metrics = {
        "joint_coherence": 0.5,
        "joint_coherence/chance": 0.1,
        "cross_coherence/a->b/sample": 0.2,
        "fd_clf/a": 3.0,
        "fid/a": None,
    }
    assert summarise(metrics, {"judge/a": 0.9, "fid_floor/a": 1.0}) == (
        "joint_coherence 50.0 %, cross_coherence/a->b/sample 20.0 %, fd_clf/a 3.0 (judges: a 90.0 %)"
    )
    assert summarise({**metrics, "cross_coherence/size-1/sample": 0.25}, {}) == (
        "joint_coherence 50.0 %, fd_clf/a 3.0, cross_coherence/size-1/sample 25.0 %"
    )
