"""Contrastive divergence, its chains, and what machines learn with it."""

import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from metrics.partition import exact_log_partition
from mmbench.data.text import make_texts
from models.base import NotDefinedError
from models.boltzmann.annealing import base_rates
from models.boltzmann.dbm import DBM
from models.boltzmann.divergence import PersistentChains, persistent_divergence
from models.boltzmann.rbm import RBM
from models.boltzmann.units import Bernoulli, Gaussian, ReplicatedSoftmax
from models.boltzmann.visible import LEAST_STD, Standardisation
from models.conformance import COUNTED, THREE, TWO
from models.registry import MODELS
from models.settings import resolve

STATES = ((torch.arange(2**6)[:, None] & 2 ** torch.arange(6)) > 0).float()


def small_rbm():
    torch.manual_seed(0)
    rbm = RBM(Bernoulli(6), 4)
    with torch.no_grad():
        for parameter in rbm.parameters():
            parameter.normal_(std=0.5)
    return rbm


def gradient(rbm, loss):
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(rbm.parameters()))])


def exact_gradient(rbm, v):
    """Of minus the mean log-likelihood, with Z by enumeration."""
    log_z = (-rbm.free_energy_of(STATES)).logsumexp(0)
    return gradient(rbm, rbm.free_energy_of(v).mean() + log_z)


@pytest.mark.parametrize("method", ["CD", "PCD"])
def test_many_steps_and_chains_give_the_gradient_of_the_likelihood(method):
    """CD-50, and PCD once its chains have run 50 steps: 20,000 chains within 0.02 of the exact gradient."""
    rbm = small_rbm()
    torch.manual_seed(1)
    v = STATES[torch.randint(64, (10,))].repeat(2_000, 1)
    if method == "CD":
        loss = rbm.cd_loss(v, steps=50)
    else:
        chains = rbm.chains(20_000)
        for _ in range(50):
            loss = rbm.pcd_loss(v, chains)
    found, exact = gradient(rbm, loss), exact_gradient(rbm, v)
    assert exact.abs().max() > 0.2
    assert (found - exact).abs().max() < 0.02


def test_one_step_is_the_rule_of_the_textbook():
    """W moves by <v h>_data - <v h>_sample, with the probabilities of h (equations 5.1.6 and 5.1.7)."""
    rbm, v = small_rbm(), STATES[::5]
    torch.manual_seed(3)
    (found,) = torch.autograd.grad(rbm.cd_loss(v), [rbm.weight])
    torch.manual_seed(3)
    with torch.no_grad():
        h = (torch.rand(len(v), 4) < rbm.hidden_means(v)).float()
        sample = (torch.rand(len(v), 6) < rbm.visible_means(h)).float()
        expected = (sample.T @ rbm.hidden_means(sample) - v.T @ rbm.hidden_means(v)) / len(v)
    torch.testing.assert_close(found, expected)


def test_chains_begin_as_noise_move_in_training_alone_and_are_saved():
    dbm = DBM({"a": Bernoulli(6), "b": Gaussian(3)}, (4, 3), 5)
    model = torch.nn.Module()
    torch.manual_seed(0)
    model.chains = PersistentChains(dbm, 2_000)
    start = model.chains.state
    assert set(start) == {"a/1", "b/1", "joint"}
    assert all(abs(float(x.mean()) - 0.5) < 0.02 for x in start.values())
    data = dbm.noise(dbm.even, 10)
    before = {layer: x.clone() for layer, x in start.items()}
    model.eval()
    persistent_divergence(dbm, data, model.chains, 1)
    assert all(torch.equal(model.chains.state[layer], x) for layer, x in before.items())
    model.train()
    persistent_divergence(dbm, data, model.chains, 1)
    assert not any(torch.equal(model.chains.state[layer], x) for layer, x in before.items())
    assert {"chains.a/1", "chains.b/1", "chains.joint"} == set(model.state_dict())


def test_a_machine_learns_a_distribution():
    """PCD with a rate that falls: the exact log-likelihood of 4 equally likely states comes near -log 4."""
    torch.manual_seed(0)
    rbm = RBM(Bernoulli(6), 8)
    patterns = torch.tensor(
        [[1.0, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1], [1, 0, 1, 0, 1, 0], [0, 1, 0, 1, 0, 1]]
    )
    chains, optimizer = rbm.chains(200), torch.optim.SGD(rbm.parameters(), lr=0.2)
    for step in range(2_000):
        optimizer.param_groups[0]["lr"] = 0.2 * (1 - step / 2_000)
        loss = rbm.pcd_loss(patterns, chains)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    log_z = exact_log_partition(rbm.double().free_energy_of, 6)
    log_p = (-rbm.free_energy_of(patterns.double())).mean().item() - log_z
    assert log_p > -math.log(4) - 0.7


def test_replicated_softmax_learns_bags_of_letters():
    """The names of digits as counts of letters: better than the best model of single letters, by exact
    likelihoods.
    """
    texts = make_texts()[0].items
    counts = (texts[:2_000] // 255).sum(1).float()  # (N, 27): 8 symbols each, the blank included
    torch.manual_seed(0)
    rbm = RBM(ReplicatedSoftmax(27, words=8), 10)
    with torch.no_grad():
        rbm.visible_bias.copy_((counts.mean(0) + 0.01).log())
    optimizer = torch.optim.Adam(rbm.parameters(), lr=0.02)
    for step in range(600):
        loss = rbm.cd_loss(counts[(torch.arange(100) + 100 * step) % 2_000], steps=2)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    shares = counts.mean(0) / 8
    unigrams = (counts * shares.clamp_min(1e-9).log()).sum(1).mean().item()
    log_z = exact_log_partition(rbm.double().free_energy_of_hidden, 10)
    assert (-rbm.free_energy_of(counts.double())).mean().item() - log_z > unigrams + 1


def test_statistics_are_those_of_all_batches_together():
    torch.manual_seed(0)
    x = 3 + 2 * torch.randn(100, 5)
    x[:, 4] = 0.25
    statistics = Standardisation(5)
    for batch in x.split([7, 50, 1, 42]):
        statistics.see(batch)
    torch.testing.assert_close(statistics.mean, x.mean(0))
    torch.testing.assert_close(statistics.std[:4], x.std(0, correction=0)[:4])
    assert float(statistics.std[4].detach()) == pytest.approx(LEAST_STD)
    before = {name: value.clone() for name, value in statistics.state_dict().items()}
    statistics.eval()
    statistics.see(x + 1)
    assert all(torch.equal(value, before[name]) for name, value in statistics.state_dict().items())


@pytest.mark.parametrize("modalities", [TWO, THREE], ids=["two", "three"])
@pytest.mark.parametrize("name", ["rbm", "mdbn", "mdbm"])
def test_embeddings_and_draws_of_models(name, modalities):
    """Embeddings are means of the joint layer; more draws than chains go on from the same chains."""
    entry = MODELS.get(name)
    torch.manual_seed(0)
    settings = {"joint_size": 9, "chains": 4, "chain_steps": 3, "thinning": 2}
    model = entry.model(modalities, resolve(entry.settings, settings, name)).eval()
    with torch.inference_mode():
        items = {m.name: torch.rand(3, *m.shape) for m in modalities}
        for subset in ({"a": items["a"]}, items):
            found = model.embed(subset)
            assert found.shape == (3, 9)
            assert ((found > 0) & (found < 1)).all()
        drawn = model.generate(11, torch.Generator().manual_seed(0))
        first = model.generate(4, torch.Generator().manual_seed(0))
        for m in modalities:
            assert drawn[m.name].shape == (11, *m.shape)
            assert torch.equal(drawn[m.name][:4], first[m.name])
        # batches go on where the last one ended, and do not begin anew
        batches = list(model.generate_batches(11, 4, torch.Generator().manual_seed(0)))
        assert len(batches) == 3
        for m in modalities:
            assert torch.equal(torch.cat([batch[m.name] for batch in batches])[:11], drawn[m.name])


@pytest.mark.parametrize("name", ["rbm", "mdbn", "mdbm"])
def test_visible_units_follow_the_modality(name):
    model = MODELS.get(name).model(THREE, MODELS.get(name).settings())
    kinds = {key: type(model.of(key).units).__name__ for key in model.modalities}
    assert kinds == {"a": "Bernoulli", "b": "Gaussian", "c": "Softmax"}


@pytest.mark.parametrize("name", ["rbm", "mdbn", "mdbm"])
def test_counts_have_replicated_softmax_units(name):
    """Whole counts go in, probabilities come out, and a density asks for documents of one length."""
    torch.manual_seed(0)
    model = MODELS.get(name).model(COUNTED, MODELS.get(name).settings()).eval()
    visible = model.of("d")
    assert isinstance(visible.units, ReplicatedSoftmax)
    counts = torch.tensor([[3.0, 0, 6, 0, 0, 0], [1, 1, 1, 1, 1, 4], [9, 0, 0, 0, 0, 0]])
    items = (counts * 255 / 9).round() / 255
    assert torch.equal(visible.encode(items), counts)
    torch.testing.assert_close(visible.decode(counts).sum(1), torch.ones(3))
    batch, generator = {"a": torch.rand(3, 1, 12, 12), "d": items}, torch.Generator().manual_seed(0)
    with torch.inference_mode():
        assert model.log_density_bound(batch, generator).isfinite().all()
        shorter = batch | {"d": items * (counts > 1)}
        with pytest.raises(NotDefinedError, match="same number of words, here 9, but some have fewer"):
            model.log_density_bound(shorter, generator)


@pytest.mark.slow
def test_a_small_machine_on_mnist_is_as_good_as_a_published_one():
    """784-16, PCD-1, 50 epochs of batches of 100 at rate 0.01 on binary images; exact Z.

    PyDeep's documentation has -149.05 for plain and -142.56 for centred gradients. What is ours: biases that
    start from the pixels' log-odds. From biases of zero and small weights all hidden units die.
    """
    folder = os.environ.get("MMBENCH_DATA")
    if not (folder and (Path(folder) / "mnist_train.npz").exists()):
        pytest.skip("no mnist_train.npz: set MMBENCH_DATA to the folder that holds it")
    images = {}
    for part in ("train", "test"):
        with np.load(Path(folder) / f"mnist_{part}.npz") as arrays:
            images[part] = (torch.from_numpy(arrays["images"]).flatten(1) > 127).float()
    torch.manual_seed(0)
    rbm = RBM(Bernoulli(784), 16)
    with torch.no_grad():
        rbm.visible_bias.copy_(base_rates(images["train"].mean(0)))
    chains, optimizer = rbm.chains(100), torch.optim.SGD(rbm.parameters(), lr=0.01)
    for _ in range(50):
        for rows in torch.randperm(60_000).split(100):
            loss = rbm.pcd_loss(images["train"][rows], chains)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    log_z = exact_log_partition(rbm.double().free_energy_of_hidden, 16)
    with torch.no_grad():
        log_p = -rbm.free_energy_of(images["test"].double()).mean().item() - log_z
    assert -149.05 < log_p < -140
