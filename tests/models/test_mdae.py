"""MDAE: the loss item by item, who sees what, the shared layer, and what it says of its prior."""

import math
from collections import Counter
from itertools import product

import pytest
import torch
from torch import Tensor, nn

from models.base import Modality, NotDefinedError
from models.mdae import MDAE, MDAESettings

MIXED = (
    Modality("a", (1, 2, 2), weight=2.0),
    Modality("b", (3, 8, 8)),
    Modality("c", (2, 3), likelihood="categorical", weight=5.0, symbols="abc"),
)


def make_model(modalities: tuple[Modality, ...] = MIXED) -> MDAE:
    torch.manual_seed(0)
    return MDAE(modalities, MDAESettings(latent_size=5)).double()


def mixed_batch(items: int) -> dict[str, Tensor]:
    batch = {m.name: torch.rand(items, *m.shape, dtype=torch.float64) for m in MIXED}
    batch["c"] = nn.functional.one_hot(batch["c"].argmax(-1), 3).double()
    return batch


@pytest.mark.parametrize("modalities", [MIXED[:2], MIXED], ids=["two", "three"])
@pytest.mark.parametrize("items", [1, 2, 3, 20, 256])
def test_every_subset_gets_an_equal_share_of_every_batch(
    modalities: tuple[Modality, ...], items: int
) -> None:
    """To within one item; and over many batches, every item is as likely to get one subset as another."""
    model = make_model(modalities)
    subsets = {kept for kept in product((0.0, 1.0), repeat=len(modalities)) if any(kept)}
    first: Counter[tuple[float, ...]] = Counter()
    for _ in range(700):
        kept = [tuple(row) for row in model.draw_patterns(items).tolist()]
        counts = Counter(kept)
        assert set(counts) <= subsets
        assert max(counts.values()) - min(counts[subset] for subset in subsets) <= 1
        first[kept[0]] += 1
    expected = 700 / len(subsets)
    assert all(abs(first[subset] - expected) < 5 * math.sqrt(expected) for subset in subsets)


@pytest.mark.parametrize("items", [1, 2, 9])
def test_loss_reconstructs_everything_from_what_is_kept(items: int) -> None:
    """One item at a time; what is hidden from the encoders is zeros, and nothing is hidden from the cost."""
    model, batch = make_model(), mixed_batch(items)
    torch.manual_seed(1)
    loss = model.loss(batch, torch.tensor(0.5))
    torch.manual_seed(1)
    patterns = model.draw_patterns(items).tolist()
    expected = torch.zeros((), dtype=torch.float64)
    for item, kept in enumerate(patterns):
        x = {name: batch[name][item : item + 1] for name in batch}
        latent = sum(
            model.encoders[name](x[name] if keep else torch.zeros_like(x[name]))
            for name, keep in zip(x, kept, strict=True)
        )
        for name, modality in model.modalities.items():
            mean = model.decode(name, latent)
            if modality.likelihood == "categorical":
                cost = -mean[x[name].bool()].log().sum()
            else:
                cost = (x[name] - mean).square().sum() / 2 + math.prod(modality.shape) * math.log(
                    2 * math.pi
                ) / 2
            expected = expected + cost / items
    torch.testing.assert_close(loss.total, expected)
    torch.testing.assert_close(loss.total.detach(), sum(loss.terms.values()))


def test_the_shared_layer_is_one_linear_layer_over_all_last_hidden_units() -> None:
    model, batch = make_model(), mixed_batch(4)
    hidden = torch.cat([model.encoders[name][:-2](x) for name, x in batch.items()], dim=1)
    layers = [model.encoders[name][-2] for name in batch]
    weight, bias = torch.cat([layer.weight for layer in layers], dim=1), sum(layer.bias for layer in layers)
    torch.testing.assert_close(model.infer(batch), nn.functional.linear(hidden, weight, bias))


@pytest.mark.parametrize("missing", [["a"], ["b"], ["c"], ["a", "b"], ["b", "c"]])
def test_a_missing_modality_is_zeros(missing: list[str]) -> None:
    model, batch = make_model(), mixed_batch(4)
    inputs = {name: x for name, x in batch.items() if name not in missing}
    zeroed = {name: torch.zeros_like(x) if name in missing else x for name, x in batch.items()}
    torch.testing.assert_close(model.infer(inputs), model.infer(zeroed))
    assert not torch.allclose(model.infer(inputs), model.infer(batch))


def test_it_is_deterministic() -> None:
    model, batch = make_model(), mixed_batch(4)
    state = torch.get_rng_state()
    drawn = model.translate({"a": batch["a"]}, ["b"], sample=True, generator=torch.Generator().manual_seed(0))
    assert torch.equal(drawn["b"], model.translate({"a": batch["a"]}, ["b"])["b"])
    assert torch.equal(state, torch.get_rng_state())


def test_it_says_that_it_has_no_prior() -> None:
    with pytest.raises(NotDefinedError, match="no prior to draw from"):
        make_model().generate(3, torch.Generator())
    with pytest.raises(NotDefinedError, match="no prior to draw from"):
        make_model().prior(3, torch.Generator())
