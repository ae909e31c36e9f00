"""Whole runs on the embedded data set: what they leave on disk, second runs, failures, later evaluation."""

import errno
import os
import re
import shlex
import shutil
from contextlib import ExitStack
from types import SimpleNamespace

import pytest
import torch
from options import SHORT_CHAINS, SMALL
from run_files import seed_folder

import mmbench
from mmbench.cli.jobs import _metrics_to_add
from mmbench.data import load_data
from mmbench.execution.orchestrator import lost
from mmbench.execution.run_job import leave_out
from mmbench.plan.job import JobOptions, check_job
from mmbench.plan.planned import PlannedRun, plan_runs
from mmbench.report import write_report
from mmbench.storage.files import read_json, write_json
from mmbench.storage.locks import locked
from mmbench.storage.run_folder import RunFolder
from models.mopoe import MoPoE
from models.names import find_models

RUN = ("run", "--dataset", "digits", "--preset", "smoke", "--jobs", "1", *SMALL)


@pytest.fixture
def all_copied(finished, tmp_path):
    """A copy of the finished results that a test may change."""
    return shutil.copytree(finished.path, tmp_path / "results")


def test_a_seed_with_other_settings_beside_a_finished_one_is_refused_before_it_is_trained(copy, invoke):
    """No table could average the two: the report would be refused after hours."""
    words = [*RUN, "--models", "mopoe", "--seeds", "1", "--results", copy]
    result = invoke(*words, "--set", "latent_size=7")
    assert result.code == 2
    said = r"holds a run with seed 0 of another configuration.*latent_size \(\d+ there, 7"
    assert re.search(said, result.text, re.DOTALL), result.text
    assert not seed_folder(copy, seed=1).exists()
    assert invoke(*words, "--set", "latent_size=7", "--label", "small").code == 0


def test_seeds_of_one_model_share_the_precision_that_auto_chose_for_the_first(copy, monkeypatch):
    options = JobOptions("mopoe", "digits", "smoke", "0,1", list(SMALL[1::2]), results=copy)
    stored = read_json(seed_folder(copy) / "config.json")["precision"]
    other = {"bf16": "fp32", "fp32": "bf16"}[stored]
    monkeypatch.setattr("mmbench.plan.choices.pick_precision", lambda *_: other)
    planned = plan_runs(check_job(options), load_data("digits"))
    assert [run.config.precision for run in planned] == [stored, stored]


def test_a_run_leaves_everything_that_a_report_needs(finished):
    for entry in find_models("all"):
        folder = seed_folder(finished.path, entry.name)
        names = {path.name for path in folder.iterdir()}
        assert names == {
            "config.json",
            "status.json",
            "history.csv",
            "metrics.json",
            "checkpoint.pt",
            "samples",
            ".lock",
        }
        config = read_json(folder / "config.json")
        assert config["hash"] == read_json(folder / "metrics.json")["hash"]
        assert config["training"]["steps"] == 4
        assert read_json(folder / "status.json")["state"] == "done"
        assert (folder / "history.csv").read_text().splitlines()[0].startswith("step,stage,learning_rate,")
    report = {path.name for path in (finished.path / "digits" / "smoke").iterdir() if path.is_file()}
    tables = {f"table{n}.{kind}" for n in (1, 2, 3, 4) for kind in ("csv", "md", "tex")}
    assert tables | {"figure3.png", "training.png", "README.md"} <= report
    assert not list(finished.path.rglob("*.part"))


def test_no_figure_is_missing_without_a_reason(finished):
    frame = mmbench.load_results(finished.path)
    assert set(frame["model"]) == {entry.name for entry in find_models("all")}
    missing = frame[frame["value"].isna() & frame["metric"].notna()]
    without_prior = {"joint_coherence", "joint_coherence/chance", "fd_clf/handwritten", "fd_clf/street"}
    assert {*missing[missing["model"] == "mdae"]["metric"]} >= without_prior
    assert "not defined" in (finished.path / "digits" / "smoke" / "table1.md").read_text()
    without_latent = {"fitted_coherence", "fitted_coherence/chance"}
    no_shared_latent = ["avae", "rbm", "mdbn", "mdbm"]
    for model in no_shared_latent:
        assert {*missing[missing["model"] == model]["metric"]} >= without_latent
    others = missing[~missing["model"].isin(["mdae", *no_shared_latent])]
    assert set(others["metric"]) <= {"joint_coherence/entropy", "fitted_coherence/entropy"}
    assert missing["reason"].str.len().gt(20).all()


def test_committed_files_name_no_folder_of_the_machine(finished):
    home = os.path.expanduser("~")
    for path in (finished.path / "digits" / "smoke").rglob("*"):
        if path.suffix in {".json", ".csv", ".md", ".tex"}:
            text = path.read_text()
            for place in (
                str(finished.path),
                os.environ["MMBENCH_CACHE"],
                os.environ["TORCH_HOME"],
                home + "/",
            ):
                assert place not in text, path


def test_a_second_run_skips_what_is_done(all_copied, invoke):
    before = {path: path.stat().st_mtime_ns for path in all_copied.rglob("checkpoint.pt")}
    result = invoke(*RUN, *SHORT_CHAINS, "--models", "all", "--results", all_copied)
    assert result.code == 0, result.text
    assert f"{len(before)} runs, {len(before)} of them done" in result.text
    assert before == {path: path.stat().st_mtime_ns for path in all_copied.rglob("checkpoint.pt")}


def test_report_writes_the_same_bytes_without_models_or_data(all_copied, invoke, monkeypatch):
    folder = all_copied / "digits" / "smoke"
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    for path in before:
        path.unlink()
    for path in all_copied.rglob("checkpoint.pt"):
        path.unlink()
    monkeypatch.setattr("torch.nn.Module.__init__", lambda *a, **k: pytest.fail("built a model"))
    assert invoke("report", "--results", all_copied).code == 0
    assert before == {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.slow
def test_jobs_at_once_give_what_jobs_in_turn_give(finished, invoke, tmp_path):
    """`finished` made its runs one after another in one process.

    These are made by processes of their own, with as many threads.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(2 * threads)  # each of two jobs gets half of them
    try:
        result = invoke(*RUN, "--models", "mopoe,avae,cnf-mvae", "--results", tmp_path, "--jobs", "2")
    finally:
        torch.set_num_threads(threads)
    assert result.code == 0, result.text
    for model in ("mopoe", "avae", "cnf-mvae"):
        for name in ("metrics.json", "history.csv"):
            assert (seed_folder(tmp_path, model) / name).read_bytes() == (
                seed_folder(finished.path, model) / name
            ).read_bytes()


def test_the_same_seed_gives_the_same_bytes(finished, invoke, tmp_path):
    assert invoke(*RUN, "--models", "cnf-mvae", "--results", tmp_path).code == 0
    for name in ("metrics.json", "history.csv", "samples/joint-street.webp"):
        assert (seed_folder(tmp_path, "cnf-mvae") / name).read_bytes() == (
            seed_folder(finished.path, "cnf-mvae") / name
        ).read_bytes()


def test_other_settings_are_refused_unless_labelled(copy, invoke):
    other = (*RUN, "--models", "mopoe", "--set", "mopoe.beta=1", "--results", copy)
    result = invoke(*other)
    assert result.code == 2
    assert "differs in settings.beta (2.5 there, 1.0 asked for)" in result.text
    assert "--label" in result.text
    assert invoke(*other, "--label", "plain").code == 0
    assert (copy / "digits" / "smoke" / "mopoe+plain" / "seed-0" / "metrics.json").exists()


def test_a_diverging_model_fails_alone(invoke, tmp_path, monkeypatch):
    original = MoPoE.loss

    def explode(self, batch, progress):
        loss = original(self, batch, progress)
        return loss._replace(
            terms={**loss.terms, "kl": loss.terms["kl"] * float("inf" if progress >= 0.5 else 1)}
        )

    monkeypatch.setattr(MoPoE, "loss", explode)
    result = invoke(*RUN, "--models", "mopoe,cada-vae", "--results", tmp_path)
    assert result.code == 1
    status = read_json(seed_folder(tmp_path) / "status.json")
    assert status["state"] == "failed"
    assert "kl became inf at step 3" in status["error"]
    assert "DivergedError" in status["traceback"]
    assert read_json(seed_folder(tmp_path, "cada-vae") / "status.json")["state"] == "done"
    assert "FAILED mopoe seed 0" in result.text
    monkeypatch.undo()
    assert invoke(*RUN, "--models", "mopoe", "--results", tmp_path).code == 0
    assert read_json(seed_folder(tmp_path) / "status.json")["state"] == "done"


def test_a_run_keeps_the_number_of_threads_that_it_was_begun_with(invoke, tmp_path, monkeypatch):
    """Whatever number the command that goes on would give it, by --jobs and the number of open runs."""
    whole, used, usual = MoPoE.loss, [], torch.get_num_threads()

    def fail(self, batch, progress):
        used.append(torch.get_num_threads())
        if progress > 0:
            raise RuntimeError("on purpose")
        return whole(self, batch, progress)

    monkeypatch.setattr(MoPoE, "loss", fail)
    try:
        torch.set_num_threads(3)
        assert invoke(*RUN, "--models", "mopoe", "--results", tmp_path).code == 1
        torch.set_num_threads(1)
        assert invoke(*RUN, "--models", "mopoe", "--results", tmp_path).code == 1
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(usual)
    assert len(used) >= 4
    assert set(used) == {3}


@pytest.mark.parametrize("when", ["before its folder is made", "before it is trained"])
def test_a_folder_that_another_command_has_begun_meanwhile_is_left_alone(
    when, finished, invoke, tmp_path, monkeypatch
):
    theirs, folder = read_json(seed_folder(finished.path) / "config.json"), RunFolder(seed_folder(tmp_path))
    theirs |= {"hash": "f" * 16, "settings": {**theirs["settings"], "beta": 1.0}}

    def begin(*_, **__):
        folder.path.mkdir(parents=True, exist_ok=True)
        write_json(folder.config_file, theirs)
        folder.set_status("done")
        return 0

    early = when == "before its folder is made"
    begins = "mmbench.execution.run_job.is_done" if early else "mmbench.execution.estimate.seconds_per_step"
    monkeypatch.setattr(begins, begin)
    monkeypatch.setattr("mmbench.execution.train.Trainer.run", lambda self: pytest.fail("trained"))
    # their run, without metrics, has no place in a report
    monkeypatch.setattr("mmbench.report.write_report", lambda *_: [])
    result = invoke(*RUN, "--models", "mopoe", "--results", tmp_path)
    assert result.code == (2 if early else 1), result.text
    assert (
        "holds a run of another configuration, which differs in settings.beta (1.0 there, 2.5 asked for)"
        in result.text
    )
    assert folder.config == theirs
    assert folder.status["state"] == "done"


def test_a_lost_run_is_marked_unless_it_is_done_or_somebody_elses(copy):
    folder, said, how = RunFolder(seed_folder(copy)), [], "its process was killed by SIGKILL"
    run = PlannedRun(None, 0, folder, {}, folder.config["hash"], {})
    lost(said.append, run, how)
    assert folder.status["state"] == "done"
    folder.set_status("running")
    with folder.lock(lambda: pytest.fail("held"), lambda: None):
        lost(said.append, run, how)
    assert folder.status["state"] == "running"
    lost(said.append, run, how)
    assert folder.status["error"] == f"{how}: the next run goes on from its last checkpoint"
    assert said == []


def test_how_a_run_was_lost_is_said_where_it_cannot_be_written(copy, monkeypatch):
    folder, said = RunFolder(seed_folder(copy)), []
    run = PlannedRun(None, 0, folder, {}, folder.config["hash"], {})

    def refuse(*args, **kwargs):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr("mmbench.storage.locks.FileLock.acquire", refuse)
    lost(said.append, run, "its process could not start (no files)")
    (line,) = said
    assert line.startswith(
        f"{run.name}: its process could not start (no files). The file {folder.path / '.lock'} "
    )
    assert "(Too many open files): raise the limit of open files (`ulimit -n`)" in line


def test_a_report_says_that_it_waits(copy):
    said, folder = [], copy / "digits" / "smoke"
    with ExitStack() as held:
        held.enter_context(locked(folder / ".lock", lambda: pytest.fail("held")))
        written = write_report(folder, lambda line: (said.append(line), held.close()))
    assert said == [f"{folder}: waiting for another command that writes its report."]
    assert folder / "table1.md" in written


def test_evaluate_later_gives_the_same_metrics(copy, invoke):
    folder = seed_folder(copy)
    before = read_json(folder / "metrics.json")
    thinned = {**before, "metrics": {k: v for k, v in before["metrics"].items() if not k.startswith("probe")}}
    write_json(folder / "metrics.json", thinned)
    result = invoke("evaluate", folder, "--metrics", "probe")
    assert result.code == 0, result.text
    assert read_json(folder / "metrics.json") == before


def test_metrics_can_be_chosen(invoke, tmp_path):
    assert invoke(*RUN, "--models", "mopoe", "--results", tmp_path, "--metrics", "probe").code == 0
    assert set(read_json(seed_folder(tmp_path) / "metrics.json")["metrics"]) == {
        "probe/handwritten",
        "probe/street",
    }


def some_data(modalities):
    """Of complete rows."""
    train = SimpleNamespace(pairs=torch.zeros(1, len(modalities), dtype=torch.int64))
    return SimpleNamespace(modalities=modalities, class_count=10, train=train)


def test_models_that_nobody_named_are_left_out_where_they_do_not_fit():
    pytest.importorskip("multivae")
    job, said = check_job(JobOptions("mvae,multivae:all", "digits-text", "smoke")), []
    fitting = leave_out(job, some_data("abc"), SimpleNamespace(say=said.append))
    names = [config.entry.name for config in fitting.configs]
    assert sorted({config.entry.name for config in job.configs} - set(names)) == [
        "multivae-jnf",
        "multivae-telbo",
    ]
    assert [line.partition(" (")[0] for line in said] == [
        f"{name} is left out: it takes 2 modalities, digits-text has 3"
        for name in ("multivae-jnf", "multivae-telbo")
    ]
    assert f"--models {','.join(names)} --dataset" in str(fitting.command)
    assert leave_out(job, some_data("ab"), None) == job
    named = check_job(JobOptions("mvae,multivae:TELBO", "digits-text", "smoke"))
    assert leave_out(named, some_data("abc"), None) == named  # which is refused later


def test_the_command_of_a_job_makes_its_looks_too():
    assert check_job(JobOptions("mvae", "digits", "smoke", looks=3)).command.options[-1] == ("--looks", "3")
    assert "--looks" not in str(check_job(JobOptions("mvae", "digits", "smoke")).command)


def test_auto_takes_up_runs_in_the_precision_that_they_have(copy, invoke, monkeypatch):
    config = read_json(seed_folder(copy) / "config.json")
    assert config["environment"]["precision"] == "auto"  # which the tables say
    other = "fp32" if config["precision"] == "bf16" else "bf16"
    monkeypatch.setattr(
        "mmbench.plan.choices.pick_precision", lambda name, device: other if name == "auto" else name
    )
    assert "1 runs, 1 of them done" in invoke(*RUN, "--models", "mopoe", "--results", copy).text
    refused = invoke(*RUN, "--models", "mopoe", "--results", copy, "--precision", other)
    assert refused.code == 2
    assert f"precision ({config['precision']} there, {other} asked for)" in refused.text


def test_metrics_that_finished_runs_lack_are_pointed_out(copy, invoke):
    result = invoke(*RUN, "--models", "mopoe", "--results", copy, "--metrics", "probe,fid")
    assert f"was evaluated without fid: `mmbench evaluate {seed_folder(copy)} --metrics fid`" in result.text


def test_a_suggested_command_names_a_path_with_spaces(copy, tmp_path):
    folder = RunFolder(shutil.copytree(seed_folder(copy), seed_folder(tmp_path / "my results")))
    file = SimpleNamespace(path=tmp_path / "my model.py")
    run = SimpleNamespace(name="a", folder=folder, config=SimpleNamespace(entry=SimpleNamespace(file=file)))
    (line,) = _metrics_to_add([run], SimpleNamespace(metrics={"fid"}))
    words = shlex.split(line.split("`")[1])
    assert words == [
        "mmbench",
        "evaluate",
        str(folder.path),
        "--metrics",
        "fid",
        "--model-file",
        str(file.path),
    ]
