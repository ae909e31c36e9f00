"""A latent drawn given several modalities spreads as the model's posterior does, not as a mean of draws."""

import pytest
import torch

from models.base import SharedLatentModel
from models.conformance import THREE
from models.conformance.tools import make_example
from models.names import find_models
from models.parts.distributions import one_expert_per_item

DRAWS = 8_000
PRODUCTS = {"dmvae", "mopoe", "mvae"}
"""Models whose posterior given several modalities is a product of experts; of the others a mixture."""


def shared_latent_models():
    models = [(entry.name, make_example(entry, THREE)) for entry in find_models("all")]
    return {name: found for name, found in models if isinstance(found[0], SharedLatentModel)}


MODELS = shared_latent_models()


def moments(draws):
    return draws.double().mean(0), draws.double().var(0)


@pytest.mark.parametrize("name", MODELS)
def test_draws_have_the_moments_of_the_posterior(name):
    """Of one item, given two of three modalities."""
    model, batch = MODELS[name]
    inputs = {
        m.name: batch[m.name][:1].expand(DRAWS, *[-1] * len(m.shape)) for m in model.modalities.values()
    }
    del inputs[THREE[-1].name]
    generator = torch.Generator().manual_seed(0)
    with torch.inference_mode():
        mean, variance = moments(model.infer(inputs, sample=True, generator=generator))
        alone = [
            moments(model.infer({name: x}, sample=True, generator=generator)) for name, x in inputs.items()
        ]
        if name in PRODUCTS:
            posterior = model.posterior({name: x[:1] for name, x in inputs.items()})
            expected = posterior.mean[0].double(), posterior.logvar[0].double().exp()
        else:
            means, variances = (torch.stack(each) for each in zip(*alone, strict=True))
            expected = means.mean(0), variances.mean(0) + means.var(0, correction=0)
    if not variance.any():
        assert not any(each.any() for _, each in alone)  # a deterministic model has nothing to spread
        return
    torch.testing.assert_close(variance / expected[1], torch.ones_like(variance), rtol=0, atol=0.12)
    error = (mean - expected[0]) / (expected[1] / DRAWS).sqrt()
    assert float(error.abs().max()) < 7  # standard errors, of a mean and of means that are estimates too


def test_every_item_has_an_expert_of_its_own():
    experts = torch.tensor([0.0, 10.0, 20.0]).view(3, 1, 1, 1).expand(3, 4, 500, 2)
    drawn = one_expert_per_item(experts, torch.Generator().manual_seed(0))
    assert drawn.shape == (4, 500, 2)
    assert torch.equal(drawn[..., 0], drawn[..., 1])  # all dimensions come from one expert
    shares = torch.bincount((drawn[..., 0].flatten() / 10).long(), minlength=3) / 2000
    torch.testing.assert_close(shares, torch.full((3,), 1 / 3), rtol=0, atol=0.05)
    again = one_expert_per_item(experts, torch.Generator().manual_seed(0))
    assert torch.equal(drawn, again)


def test_one_expert_is_itself_and_takes_no_random_numbers():
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    only = torch.rand(1, 5, 2)
    assert torch.equal(one_expert_per_item(only, generator), only[0])
    assert torch.equal(generator.get_state(), before)
