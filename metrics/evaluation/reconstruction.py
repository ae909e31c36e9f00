"""Reconstruction of each modality from itself, with the latent mean: how much passes through the latent."""

import torch

from metrics.catalogue import Kind, metric
from metrics.evaluation.one_pass import BATCH, Finite, Found, Pass
from metrics.images import as_float
from metrics.missing import Lack, Missing
from metrics.names import MetricName
from metrics.reconstruction import REACH, ssim
from models.about import cite
from models.base import Modality

__all__ = ["reconstructions"]


@metric(
    "reconstruction",
    Kind("mse", "MSE", "fraction", "lower"),
    Kind("ssim", "SSIM", "fraction", "higher"),
    asked=True,
    reading="MSE and SSIM: test images reconstructed from themselves.",
    span="MSE 0 to 1 per value, of values between 0 and 1, lower is better; SSIM -1 to 1, higher is better. "
    "Both are shown times 100.",
    hides=(
        "Everything about other modalities: a latent that passes pixels through need not know "
        "what they show. MSE likes blurred items, and both see pixels and no classes."
    ),
    bibtex=cite("wang2004ssim"),
)
def reconstructions(run: Pass) -> Found:
    """Mean squared error per value in [0, 1], and SSIM, of every test image from itself.

    An image and itself, and an image and its negative:

    >>> import torch
    >>> from metrics.reconstruction import ssim
    >>> image = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    >>> round(float(ssim(image, image)), 4), float(ssim(image, 1 - image)) < 0
    (1.0, True)
    """
    for name, modality in run.model.modalities.items():
        error, likeness = (MetricName(kind, target=name) for kind in ("mse", "ssim"))
        if modality.symbolic:
            kind = "text" if modality.likelihood == "categorical" else "counts of symbols"
            text = Missing(Lack.NOT_DEFINED, f"It is of images, and {name} is {kind}.")
            yield error, text
            yield likeness, text
            continue
        small, finite = _too_small(modality), Finite()
        found = _measure(run, modality, finite, with_ssim=not small)
        missing = finite.missing(name)
        yield error, missing or found[0]
        yield likeness, missing or small or found[1]


def _too_small(modality: Modality) -> Missing | None:
    """Why there is no SSIM of a modality, None where there is."""
    if modality.kind != "image":
        return Missing(Lack.NOT_DEFINED, f"SSIM is of images, and {modality.name} is none ({modality.kind}).")
    sides = modality.shape[1:]
    if len(sides) == 2 and min(sides) > REACH:
        return None
    shown = " x ".join(map(str, sides))
    sentence = f"SSIM takes images of {REACH + 1} or more pixels a side; {modality.name} has {shown}."
    return Missing(Lack.NOT_DEFINED, sentence)


def _measure(run: Pass, modality: Modality, finite: Finite, with_ssim: bool) -> tuple[float, float]:
    """Mean squared error and mean SSIM (0 where it is not wanted) over the test images."""
    name = modality.name
    images = run.test[name][0]
    rows = {name: torch.arange(len(images), device=run.device)}
    errors, likenesses = [], []
    for start in range(0, len(images), BATCH):
        x = as_float(images[start : start + BATCH])
        mean = finite.read(modality, run.translate(rows, [name], start, None)[name])
        errors.append((mean - x).square().flatten(1).mean(1))
        if with_ssim:
            likenesses.append(ssim(x, mean))
        run.progress(f"reconstruction of {name}", min(start + BATCH, len(images)), len(images))
    error, likeness = (
        float(torch.cat(parts).double().mean()) if parts else 0.0 for parts in (errors, likenesses)
    )
    return error, likeness
