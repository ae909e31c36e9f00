"""The convolutions against torch's own layers, and what the networks promise about memory and precision."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from models.base import Modality
from models.parts.convolutions import Double, Halve, channels_last
from models.parts.networks import make_decoder, make_encoder
from models.parts.own_networks import Networks

CASES = [(Halve, 3, 32), (Halve, 64, 128), (Double, 128, 64), (Double, 32, 3)]


def plain(layer: Halve | Double, x: Tensor) -> Tensor:
    function = functional.conv2d if isinstance(layer, Halve) else functional.conv_transpose2d
    return function(x, layer.weight, layer.bias, stride=2, padding=1)


def pair(
    kind: type[Halve] | type[Double], before: int, after: int, dtype: torch.dtype
) -> tuple[Halve | Double, Tensor]:
    torch.manual_seed(0)
    return kind(before, after).to(dtype), torch.randn(5, before, 4, 6, dtype=dtype, requires_grad=True)


@pytest.mark.parametrize(("kind", "before", "after"), CASES)
def test_convolutions_have_the_parameters_of_torchs(
    kind: type[Halve] | type[Double], before: int, after: int
) -> None:
    torch.manual_seed(0)
    ours = kind(before, after).state_dict()
    torch.manual_seed(0)
    theirs = (nn.Conv2d if kind is Halve else nn.ConvTranspose2d)(
        before, after, kernel_size=4, stride=2, padding=1
    ).state_dict()
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("kind", "before", "after"), CASES)
def test_convolutions_equal_torchs(
    kind: type[Halve] | type[Double], before: int, after: int, memory_format: torch.memory_format
) -> None:
    layer, x = pair(kind, before, after, torch.float64)
    layer, x = (
        layer.to(memory_format=memory_format),
        x.detach().contiguous(memory_format=memory_format).requires_grad_(),
    )
    expected = plain(layer, x)
    grad = torch.randn_like(expected)
    y = layer(x)
    torch.testing.assert_close(y, expected)
    inputs = (x, layer.weight, layer.bias)
    for ours, theirs in zip(
        torch.autograd.grad(y, inputs, grad), torch.autograd.grad(expected, inputs, grad), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(("kind", "before", "after"), CASES)
def test_convolutions_under_autocast_round_as_torchs(
    kind: type[Halve] | type[Double], before: int, after: int
) -> None:
    """Within bfloat16's precision (8 bits) of what float64 gives.

    Torch's own layers are held to the same bound.
    """
    layer, x = pair(kind, before, after, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        ours, theirs = layer(x), plain(layer, x)
    assert ours.dtype == torch.bfloat16
    exact_layer, exact_x = copy.deepcopy(layer).double(), x.detach().double().requires_grad_()
    exact = plain(exact_layer, exact_x)
    grad = torch.randn_like(ours)
    truth = [
        exact,
        *torch.autograd.grad(exact, (exact_x, exact_layer.weight, exact_layer.bias), grad.double()),
    ]
    for y in (ours, theirs):
        results = [y, *torch.autograd.grad(y, (x, layer.weight, layer.bias), grad)]
        for result, true in zip(results, truth, strict=True):
            assert (result - true).norm() < 0.01 * true.norm()


@pytest.mark.parametrize("few", [3, 17])
@pytest.mark.parametrize("kind", [Halve, Double])
def test_gradients_by_finite_differences(kind: type[Halve] | type[Double], few: int) -> None:
    layer = (kind(few, 2) if kind is Halve else kind(2, few)).double()
    x = torch.randn(2, layer.in_channels, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda x, weight, bias: torch.func.functional_call(layer, {"weight": weight, "bias": bias}, (x,)),
        (x, layer.weight, layer.bias),
    )


@pytest.mark.parametrize("shape", [(3, 16, 32), (1, 8, 8), (1, 6, 5)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_networks_train_in_both_precisions(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    image = Modality("image", shape)
    encoder, decoder = make_encoder(image, 7), make_decoder(image, 7)
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        x = decoder(encoder(torch.rand(3, *shape)))
    assert x.dtype == torch.float32
    assert x.shape == (3, *shape)
    x.sum().backward()
    assert all(
        p.grad is not None and p.grad.dtype == torch.float32 and p.grad.any()
        for p in (*encoder.parameters(), *decoder.parameters())
    )


def test_the_code_of_a_pair_is_that_of_both_its_modules() -> None:
    """A decoder in a module of its own is a part of what runs are told apart by."""
    same = Networks("pair", make_encoder, make_decoder)
    other = Networks("pair", make_encoder, channels_last)
    assert len({same.code, other.code, Networks("pair", channels_last, channels_last).code}) == 3
    assert same.code == Networks("another", make_encoder, make_decoder).code
