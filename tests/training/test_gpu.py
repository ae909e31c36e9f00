"""On a GPU what is promised for a CPU: equal numbers but for rounding, steps that never wait for the host,
runs resumed to the bit, whole jobs.
"""

import os
from dataclasses import replace

import pytest
import torch
from evaluation_setup import PROTOCOL, TWO, TinyVAE, make_setup
from training_setup import make_batches, make_model, make_trainer

from metrics.evaluation.evaluate import evaluate
from mmbench.console import Console
from mmbench.execution.signals import Stop
from mmbench.execution.together import take_turns
from mmbench.storage.records import read_config
from models.names import find_models

# what deterministic products of matrices need, read when the first is computed
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="there is no GPU here that torch can use"
)

GENERATING, EVERY = find_models("all"), [*find_models("all"), *find_models("coordinated:all")]
every_model = pytest.mark.parametrize("entry", EVERY, ids=lambda entry: entry.name)


@pytest.fixture(autouse=True)
def exact():
    """Float32 stays float32, and equal steps give equal bits."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.allow_tf32 = before


@pytest.fixture
def batches():
    return make_batches("cuda")


def test_batches_are_those_of_a_cpu(batches):
    here = make_batches()
    for step in (0, 5, 13, 40):  # over several epochs
        for name, x in batches.batch(step).items():
            assert x.is_cuda
            # a GPU divides by 255 with a rounding of its own
            torch.testing.assert_close(x.cpu(), here.batch(step)[name], rtol=1e-6, atol=0)


@pytest.mark.parametrize("entry", GENERATING, ids=lambda entry: entry.name)
def test_a_model_computes_what_it_computes_on_a_cpu(entry):
    here, there = make_model(entry).eval(), make_model(entry).cuda().eval()
    batch = make_batches().batch(0)
    moved = {name: x.cuda() for name, x in batch.items()}
    for name in batch:
        alone, moved_alone = {name: batch[name]}, {name: moved[name]}
        torch.testing.assert_close(there.embed(moved_alone).cpu(), here.embed(alone), rtol=1e-3, atol=1e-4)
        for target, x in here.translate(alone, list(batch)).items():
            torch.testing.assert_close(
                there.translate(moved_alone, list(batch))[target].cpu(), x, rtol=1e-3, atol=1e-4
            )
    draws, progress = 64, torch.tensor(0.5)
    with torch.no_grad():  # either device has random numbers of its own: means over many draws agree
        totals = [
            torch.stack([model.loss(x, progress.to(x["a"].device)).total for _ in range(draws)])
            for model, x in ((here, batch), (there, moved))
        ]
    (a, b), (va, vb) = ([getattr(t.cpu().double(), what)() for t in totals] for what in ("mean", "var"))
    assert abs(a - b) <= 5 * ((va + vb) / draws).sqrt() + 1e-4 * a.abs()


@every_model
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_step_does_not_wait_for_the_host(entry, precision, tmp_path):
    """Batch, loss, gradients, optimiser and record: torch raises where one of them makes the host wait."""
    batches = make_batches("cuda", labels=entry.uses_labels)
    # a row of history only every 50 steps
    trainer = make_trainer(make_model(entry).cuda(), batches, tmp_path, steps=4000, precision=precision)

    def stop():
        # kernels are loaded in the first steps
        torch.cuda.set_sync_debug_mode("error" if 2 <= trainer.step < 12 else "default")
        return trainer.step == 12

    trainer.watch.stop = stop
    try:
        assert not trainer.run()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert trainer.step == 12


@every_model
def test_a_captured_training_is_the_eager_one(entry, tmp_path):
    """Losses and weights after 50 steps, of which all but the first few of a stage are repeated graphs."""
    batches = make_batches("cuda", labels=entry.uses_labels)
    found, lines = {}, []
    for kind in ("eager", "captured"):
        torch.manual_seed(0)
        trainer = make_trainer(make_model(entry).cuda(), batches, tmp_path / kind, steps=50, step=kind)
        trainer.watch.say = lines.append
        assert trainer.run()
        found[kind] = trainer
    assert lines == []
    for one, other in zip(found["eager"].history, found["captured"].history, strict=True):
        assert one.keys() == other.keys()
        for name in one.keys() - {"stage"}:
            assert other[name] == pytest.approx(one[name], rel=1e-4, abs=1e-5), name
    weights = found["captured"].model.state_dict()
    for name, value in found["eager"].model.state_dict().items():
        torch.testing.assert_close(weights[name], value, rtol=1e-2, atol=1e-3, msg=name)
    assert found["captured"].compile_seconds > 0


@pytest.mark.parametrize("kind", ["eager", "captured"])
@every_model
def test_resume_is_exact(entry, kind, tmp_path):
    batches = make_batches("cuda", labels=entry.uses_labels)
    whole = make_trainer(make_model(entry).cuda(), batches, tmp_path / "whole", step=kind)
    assert whole.run()
    broken = make_trainer(make_model(entry).cuda(), batches, tmp_path / "broken", step=kind)
    broken.watch.stop = lambda: broken.step == 13
    assert not broken.run()
    torch.randn(17, device="cuda")  # whatever happens in between
    last = make_trainer(make_model(entry).cuda(), batches, tmp_path / "broken", step=kind)
    assert last.run()
    assert last.history == whole.history
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, last.model.state_dict()[name]), name


def test_runs_on_streams_have_the_bits_of_runs_alone(tmp_path):
    """Weights after 50 recorded steps of models that draw noise, one after another and three at once."""
    device = torch.device("cuda")
    entries = [entry for entry in find_models("all") if entry.name in ("cnf-mvae", "mmvae", "mopoe")]

    def train(jobs):
        def work(entry, console, turn):
            model = make_model(entry).cuda()
            trainer = make_trainer(
                model, make_batches("cuda"), tmp_path / str(jobs) / entry.name, 50, step="captured"
            )
            torch.manual_seed(7)
            trainer.watch.stop = turn.asked
            assert trainer.run()
            found[entry.name] = model.state_dict()
            return True

        found = {}
        assert take_turns(entries, work, jobs, device, Console(), Stop(), lambda *how: None) == []
        return found

    alone, together = train(1), train(3)
    for name, weights in alone.items():
        for key, value in weights.items():
            assert torch.equal(together[name][key], value), (name, key)


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_job_runs_and_is_evaluated(jobs, invoke, tmp_path):
    words = [
        "run",
        "--models",
        "all",
        "--dataset",
        "digits",
        "--preset",
        "smoke",
        "--device",
        "cuda",
        "--jobs",
        jobs,
        "--results",
        tmp_path,
    ]
    words += [
        "--metrics",
        "coherence,fd_clf,probe,sampler,prdc,clustering,reconstruction,log_likelihood,diversity",
    ]
    result = invoke(*words)
    assert result.code == 0, result.text
    device = torch.cuda.get_device_name()
    for entry in find_models("all"):
        run = tmp_path / "digits" / "smoke" / entry.name / "seed-0"
        assert (run / "metrics.json").exists()
        assert read_config(run / "config.json")["environment"]["device"] == device
    again = invoke(*words)
    assert again.code == 0, again.text
    assert f"{len(find_models('all'))} of them done" in again.text


def test_an_evaluation_copies_as_often_however_many_batches_it_has():
    """No draw, vote or feature goes to the host batch by batch, and no test item the other way."""
    model, counts = TinyVAE(TWO).cuda(), []
    for draws in (1_000, 4_000):
        setup = make_setup(protocol=replace(PROTOCOL, draws=draws, joint_draws=draws))
        setup["references"] = setup["references"].on("cuda")
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
            evaluate(model, **setup, metrics=["coherence", "fd_clf", "sampler"])
        found = profile.key_averages()
        counts.append(sum(event.count for event in found if "HtoD" in event.key or "DtoH" in event.key))
    assert counts[0] == counts[1]
