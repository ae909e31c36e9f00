"""Structural similarity of images and their reconstructions."""

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["REACH", "ssim"]

# of the Gaussian window in pixels: from its centre to its border, and its standard deviation
REACH, SIGMA = 5, 1.5
C1, C2 = 0.01**2, 0.03**2  # of values in [0, 1]


def ssim(x: Tensor, y: Tensor) -> Tensor:
    """(B,): structural similarity of images x and y (B, C, H, W) in [0, 1], sides of 6 or more.

    Wang, Bovik, Sheikh and Simoncelli 2004 ("Image Quality Assessment", equation 13), the mean over all
    channels and places of a Gaussian window of 11 x 11 pixels, where images are mirrored at their borders, as
    torchmetrics does it:

        SSIM = (2 mu_x mu_y + c_1) (2 sigma_xy + c_2)
               / ((mu_x^2 + mu_y^2 + c_1) (sigma_x^2 + sigma_y^2 + c_2))
    """
    offsets = torch.arange(-REACH, REACH + 1, dtype=x.dtype, device=x.device)
    window = torch.softmax(-offsets.square() / (2 * SIGMA**2), 0)
    x, y = (functional.pad(images, (REACH,) * 4, mode="reflect") for images in (x, y))
    # (5 B C, 1, H + 10, W + 10)
    planes = torch.stack([x, y, x * x, y * y, x * y]).flatten(0, 2).unsqueeze(1)
    blurred = functional.conv2d(functional.conv2d(planes, window.view(1, 1, 1, -1)), window.view(1, 1, -1, 1))
    mean_x, mean_y, xx, yy, xy = blurred.unflatten(0, (5, *x.shape[:2])).squeeze(3)
    # rounding can leave them just below zero
    variances = (xx - mean_x.square()).clamp_min(0) + (yy - mean_y.square()).clamp_min(0)
    structure = (2 * (xy - mean_x * mean_y) + C2) / (variances + C2)
    return (structure * (2 * mean_x * mean_y + C1) / (mean_x.square() + mean_y.square() + C1)).mean((1, 2, 3))
