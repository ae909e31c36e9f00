"""Up-down fine-tuning of deep belief networks, against the update of the paper in plain loops."""

import math

import numpy as np
import pytest
import torch

from models.boltzmann.dbn import DBN
from models.boltzmann.units import Bernoulli, Gaussian
from models.conformance import THREE
from models.registry import MODELS
from models.settings import resolve

SIZES = (5, 4, 3, 6)  # visible, two hidden layers, the joint one
BATCH = 7


def small():
    """A network whose two directions differ."""
    torch.manual_seed(0)
    dbn = DBN({"v": Bernoulli(SIZES[0])}, SIZES[1:3], SIZES[3], untied=True).double()
    with torch.no_grad():
        for parameter in dbn.parameters():
            parameter.normal_(std=0.7)
    return dbn


def logistic(x):
    return 1 / (1 + np.exp(-x))


def array(x):
    return x.detach().numpy()


def outer(a, b):
    """The sum over the batch of a_i b_j, item by item."""
    total = np.zeros((a.shape[1], b.shape[1]))
    for x, y in zip(a, b, strict=True):
        total += np.outer(x, y)
    return total


def reference(dbn, v):
    """The gradients of Hinton, Osindero and Teh 2006, appendix B, to descend along, with k = 1.

    The statistics of the top are with means of the joint units. Draws come from torch's global generator.
    """

    def draw(p):
        return (torch.rand(p.shape, dtype=torch.float64).numpy() < p).astype(float)

    down, up, top = dbn.pathway("v"), dbn.way_up("v"), dbn.top
    w, c = array(top.weights["v/0-joint"]), array(top.units("v/0").bias)
    b = array(top.units("joint").bias)
    # the wake phase: bottom up, sampled
    wake = [array(v)]
    for rbm in up:
        wake.append(draw(logistic(wake[-1] @ array(rbm.weight) + array(rbm.hidden_bias))))
    # the top, from there and after a step of Gibbs sampling
    found = logistic(wake[-1] @ w + b)
    reconstructed = draw(logistic(draw(found) @ w.T + c))
    again = logistic(reconstructed @ w + b)
    # the sleep phase: top down, sampled, the visible layer as probabilities
    sleep = [reconstructed]
    sleep.insert(0, draw(logistic(sleep[0] @ array(down[1].weight).T + array(down[1].visible_bias))))
    sleep.insert(0, logistic(sleep[0] @ array(down[0].weight).T + array(down[0].visible_bias)))
    gradients = {}
    for depth in (0, 1):
        predicted = logistic(wake[depth + 1] @ array(down[depth].weight).T + array(down[depth].visible_bias))
        error = wake[depth] - predicted
        gradients[f"down {depth}"] = (-outer(error, wake[depth + 1]), -error.sum(0))
        predicted = logistic(sleep[depth] @ array(up[depth].weight) + array(up[depth].hidden_bias))
        error = sleep[depth + 1] - predicted
        gradients[f"up {depth}"] = (-outer(sleep[depth], error), -error.sum(0))
    moments = outer(wake[-1], found) - outer(reconstructed, again)
    gradients["top"] = (-moments, -(wake[-1] - reconstructed).sum(0), -(found - again).sum(0))
    return {key: tuple(x / len(v) for x in parts) for key, parts in gradients.items()}


def test_the_gradient_is_the_update_of_the_paper():
    dbn = small()
    v = torch.rand(BATCH, SIZES[0], dtype=torch.float64)
    torch.manual_seed(1)
    expected = reference(dbn, v)
    torch.manual_seed(1)
    torch.stack([*dbn.up_down_loss({"v": v}, 1).values()]).sum().backward()
    for depth, (down, up) in enumerate(zip(dbn.pathway("v"), dbn.way_up("v"), strict=True)):
        np.testing.assert_allclose(array(down.weight.grad), expected[f"down {depth}"][0], atol=1e-12)
        np.testing.assert_allclose(array(down.visible_bias.grad), expected[f"down {depth}"][1], atol=1e-12)
        np.testing.assert_allclose(array(up.weight.grad), expected[f"up {depth}"][0], atol=1e-12)
        np.testing.assert_allclose(array(up.hidden_bias.grad), expected[f"up {depth}"][1], atol=1e-12)
        assert down.hidden_bias.grad is None
        assert up.visible_bias.grad is None
    found = [dbn.top.weights["v/0-joint"], dbn.top.units("v/0").bias, dbn.top.units("joint").bias]
    for parameter, gradient in zip(found, expected["top"], strict=True):
        np.testing.assert_allclose(array(parameter.grad), gradient, atol=1e-12)
    with_gradient = {id(p) for p in dbn.parameters() if p.grad is not None}
    assert {id(p) for p in dbn.untied_parameters()} == with_gradient


def test_directions_are_tied_in_training_until_they_are_fine_tuned():
    dbn = small()
    v = torch.rand(BATCH, SIZES[0], dtype=torch.float64)
    before = dbn.up("v", v, 2)
    dbn.eval()
    dbn.tie()
    assert torch.equal(dbn.up("v", v, 2), before)
    dbn.train()
    dbn.tie()
    for up, down in zip(dbn.way_up("v"), dbn.pathway("v"), strict=True):
        assert torch.equal(up.weight, down.weight)
        assert up.weight is not down.weight
    tied = DBN({"v": Bernoulli(3)}, (2,), 2)
    assert tied.way_up("v") == tied.pathway("v")


def test_the_bound_is_below_the_exact_likelihood_whatever_the_way_up():
    """Importance weights of the way up: their mean is p(v) by enumeration of both hidden layers."""
    dbn = small().float()
    v = torch.tensor([[1.0, 0, 1, 1, 0]])
    first, second = (
        ((torch.arange(2**n)[:, None] & 2 ** torch.arange(n)) > 0).float() for n in (SIZES[1], SIZES[2])
    )
    low, high = dbn.pathway("v")
    with torch.no_grad():
        top = -dbn.top.free_energy({"v/0": second}, dbn.top.fields({"v/0": second}, dbn.top.odd))
        log_p = []
        for h1 in first:
            below = low.log_prob({"visible": v}, {"hidden": h1[None]})
            between = high.log_prob({"visible": h1.expand(len(second), -1)}, {"hidden": second})
            log_p.append((top + between).logsumexp(0) + below)
        exact = float(torch.cat(log_p).logsumexp(0))
        draws = dbn.log_density_bound({"v": v.expand(20_000, -1)}, torch.Generator().manual_seed(0)).double()
    assert float(draws.mean()) < exact
    assert float(draws.logsumexp(0)) - math.log(20_000) == pytest.approx(exact, abs=0.1)


def test_fine_tuning_trains_what_no_other_stage_does():
    """Of `mdbn`: greedy stages leave both directions tied, then they part."""
    entry = MODELS.get("mdbn")
    settings = {"first_size": 6, "second_size": 5, "joint_size": 4, "up_down_share": 0.5, "chain_steps": 2}
    torch.manual_seed(0)
    model = entry.model(THREE, resolve(entry.settings, settings, "mdbn"))
    stages = model.stages()
    assert [stage.name for stage in stages] == ["layer 1", "layer 2", "joint", "up and down"]
    assert sum(stage.share for stage in stages) == pytest.approx(1)
    batch = {m.name: torch.rand(9, *m.shape) for m in THREE}
    for stage in stages:
        optimizer = torch.optim.SGD(stage.parameters, lr=0.01)
        loss = stage.loss(batch, torch.tensor(0.0))
        optimizer.zero_grad()
        loss.total.backward()
        assert all(p.grad is not None for p in stage.parameters), stage.name
        optimizer.step()
    assert set(loss.terms) == {"wake", "divergence", "sleep", "prediction"}
    for name in model.modalities:
        for up, down in zip(model.dbn.way_up(name), model.dbn.pathway(name), strict=True):
            assert not torch.equal(up.weight, down.weight)
    drawn = model.eval().generate(3, torch.Generator().manual_seed(0))
    assert all(0 <= x.min() <= x.max() <= 1 for x in drawn.values())


def test_gaussian_data_are_fine_tuned_too():
    """Each layer becomes easier to predict from the one above it."""
    torch.manual_seed(0)
    dbn = DBN({"v": Gaussian(4)}, (6, 5), 4, untied=True)
    data = torch.randn(200, 1) + 0.1 * torch.randn(200, 4)
    optimizer, losses = torch.optim.Adam(dbn.untied_parameters(), lr=0.01), []
    for _ in range(300):
        terms = dbn.up_down_loss({"v": data}, 1)
        optimizer.zero_grad()
        torch.stack([*terms.values()]).sum().backward()
        optimizer.step()
        losses.append(float(terms["wake"].detach()))
    assert sum(losses[-20:]) < sum(losses[:20])
