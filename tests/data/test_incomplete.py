"""Training on pairs that lack modalities (`--observe`): what is hidden, batches, and losses by hand."""

import math
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pandas as pd
import pytest
import torch
from options import SMALL

from mmbench.data import Split, load_data
from mmbench.data.batches import Batches
from mmbench.data.pairing import hide
from mmbench.execution.train import make_batches
from mmbench.plan.config import restore_config
from mmbench.plan.overrides import make_configs
from mmbench.plan.presets import Training
from mmbench.storage.files import read_json
from mmbench.training.checkpoints import Checkpoints
from mmbench.training.trainer import Trainer, Watch
from models.conformance import THREE, TWO
from models.errors import InputError
from models.parts.distributions import DiagonalGaussian
from models.parts.gaussian import product_of_experts
from models.registry import MODELS

INCOMPLETE = [entry for entry in MODELS if entry.incomplete]
RUN = (
    "run",
    "--dataset",
    "digits",
    "--preset",
    "smoke",
    "--jobs",
    "1",
    *SMALL,
    "--set",
    "steps=12",
)  # enough for batches of both kinds


@pytest.fixture
def split():
    """Items that spell out their own index; of 300 pairs some lack one modality, some both."""
    generator = torch.Generator().manual_seed(0)
    items = {
        m.name: torch.arange(200, dtype=torch.uint8)
        .view(-1, *[1] * len(m.shape))
        .expand(200, *m.shape)
        .contiguous()
        for m in TWO
    }
    pairs = torch.randint(200, (300, 2), generator=generator)
    return Split(
        items, {m.name: torch.zeros(200) for m in TWO}, hide(pairs, [200, 200], {0: 0.7, 1: 0.5}, seed=1)
    )


def test_a_share_of_the_items_is_hidden_in_all_pairs_that_have_them():
    counts, shares = [1000, 50, 2000], {0: 0.3, 2: 0.9}
    pairs = torch.stack(
        [torch.randint(count, (20_000,), generator=torch.Generator().manual_seed(count)) for count in counts],
        1,
    )
    before = pairs.clone()
    hidden = hide(pairs, counts, shares, seed=0)
    there = hidden >= 0
    seen = [hidden[there[:, m], m].unique() for m in range(3)]
    assert [len(items) for items in seen] == [300, 50, 1800]
    assert all(torch.equal(there[:, m], torch.isin(pairs[:, m], items)) for m, items in enumerate(seen))
    assert (there[:, 0] & there[:, 2]).double().mean().item() == pytest.approx(
        0.27, abs=0.02
    )  # independent of each other
    assert torch.equal(hidden[there], pairs[there])
    assert (hidden[~there] == -1).all()
    assert torch.equal(pairs, before)
    assert torch.equal(hide(pairs, counts, {2: 0.9, 0: 0.3}, seed=0), hidden)
    assert not torch.equal(hide(pairs, counts, shares, seed=1), hidden)


@pytest.mark.parametrize(("share", "left"), [(1e-9, 1), (1 - 1e-9, 39)])
def test_a_share_is_never_nothing_nor_all(share, left):
    hidden = hide(torch.arange(40)[:, None].expand(40, 2), [40, 40], {1: share}, seed=0)
    assert (hidden[:, 1] >= 0).sum() == left


def test_a_batch_has_pairs_of_one_kind_and_an_epoch_has_each_at_most_once(split):
    batches = Batches(split, TWO, 8, seed=3)
    expected = Counter((a if a >= 0 else None, b if b >= 0 else None) for a, b in split.pairs.tolist())
    del expected[None, None]
    kinds = Counter(tuple(item is not None for item in pair) for pair in expected.elements())
    assert len(kinds) == 3
    assert batches.steps_per_epoch == sum(count // 8 for count in kinds.values())
    orders = []
    for epoch in range(2):
        seen: Counter[tuple[int | None, ...]] = Counter()
        order = []
        for step in range(batches.steps_per_epoch):
            batch = batches.batch(epoch * batches.steps_per_epoch + step)
            columns = [
                (batch[m.name].flatten(1)[:, 0] * 255).round().long().tolist()
                if m.name in batch
                else [None] * 8
                for m in TWO
            ]
            seen.update(zip(*columns, strict=True))
            order.append(tuple(batch))
        assert seen <= expected
        assert Counter(order) == {
            tuple(m.name for m, is_there in zip(TWO, kind, strict=True) if is_there): n // 8
            for kind, n in kinds.items()
        }
        assert len(set(pairwise(order))) > 3, "batches of one kind follow each other"
        orders.append(order)
    assert orders[0] != orders[1]
    again = Batches(split, TWO, 8, seed=3)  # whatever was asked for before
    assert (
        torch.equal(again.batch(9)["a"], batches.batch(9)["a"])
        if "a" in again.batch(9)
        else "a" not in batches.batch(9)
    )


def test_too_few_pairs_of_a_kind_are_refused(split):
    few = replace(
        split, pairs=torch.cat([split.pairs[(split.pairs >= 0).all(1)], torch.tensor([[3, -1]] * 5)])
    )
    with pytest.raises(
        InputError,
        match="A batch of 8 pairs is more than the 5 that have just a: choose a smaller batch size, or other",
    ):
        Batches(few, TWO, 8, seed=0)


def test_models_and_seeds_see_the_same_items():
    data = load_data("digits")
    names = [name for name in ("mvae", "cnf-mvae") for _ in range(2)]
    configs = [
        make_configs([MODELS.get(name)], "digits", "smoke", (), observed={"street": 0.2})[0] for name in names
    ]
    seen = []
    for config, seed in zip(configs, (0, 1, 2, 3), strict=True):
        batches = make_batches(config, data, seed, "cpu")
        seen.append({tuple(row) for row in batches._pairs.t().tolist()})
    assert all(pairs == seen[0] for pairs in seen)
    assert len({street for _, street in seen[0] if street >= 0}) == round(
        0.2 * len(data.train.items["street"])
    )


@pytest.mark.parametrize(
    "observed", [5, None, ["street"], {"street": "0.5"}, {"street": 7.0}, {"street": float("nan")}]
)
def test_a_config_with_other_shares_is_refused(observed, finished):
    stored = read_json(finished.path / "digits" / "smoke" / "mvae" / "seed-0" / "config.json")
    stored["training"]["share_observed"] = observed
    with pytest.raises(InputError, match="share_observed in the training budget is not usable"):
        restore_config(stored)


def make(entry, modalities=TWO):
    torch.manual_seed(1)
    return entry.model(modalities, entry.settings())


def unimodal(name, model, x):
    """The loss of a batch of modality a alone, written as that of a VAE with the noise of seed 2."""
    torch.manual_seed(2)
    s, weight = model.settings, model.modalities["a"].weight
    if name in ("cnf-mvae", "cnf-mvae-mixture"):  # equation 11; before its first start a mixture is N(0, I)
        e = model.encoders["a"](x)
        noise = torch.randn_like(e)
        scale = model.log_s1["a"].exp()
        u, logdet = model.flows["a"](e + scale * noise)
        log_q = -0.5 * (noise.square() + math.log(2 * math.pi)).sum(-1) - s.latent_size * scale.log()
        log_p = -0.5 * (u.square() + math.log(2 * math.pi)).sum(-1) + logdet
        return (-model.likelihoods["a"](x, model.decoders["a"](e + scale * noise)) + log_q - log_p).mean()
    posterior = DiagonalGaussian(*model.encoders["a"](x).chunk(2, -1))
    if name == "dmvae":
        parts = [
            DiagonalGaussian(*(p[:, place] for p in posterior))
            for place in (slice(s.latent_size), slice(s.latent_size, None))
        ]
        z = torch.cat([q.rsample() for q in parts], -1)
        cost = -weight * model.likelihoods["a"](x, model.decoders["a"](z)).mean()
        return cost + s.beta * parts[0].kl().mean() + parts[1].kl().mean()
    if name == "mvae":
        posterior = product_of_experts([posterior], prior_expert=True)
    z = posterior.rsample()
    if name == "cada-vae":
        return (x - model.decode("a", z)).abs().flatten(1).sum(1).mean() + s.beta * posterior.kl().mean()
    cost = -weight * model.likelihoods["a"](x, model.decode("a", z)).mean()
    if name == "mmvae":  # one sample, no closed form
        return (
            cost
            + (
                posterior.log_prob(z) - DiagonalGaussian(torch.zeros_like(z), torch.zeros_like(z)).log_prob(z)
            ).mean()
        )
    return cost + s.beta * posterior.kl().mean()


@pytest.mark.parametrize("entry", INCOMPLETE, ids=lambda entry: entry.name)
def test_one_modality_alone_is_a_vae(entry):
    model, x = make(entry), torch.rand(6, *TWO[0].shape)
    torch.manual_seed(2)
    found = model.loss({"a": x}, torch.tensor(1.0)).total
    assert found.item() == pytest.approx(unimodal(entry.name, model, x).item(), rel=1e-5)


@pytest.mark.parametrize("entry", INCOMPLETE, ids=lambda entry: entry.name)
def test_without_the_third_modality_it_is_the_model_of_two(entry):
    """With the same weights and noise.

    But for MoPoE, whose product of all modalities has a prior expert, and that of two among three has none.
    """
    whole, part = make(entry, THREE), make(entry)
    part.load_state_dict(
        {name: value for name, value in whole.state_dict().items() if "c" not in name.split(".")}
    )
    batch = {m.name: torch.rand(6, *m.shape) for m in TWO}
    totals = []
    for model in (whole, part):
        torch.manual_seed(2)
        totals.append(model.loss(batch, torch.tensor(1.0)).total.item())
    assert (totals[0] == pytest.approx(totals[1], rel=1e-6)) == (entry.name != "mopoe")


@pytest.mark.parametrize("entry", INCOMPLETE, ids=lambda entry: entry.name)
def test_training_resumes_to_the_bit_with_terms_that_come_and_go(entry, split, tmp_path):
    def train(folder, stop=lambda: False):
        batches, budget = Batches(split, TWO, 8, seed=3), Training(steps=60, learning_rate=1e-3)
        checkpoints = Checkpoints(folder / "checkpoint.pt", "h", seed=3)
        trainer = Trainer(make(entry), batches, budget, checkpoints, watch=Watch(stop=stop))
        return trainer.run(), trainer

    asked = iter(range(100))
    _, whole = train(tmp_path / "whole")
    finished, _ = train(tmp_path / "broken", lambda: next(asked) == 37)
    assert not finished
    _, resumed = train(tmp_path / "broken")
    assert resumed.history == whole.history
    assert all(
        torch.equal(a, b) for a, b in zip(resumed.model.parameters(), whole.model.parameters(), strict=True)
    )
    assert {"reconstruction/a", "reconstruction/b", "loss"} <= {name for row in whole.history for name in row}


def test_a_run_says_what_was_hidden_and_can_be_made_again(invoke, tmp_path, finished):
    command = (*RUN, "--models", "mvae", "--observe", "street=0.5", "--results", tmp_path)
    result = invoke(*command)
    assert result.code == 0, result.text
    folder = tmp_path / "digits" / "smoke"
    config = read_json(folder / "mvae" / "seed-0" / "config.json")
    assert config["training"]["share_observed"] == {"street": 0.5}
    assert "--observe street=0.5" in config["command"]
    assert "share observed street 0.5" in (folder / "table1.md").read_text()
    history = pd.read_csv(folder / "mvae" / "seed-0" / "history.csv")
    assert set(history["single/street"].isna()) == {
        True,
        False,
    }  # a row for every step, of which some have no street
    assert history[["loss", "reconstruction/handwritten"]].notna().all(axis=None)
    assert "1 of them done" in invoke(*command).text
    assert (
        config["hash"]
        != read_json(finished.path / "digits" / "smoke" / "mvae" / "seed-0" / "config.json")["hash"]
    )
    other = invoke(*command[:-3], "street=0.25", "--results", tmp_path)
    assert other.code == 2
    assert "training.share_observed.street (0.5 there, 0.25 asked for)" in other.text
    again = invoke(
        "run",
        "--config",
        folder / "mvae" / "seed-0" / "config.json",
        "--jobs",
        "1",
        "--results",
        tmp_path / "again",
    )
    assert again.code == 0, again.text
    files = [
        path / "digits" / "smoke" / "mvae" / "seed-0" / "history.csv"
        for path in (tmp_path, tmp_path / "again")
    ]
    assert files[0].read_bytes() == files[1].read_bytes()
