"""The convolutions of the networks, which halve the sides of an image or, transposed, double them.

They have kernel 4, stride 2 and padding 1. Parameters, results and gradients are those of `nn.Conv2d` and
`nn.ConvTranspose2d`. On a CPU, where torch leaves most to gain, the three products that both layers and their
gradients consist of are computed in the form that measured fastest; everywhere else the layers are torch's
own. Gradients of gradients are not defined on a CPU.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

__all__ = ["Double", "Halve", "channels_last"]

FEW = 16  # channels up to which torch's transposed convolution is slow in any precision


class Halve(nn.Conv2d):
    """(B, before, 2H, 2W) to (B, after, H, W); weights (after, before, 4, 4)."""

    def __init__(self, before: int, after: int):
        super().__init__(before, after, kernel_size=4, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return _HalveOnCPU.apply(*_inputs(self, x)) if x.device.type == "cpu" else super().forward(x)


class Double(nn.ConvTranspose2d):
    """(B, before, H, W) to (B, after, 2H, 2W); weights (before, after, 4, 4)."""

    def __init__(self, before: int, after: int):
        super().__init__(before, after, kernel_size=4, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]  # there is one size that it gives
        return _DoubleOnCPU.apply(*_inputs(self, x)) if x.device.type == "cpu" else super().forward(x)


def _inputs(layer: Halve | Double, x: Tensor) -> tuple[Tensor, ...]:
    """Image, weights and biases, cast as autocast casts those of torch's own convolutions."""
    assert layer.bias is not None
    tensors = (x, layer.weight, layer.bias)
    if not torch.is_autocast_enabled("cpu"):
        return tensors
    return tuple(t.to(torch.get_autocast_dtype("cpu")) for t in tensors)


class _HalveOnCPU(torch.autograd.Function):
    """The convolution and its gradients."""

    @staticmethod
    def forward(ctx: Any, fine: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(fine, weight)
        return _halved(fine, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        fine, weight = ctx.saved_tensors
        to_fine = _doubled(grad, weight) if ctx.needs_input_grad[0] else None
        return to_fine, _weight_gradient(fine, grad, weight), grad.sum((0, 2, 3))


class _DoubleOnCPU(torch.autograd.Function):
    """The transposed convolution and its gradients."""

    @staticmethod
    def forward(ctx: Any, coarse: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(coarse, weight)
        return _doubled(coarse, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        coarse, weight = ctx.saved_tensors
        to_coarse = _halved(grad, weight) if ctx.needs_input_grad[0] else None
        return to_coarse, _weight_gradient(grad, coarse, weight), grad.sum((0, 2, 3))


# The three products. Images lie in memory channels last, weights are (O coarse channels, C fine channels, 4,
# 4).


def _halved(fine: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """(B, C, 2H, 2W) to (B, O, H, W)."""
    return functional.conv2d(channels_last(fine), weight, bias, stride=2, padding=1)


def _doubled(coarse: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """(B, O, H, W) to (B, C, 2H, 2W)."""
    channels = weight.shape[1]
    if coarse.dtype != torch.bfloat16 and channels > FEW:
        return functional.conv_transpose2d(channels_last(coarse), weight, bias, stride=2, padding=1)
    # Padded by one pixel, pixel 2i + r of a row (and 2j + s of a column) sees two coarse pixels, i and i - 1,
    # through elements r and r + 2 of the kernel: a transposed convolution with a kernel of 2, stride 1 and
    # channels (r, s, C).
    kernel = weight.permute(0, 2, 3, 1).unflatten(1, (2, 2)).unflatten(3, (2, 2))  # O, 2, r, 2, s, C
    kernel = kernel.transpose(2, 3).flatten(3).permute(0, 3, 1, 2)
    bias = None if bias is None else bias.repeat(4)
    low = functional.conv_transpose2d(channels_last(coarse), kernel, bias)
    subpixels = low.permute(0, 2, 3, 1).unflatten(3, (2, 2, channels))  # B, H + 1, W + 1, r, s, C
    items, _, height, width = coarse.shape
    shape = (items, channels, 2 * height, 2 * width)
    fine = torch.empty(shape, dtype=coarse.dtype, memory_format=torch.channels_last)
    pixels = fine.permute(0, 2, 3, 1).view(items, height, 2, width, 2, channels)
    for r in (0, 1):  # without the padding, r = 1 comes first
        for s in (0, 1):
            pixels[:, :, 1 - r, :, 1 - s] = subpixels[:, 1 - r : 1 - r + height, 1 - s : 1 - s + width, r, s]
    return fine


def _weight_gradient(fine: Tensor, coarse: Tensor, weight: Tensor) -> Tensor:
    """(O, C, 4, 4): the sum over items and coarse pixels of coarse times its 4 x 4 patch of fine."""
    fine, coarse = channels_last(fine), channels_last(coarse)
    many, few = weight.shape[:2]
    if coarse.dtype != torch.bfloat16 or few <= 32:
        # the way of a plain convolution also for a transposed one, whose own way is half as fast
        settings = ([2, 2], [1, 1], [1, 1], False, [0, 0], 1, [False, True, False])
        return torch.ops.aten.convolution_backward(coarse, fine, weight, None, *settings)[1]
    items, _, height, width = coarse.shape
    padded = functional.pad(fine.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))  # B, 2H + 2, 2W + 2, C
    item, row, column, _ = padded.stride()
    patches = padded.as_strided((items, height, width, 4, 4 * few), (item, 2 * row, 2 * column, row, 1))
    product = coarse.permute(1, 0, 2, 3).reshape(many, -1) @ patches.reshape(-1, 16 * few)
    return product.view(many, 4, 4, few).permute(0, 3, 1, 2)


def channels_last(x: Tensor) -> Tensor:
    """Images (B, C, H, W) in the memory format of all of this."""
    return x.contiguous(memory_format=torch.channels_last)
