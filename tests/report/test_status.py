"""How far runs are, from their files: every state, in other processes too; and what a terminal shows."""

import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
from options import SMALL
from run_files import seed_folder
from written_runs import edit, write_run

from mmbench.console import headline, printable, summarise, table
from mmbench.report.status import describe_runs, tabulate_runs
from mmbench.storage.files import DamagedError, read_json
from mmbench.storage.locks import locked
from mmbench.storage.records import read_status
from mmbench.storage.run_folder import RunFolder
from mmbench.storage.runs import read_run, see_run
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
    """The line of the only run, with two blanks between its fields."""
    _, found, _ = describe_runs(tmp_path)
    return re.sub("  +", "  ", found)


def begin(folder, **more):
    RunFolder(folder).set_status("running", **more)
    (folder / ".lock").touch()


def test_a_finished_run_shows_its_main_metrics_and_its_time(folder, tmp_path):
    assert line(tmp_path) == "mnist-svhn/quick  mopoe  0  done  62 min  joint 25.0 %"


def test_a_failed_run_shows_its_error_in_one_line(folder, tmp_path):
    RunFolder(folder).set_status("failed", error="RuntimeError: one\n  and two", traceback="...")
    assert line(tmp_path).endswith("failed  RuntimeError: one and two")


def test_a_run_with_a_configuration_alone_is_pending(folder, tmp_path):
    (folder / "status.json").unlink()
    assert line(tmp_path).endswith("mopoe  0  pending")


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
    _, mmvae, mopoe, counts = describe_runs(tmp_path)
    assert mmvae.split()[:4] == ["mnist-svhn/quick", "mmvae", "3", "done"]
    assert mopoe.split()[:3] == ["mnist-svhn/quick", "mopoe", "0"]
    assert "damaged" in mopoe
    assert "cannot be read as JSON" in mopoe
    assert counts == "1 done, 1 damaged."


def test_runs_are_in_order_and_counted(tmp_path):
    for seed in (10, 9):
        write_run(tmp_path, "mopoe", seed)
    write_run(tmp_path, "cada-vae", 0, state="failed", label="wide")
    _, *lines, counts = describe_runs(tmp_path / "mnist-svhn")
    assert [found.split()[1:3] for found in lines] == [
        ["cada-vae+wide", "0"],
        ["mopoe", "9"],
        ["mopoe", "10"],
    ]
    assert counts == "2 done, 1 failed."


def test_a_folder_without_runs_is_refused(tmp_path):
    with pytest.raises(InputError, match="is empty"):
        describe_runs(tmp_path)


def test_a_step_that_is_no_number_is_a_damage(folder):
    RunFolder(folder).set_status("running", step="many")
    with pytest.raises(DamagedError, match="'step' is 'many', expected a whole number"):
        read_status(folder, None)


def test_a_run_that_nobody_works_on_is_stopped_for_all_who_read_it(folder):
    begin(folder)
    assert (read_run(folder).state, read_run(folder).held) == ("stopped", False)
    with locked(folder / ".lock", lambda: pytest.fail("held")):
        assert (read_run(folder).state, read_run(folder).held) == ("running", True)


def test_a_lock_that_cannot_be_read_is_no_reason_to_call_a_run_stopped(folder, tmp_path):
    begin(folder)
    (folder / ".lock").unlink()
    (folder / ".lock").mkdir()  # cannot be opened, whoever asks
    assert (see_run(folder).state, see_run(folder).held) == ("running", None)
    assert line(tmp_path).endswith("no checkpoint yet; stopped or not, its lock cannot be read")


def test_a_damaged_run_is_known_by_its_place(tmp_path):
    folder = write_run(tmp_path, "cada-vae", 7, label="wide")
    (folder / "config.json").write_text("{")
    run = see_run(folder)
    place = run.dataset, run.preset, run.model, run.label, run.seed
    assert place == ("mnist-svhn", "quick", "cada-vae", "wide", 7)
    assert (run.state, run.seconds) == ("damaged", None)
    assert "cannot be read as JSON" in run.error


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
        deadline = time.monotonic() + 300
        while not (seed_folder(tmp_path) / "status.json").exists() or "step" not in line(tmp_path):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.1)
        assert re.search(
            r"digits/smoke  mopoe  0  running  step [\d,]+ of 1,000,000 \d+ s ago, no checkpoint yet$",
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
    heads = ["model", "seeds", "joint", "cross", "probe", "time"]
    head = next(i for i, found in enumerate(lines) if found.split() == heads)
    shares = []
    for seed in (0, 10):
        folder = tmp_path / "digits" / "smoke" / "mopoe" / f"seed-{seed}"
        metrics = read_json(folder / "metrics.json")["metrics"]
        pairs = ("handwritten->street", "street->handwritten")
        cross = [metrics[f"cross_coherence/{pair}/sample"] for pair in pairs]
        probes = [metrics[f"probe/{name}"] for name in ("handwritten", "street")]
        shares.append([metrics["joint_coherence"], sum(cross) / 2, sum(probes) / 2])
        said = ", ".join(
            f"{name} {100 * share:.1f} %" for name, share in zip(heads[2:5], shares[-1], strict=True)
        )
        assert f"mopoe seed {seed} is done: {said} (" in result.text
    means = [f"{100 * sum(pair) / 2:.1f}" for pair in zip(*shares, strict=True)]
    assert lines[head + 1].split()[:-2] == ["mopoe", "2", *means]
    assert lines[head + 1].split()[-1] in ("s", "min", "h")


def test_a_table_of_runs_without_metrics(folder, tmp_path):
    shutil.copytree(folder, failed := folder.parent / "seed-1")
    edit(failed / "config.json", seed=1)
    RunFolder(failed).set_status("failed", error="no", traceback=None)
    damaged = write_run(tmp_path, "mmvae")
    (damaged / "config.json").write_text("{}")
    _, mopoe, mmvae, _ = tabulate_runs([folder, failed, damaged])
    assert mopoe.split() == ["mopoe", "1", "of", "2", "25.0", "62", "min"]
    assert mmvae.split() == ["mmvae", "0", "of", "1"]


def test_columns_stand_below_each_other():
    rows = [["model", "100"], ["m", ""]]
    assert table(["", "n"], rows, numbers={"n"}) == ["         n", "model  100", "m"]


WIDE = r"""
import os, sys
from mmbench.console import table
os.environ["COLUMNS"] = "60"
rows = [["a/quick", "mopoe", "word " * 40], ["a/quick", "mmvae", "\x1b[31mred"], ["b", "mvae", "x" * 99]]
print("\n".join(table(["group", "model", "note"], rows, grouped=True)))
"""


def in_terminal(code, encoding):
    """What a terminal of that encoding gets from a program."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    command = [sys.executable, "-c", code]
    process = subprocess.Popen(command, stdout=theirs, env=environment, close_fds=True)
    os.close(theirs)
    found = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # how Linux says that the other end is closed
            part = b""
        if not part:
            break
        found += part
    os.close(ours)
    assert process.wait(timeout=60) == 0
    return found.decode(encoding)


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_a_table_fits_its_terminal_and_loses_nothing(encoding):
    text = in_terminal(WIDE, encoding)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 60
    assert text.count("word") == 40
    assert text.count("x") == 99 + 1  # and that of the escape
    assert text.count("a/quick") == 1
    assert "\x1b" not in text
    assert ("─" in text) == (encoding == "utf-8")


def test_a_table_in_a_file_is_whole_and_plain(capsys):
    rows = [["a/quick", "mopoe", "word " * 100], ["a/quick", "mmvae", "two\nlines"]]
    head, first, second = table(["group", "model", "note"], rows, grouped=True)
    assert head.split() == ["group", "model", "note"]
    assert first.split() == ["a/quick", "mopoe", *["word"] * 100]
    assert second.split() == ["a/quick", "mmvae", "two", "lines"]


def test_nothing_from_a_file_reaches_the_terminal_as_a_command(folder, tmp_path, invoke):
    RunFolder(folder).set_status("failed", error="\x1b]0;title\x07 \x9b31m \u202egnp.exe", traceback=None)
    shown = invoke("status", tmp_path).text
    assert r"\x1b]0;title\x07 \x9b31m \u202egnp.exe" in shown
    assert printable("a → b\n") == "a → b\n"
    (folder / "config.json").write_text('{"model": "\\u001b[31m", "seed": 0}')
    assert "\x1b" not in invoke("status", tmp_path).text + invoke("report", "--results", tmp_path).text


def test_the_headline_is_of_pairs_and_sampled_latents():
    metrics = {
        "joint_coherence": 0.5,
        "joint_coherence/chance": 0.1,
        "cross_coherence/a->b/sample": 0.2,
        "cross_coherence/b->a/sample": 0.4,
        "cross_coherence/a->b/mean": 0.9,
        "cross_coherence/a+b->c/sample": 0.9,
        "cross_coherence/size-1/sample": 0.9,
        "probe/a": None,
        "fd_clf/a": 3.0,
    }
    assert headline(metrics) == pytest.approx({"joint": 50, "cross": 30})
    assert summarise(metrics) == "joint 50.0 %, cross 30.0 %"
    assert summarise({"fd_clf/a": 3.0, "fid/a": None}) == "fd_clf/a 3.0"
