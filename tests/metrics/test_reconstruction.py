"""Reconstruction: SSIM against torchmetrics and its formula, and in one pass over a model."""

import math

import numpy as np
import pytest
import torch
from evaluation_setup import THREE, Oracle, TinyVAE, make_setup, said, templates

from metrics.evaluation.evaluate import evaluate
from metrics.images import as_float
from metrics.reconstruction import ssim
from models.base import Modality


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 20), (2, 8, 6)])
def test_ssim_is_that_of_torchmetrics(shape):
    image = pytest.importorskip("torchmetrics.functional.image")
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(5, *shape, generator=generator)
    y = (x + 0.3 * torch.randn(x.shape, generator=generator)).clamp(0, 1)
    expected = image.structural_similarity_index_measure(y, x, data_range=1.0, reduction="none")
    torch.testing.assert_close(ssim(x, y), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ssim(x, x), torch.ones(5))


def test_ssim_of_constant_images_is_the_formula():
    x, y = torch.full((1, 1, 12, 12), 0.2), torch.full((1, 1, 12, 12), 0.7)
    assert ssim(x, y).item() == pytest.approx((2 * 0.2 * 0.7 + 1e-4) / (0.2**2 + 0.7**2 + 1e-4), rel=1e-4)


BIG = (Modality("a", (1, 12, 12)), Modality("b", (3, 16, 12)), THREE[2])


def test_reconstruction_is_of_every_item_from_itself_by_the_latent_mean():
    model, setup = TinyVAE(BIG), make_setup(BIG)
    found = evaluate(model, **setup, metrics=["reconstruction"])
    for name in "ab":
        images, errors, likenesses = setup["test"][name][0], [], []
        for i in range(205):
            x = as_float(images[i : i + 1])
            with torch.no_grad():
                mean = model.eval().translate({name: x}, [name])[name]
            errors.append((mean - x).square().mean().item())
            likenesses.append(ssim(x, mean).item())
        assert found.metrics[f"mse/{name}"] == pytest.approx(np.mean(errors), rel=1e-5)
        assert found.metrics[f"ssim/{name}"] == pytest.approx(np.mean(likenesses), rel=1e-4)
    assert said(found) == dict.fromkeys(["mse/c", "ssim/c"], "Not defined: It is of images, and c is text.")


def test_reconstruction_without_its_needs_says_why():
    found = evaluate(Oracle(), **make_setup(), metrics=["reconstruction"])
    assert said(found)["ssim/b"] == "Not defined: SSIM takes images of 6 or more pixels a side; b has 2 x 3."
    images, labels = make_setup()["test"]["a"]
    assert found.metrics["mse/a"] == pytest.approx(
        (as_float(images) - templates(labels, (1, 4, 4))).square().mean().item(), rel=1e-5
    )

    class Lost(Oracle):
        def translate(self, inputs, targets, sample=False, generator=None):
            return {
                name: x * math.nan
                for name, x in super().translate(inputs, targets, sample, generator).items()
            }

    found = evaluate(Lost(BIG), **make_setup(BIG), metrics=["reconstruction"])
    assert (
        said(found)["mse/b"]
        == said(found)["ssim/b"]
        == "The model generated values that are not finite in b."
    )
