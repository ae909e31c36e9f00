"""Weights that rise in the course of training."""

import pytest
import torch

from models.parts.schedules import ramp


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("start", "end", "final"), [(0.0, 0.93, 0.25), (0.21, 0.75, 2.37), (0.06, 0.22, 8.13), (0.0, 0.4, 1.0)]
)
def test_a_ramp_is_zero_then_linear_then_final(kind, start, end, final):
    found = [
        ramp(torch.tensor(p, dtype=kind), start, end, final)
        for p in (0.0, start, start + 0.25 * (end - start), (start + end) / 2, end, 1.0)
    ]
    assert all(weight.dtype == torch.float32 and weight.shape == () for weight in found)
    assert [w.item() for w in found] == pytest.approx(
        [0, 0, final / 4, final / 2, final, final], rel=1e-5, abs=1e-5
    )
