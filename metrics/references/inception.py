"""The Inception network of the FID (Heusel et al. 2017): pytorch-fid's, with its weights and no others."""

import hashlib
import os
import pickle
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from urllib.error import URLError

import torch
import torchvision
from pytorch_fid import inception as pytorch_fid
from torch import Tensor, nn
from torch.nn import functional

from metrics.images import as_float
from models.errors import InputError

__all__ = [
    "WEIGHTS_SHA256",
    "Inception",
    "WeightsUnavailable",
    "can_see",
    "features",
    "find_weights",
    "load_inception",
]

WEIGHTS_URL = pytorch_fid.FID_WEIGHTS_URL
WEIGHTS_SHA256 = "6726825d"  # the beginning of the file's hash
PATIENCE = 30.0  # seconds without an answer before a download is given up
BATCH = 50  # images at a time: one batch of 299x299 activations takes some 300 MB
SIDE = 299


class WeightsUnavailable(Exception):  # noqa: N818  (an answer rather than an error: the cell stays empty)
    """The weights of a network are not to be had; the message is the reason why there is no distance."""


class Inception(nn.Module):
    """From images (B, 3, H, W) in [0, 1] to the 2048 features of the last pooling layer.

    torchvision's Inception v3 with the seven blocks that pytorch-fid replaces, as its `fid_inception_v3`
    builds it, but without fetching weights: load a state dictionary of pytorch-fid, then call `as_extractor`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.network = torchvision.models.inception_v3(
            num_classes=1008, aux_logits=False, weights=None, init_weights=False
        )
        self.network.Mixed_5b = pytorch_fid.FIDInceptionA(192, pool_features=32)
        self.network.Mixed_5c = pytorch_fid.FIDInceptionA(256, pool_features=64)
        self.network.Mixed_5d = pytorch_fid.FIDInceptionA(288, pool_features=64)
        for name, channels in {"Mixed_6b": 128, "Mixed_6c": 160, "Mixed_6d": 160, "Mixed_6e": 192}.items():
            setattr(self.network, name, pytorch_fid.FIDInceptionC(768, channels_7x7=channels))
        self.network.Mixed_7b = pytorch_fid.FIDInceptionE_1(1280)
        self.network.Mixed_7c = pytorch_fid.FIDInceptionE_2(2048)

    def as_extractor(self) -> "Inception":
        """Drop the classifier and freeze the rest, in eval mode and in the memory format that is fastest."""
        self.network.fc = nn.Identity()
        return self.eval().requires_grad_(False).to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        resized = functional.interpolate(x, size=(SIDE, SIDE), mode="bilinear", align_corners=False)
        return self.network(2 * resized - 1)


def find_weights(file: Path | None = None) -> Path:
    """The file with the weights: `file`, or pytorch-fid's cached download, or else a new download there.

    Raises:
        InputError: for a given file that is not there, and for a file that cannot be read or has another
            hash.
        WeightsUnavailable: where no file is given or cached, and none can be downloaded.
    """
    cached = Path(torch.hub.get_dir()) / "checkpoints" / WEIGHTS_URL.rsplit("/", 1)[1]
    # unlike Path.is_file, False in a folder that may not be read
    if file is None and not os.path.isfile(cached):
        _download(cached)
    found = file or cached
    try:
        digest = _sha256(found)
    except OSError as error:
        raise InputError(
            f"The Inception weights {found} are not there or cannot be read ({error.strerror}): "
            f"expected pytorch-fid's file {cached.name}."
        ) from None
    if not digest.startswith(WEIGHTS_SHA256):
        raise InputError(
            f"{found} does not hold the Inception weights: its SHA-256 begins with "
            f"{digest[: len(WEIGHTS_SHA256)]}, expected {WEIGHTS_SHA256}. "
            f"Replace it with pytorch-fid's file ({WEIGHTS_URL})."
        )
    return found


def _download(target: Path) -> None:
    """Fetch the weights into their place; WeightsUnavailable where that does not work."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _patience():
            torch.hub.download_url_to_file(
                WEIGHTS_URL, str(target), hash_prefix=WEIGHTS_SHA256, progress=False
            )
    except (
        OSError,
        HTTPException,
        RuntimeError,
    ) as error:  # no network or no room; a broken answer; another hash
        raise WeightsUnavailable(
            "No FID: pytorch-fid's Inception weights are not in its cache and could not be downloaded "
            f"({_cause(error)}). "
            f"Fetch {WEIGHTS_URL} and name the file with --inception-weights."
        ) from None


@contextmanager
def _patience() -> Iterator[None]:
    """Sockets opened inside time out; torch.hub sets no limit of its own."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(PATIENCE)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _cause(error: Exception) -> str:
    """Why a download failed, without file names of this machine: the reason is stored with the results."""
    if isinstance(error, RuntimeError):
        return "its hash is not the expected one"
    cause = error.reason if isinstance(error, URLError) else error
    return getattr(cause, "strerror", None) or str(cause)


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def load_inception(file: Path | None = None, device: torch.device | str = "cpu") -> Inception:
    """The extractor on `device`, in eval mode; the file and the errors are those of `find_weights`."""
    found, inception = find_weights(file), Inception()
    try:
        inception.network.load_state_dict(torch.load(found, map_location="cpu", weights_only=True))
    except (EOFError, KeyError, RuntimeError, TypeError, ValueError, pickle.UnpicklingError) as error:
        raise InputError(
            f"{found} holds no weights of the Inception network ({type(error).__name__}): "
            "replace it with pytorch-fid's file."
        ) from None
    return inception.as_extractor().to(device)


def can_see(shape: tuple[int, ...]) -> bool:
    """Whether `features` takes items of this shape: images (C, H, W) of one channel or three."""
    return len(shape) == 3 and shape[0] in (1, 3)


def features(
    network: nn.Module, images: Tensor, progress: Callable[[int, int], object] | None = None
) -> Tensor:
    """(N, d) features on the network's device; of `Inception` as pytorch-fid computes them from PNG files.

    Args:
        network: from images (B, 3, H, W) in [0, 1] to features (B, d).
        images: (N, C, H, W) uint8 with one channel, which is repeated, or three.
        progress: called after every batch with (images done, images).
    """
    device = next(network.parameters()).device
    rows = []
    with torch.no_grad():
        for batch in images.split(BATCH):
            x = as_float(batch.to(device))
            rows.append(network(x.expand(-1, 3, -1, -1)))
            if progress:
                progress(sum(map(len, rows)), len(images))
    return torch.cat(rows)
