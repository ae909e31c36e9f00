"""On a GPU what is promised for a CPU: equal numbers but for rounding, steps that never wait for the host, runs resumed to the bit, whole jobs."""

import os

import pytest
import torch

from mmbench.config import Training
from mmbench.data.base import Split
from mmbench.data.batches import Batches
from mmbench.records import read_config
from mmbench.training import Trainer
from models.conformance import TWO
from models.registry import MODELS

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what deterministic products of matrices need, read when the first is computed

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here that torch can use")

every_model = pytest.mark.parametrize("entry", list(MODELS), ids=lambda entry: entry.name)


@pytest.fixture(autouse=True)
def exact():
    """Float32 stays float32, and equal steps give equal bits."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.allow_tf32 = before


def make_batches(device="cuda"):
    generator = torch.Generator().manual_seed(0)
    items = {m.name: torch.randint(256, (40, *m.shape), dtype=torch.uint8, generator=generator) for m in TWO}
    split = Split(items, {name: torch.zeros(40) for name in items}, torch.randint(40, (100, 2), generator=generator))
    return Batches(split, TWO, 8, seed=3, device=device)


def make_model(entry):
    torch.manual_seed(1)
    return entry.model(TWO, entry.settings())


def make_trainer(entry, folder, precision="fp32", stop=lambda: False, steps=30):
    model, config = make_model(entry).cuda(), Training(steps=steps, learning_rate=1e-2)
    return Trainer(model, make_batches(), config, folder / "checkpoint.pt", "h", precision, stop=stop)


def test_batches_are_those_of_a_cpu():
    here, there = make_batches("cpu"), make_batches()
    for step in (0, 5, 13, 40):  # over several epochs
        for name, x in there.batch(step).items():
            assert x.is_cuda
            torch.testing.assert_close(x.cpu(), here.batch(step)[name], rtol=1e-6, atol=0)  # a GPU divides by 255 with a rounding of its own


@every_model
def test_a_model_computes_what_it_computes_on_a_cpu(entry):
    here, there = make_model(entry).eval(), make_model(entry).cuda().eval()
    batch = make_batches("cpu").batch(0)
    moved = {name: x.cuda() for name, x in batch.items()}
    for name in batch:
        alone, moved_alone = {name: batch[name]}, {name: moved[name]}
        torch.testing.assert_close(there.embed(moved_alone).cpu(), here.embed(alone), rtol=1e-3, atol=1e-4)
        for target, x in here.translate(alone, list(batch)).items():
            torch.testing.assert_close(there.translate(moved_alone, list(batch))[target].cpu(), x, rtol=1e-3, atol=1e-4)
    draws = 64
    with torch.no_grad():  # either device has random numbers of its own: means over many draws agree
        totals = [torch.stack([model.loss(x, 0.5).total for _ in range(draws)]) for model, x in ((here, batch), (there, moved))]
    (a, b), (va, vb) = ([getattr(t.cpu().double(), what)() for t in totals] for what in ("mean", "var"))
    assert abs(a - b) <= 5 * ((va + vb) / draws).sqrt() + 1e-4 * a.abs()


@every_model
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_step_does_not_wait_for_the_host(entry, precision, tmp_path):
    """Batch, loss, gradients, optimiser and record: torch raises where one of them makes the host wait."""
    trainer = make_trainer(entry, tmp_path, precision, steps=4000)  # a row of history only every 50 steps

    def stop():
        torch.cuda.set_sync_debug_mode("error" if 2 <= trainer.step < 12 else "default")  # kernels are loaded in the first steps
        return trainer.step == 12

    trainer.stop = stop
    try:
        assert not trainer.run()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert trainer.step == 12


@every_model
def test_resume_is_exact(entry, tmp_path):
    whole = make_trainer(entry, tmp_path / "whole")
    assert whole.run()
    broken = make_trainer(entry, tmp_path / "broken")
    broken.stop = lambda: broken.step == 13
    assert not broken.run()
    torch.randn(17, device="cuda")  # whatever happens in between
    last = make_trainer(entry, tmp_path / "broken")
    assert last.run()
    assert last.history == whole.history
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, last.model.state_dict()[name]), name


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_job_runs_and_is_evaluated(jobs, invoke, tmp_path):
    words = ["run", "--models", "all", "--dataset", "digits", "--preset", "smoke", "--device", "cuda", "--jobs", jobs, "--results", tmp_path]
    words += ["--metrics", "coherence,fd_clf,probe,sampler,prdc,clustering,reconstruction,log_likelihood,diversity"]
    result = invoke(*words)
    assert result.code == 0, result.text
    device = torch.cuda.get_device_name()
    for entry in MODELS:
        run = tmp_path / "digits" / "smoke" / entry.name / "seed-0"
        assert (run / "metrics.json").exists()
        assert read_config(run / "config.json")["environment"]["device"] == device
    again = invoke(*words)
    assert again.code == 0, again.text
    assert f"{len(list(MODELS))} of them done" in again.text
