"""Denormal numbers while training: flushed in every computing thread, whatever the process did before."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

TRAIN = """
import hashlib, sys, torch
from mmbench.training.denormals import flushed_denormals
from models.base import Modality
from models.registry import MODELS

torch.set_num_threads(2)  # MKL takes OMP_NUM_THREADS for no more than there are cores
tiny = torch.full((2_000_000,), 1e-39)  # enough for more than one thread
if "computed" in sys.argv:  # with threads, which inherit that nothing is flushed
    assert not (tiny * 0.5 == 0).any()
    torch.randn(500, 500) @ torch.randn(500, 500)
if "flushed" in sys.argv:  # threads that inherit the contrary
    torch.set_flush_denormal(True)
    tiny * 0.5
    torch.set_flush_denormal(False)
entry = MODELS.get("mmvae")
torch.manual_seed(0)
modalities = Modality("a", (1, 32, 32)), Modality("b", (3, 32, 32))
batch = {m.name: torch.rand(8, *m.shape) for m in modalities}
model = entry.model(modalities, entry.settings(samples=10))
optimizer = torch.optim.Adam(model.parameters(), 1e-3, fused=True)
with flushed_denormals():
    print((tiny * 0.5 == 0).double().mean().item())
    for _ in range(3):
        optimizer.zero_grad()
        model.loss(batch, 1.0).total.backward()
        optimizer.step()
digest = hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in model.parameters()))
print((tiny * 0.5 == 0).double().mean().item(), digest.hexdigest())
"""


def train(history: str) -> list[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", TRAIN, history]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    return result.stdout.split()


@pytest.mark.skipif(sys.platform != "linux", reason="torch computes in other threads than OpenMP's there")
def test_two_threads_give_the_same_bits_whatever_ran_before():
    fresh, computed, flushed = map(train, ("fresh", "computed", "flushed"))
    assert fresh[0] == "1.0", "a part was not flushed"
    assert fresh == computed
    assert computed[1] == "0.0", "threads stay changed"
    assert flushed[0] == "1.0"
    assert flushed[2] == fresh[2]
