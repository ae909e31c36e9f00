"""Reconstruction of each modality from itself, with the latent mean: how much of an image passes through the latent."""

import torch
from torch import Tensor
from torch.nn import functional

from metrics.evaluation.cross import translate
from metrics.evaluation.one_pass import BATCH, Finite, Pass
from metrics.images import as_float
from models.base import Modality

__all__ = ["reconstructions", "ssim"]

REACH, SIGMA = (
    5,
    1.5,
)  # of the Gaussian window in pixels: from its centre to its border, and its standard deviation
C1, C2 = 0.01**2, 0.03**2  # of values in [0, 1]


def ssim(x: Tensor, y: Tensor) -> Tensor:
    """(B,): structural similarity of images x and y (B, C, H, W) in [0, 1], H and W 6 or more; 1 for equal ones.

    Wang, Bovik, Sheikh and Simoncelli 2004 ("Image Quality Assessment", equation 13), the mean over all channels and places of a Gaussian
    window of 11 x 11 pixels, where images are mirrored at their borders, as torchmetrics does it:

        SSIM = (2 mu_x mu_y + c_1) (2 sigma_xy + c_2) / ((mu_x^2 + mu_y^2 + c_1) (sigma_x^2 + sigma_y^2 + c_2))
    """
    offsets = torch.arange(-REACH, REACH + 1, dtype=x.dtype, device=x.device)
    window = torch.softmax(-offsets.square() / (2 * SIGMA**2), 0)
    x, y = (functional.pad(images, (REACH,) * 4, mode="reflect") for images in (x, y))
    planes = torch.stack([x, y, x * x, y * y, x * y]).flatten(0, 2).unsqueeze(1)  # (5 B C, 1, H + 10, W + 10)
    blurred = functional.conv2d(functional.conv2d(planes, window.view(1, 1, 1, -1)), window.view(1, 1, -1, 1))
    mean_x, mean_y, xx, yy, xy = blurred.unflatten(0, (5, *x.shape[:2])).squeeze(3)
    variances = (xx - mean_x.square()).clamp_min(0) + (yy - mean_y.square()).clamp_min(
        0
    )  # rounding can leave them just below zero
    structure = (2 * (xy - mean_x * mean_y) + C2) / (variances + C2)
    return (structure * (2 * mean_x * mean_y + C1) / (mean_x.square() + mean_y.square() + C1)).mean((1, 2, 3))


def reconstructions(run: Pass) -> None:
    """Mean squared error per value in [0, 1], and SSIM, of every test image from itself, per modality of images."""
    for name, modality in run.model.modalities.items():
        small = _unsuited(modality)
        if modality.likelihood == "categorical":
            error, likeness, reason = 0.0, 0.0, f"It is of images, and {name} is text."
        else:
            error, likeness, reason = _measure(run, modality, with_ssim=not small)
        for metric, value, why in (
            (f"mse/{name}", error, reason),
            (f"ssim/{name}", likeness, reason or small),
        ):
            if why:
                run.lack(metric, why)
            else:
                run.metrics[metric] = value


def _unsuited(modality: Modality) -> str:
    """Why there is no SSIM of a modality; empty where there is."""
    sides = modality.shape[1:]
    if len(sides) == 2 and min(sides) > REACH:
        return ""
    return f"SSIM takes images of {REACH + 1} or more pixels a side; {modality.name} has {' x '.join(map(str, sides))}."


def _measure(run: Pass, modality: Modality, with_ssim: bool) -> tuple[float, float, str]:
    """Mean squared error and mean SSIM (0 where it is not wanted) over the test images, and why they are of no use, if so."""
    name, finite = modality.name, Finite()
    images = run.test[name][0]
    rows = {name: torch.arange(len(images))}
    errors, likenesses = [], []
    for start in range(0, len(images), BATCH):
        x = as_float(images[start : start + BATCH].to(run.device))
        mean = finite.read(modality, translate(run, rows, [name], start, None)[name])
        errors.append((mean - x).square().flatten(1).mean(1))
        if with_ssim:
            likenesses.append(ssim(x, mean))
        run.progress(f"reconstruction of {name}", min(start + BATCH, len(images)), len(images))
    error, likeness = (
        float(torch.cat(parts).double().mean()) if parts else 0.0 for parts in (errors, likenesses)
    )
    return error, likeness, finite.reason(name) or ""
