"""Judges: a small classifier per modality, trained on real items, that finds the class of generated ones."""

import hashlib
import math
from collections.abc import Callable, Mapping
from functools import cache
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.nn import functional

from metrics.images import as_float
from metrics.protocol import Protocol
from models.base import Modality

__all__ = [
    "Judge",
    "TextJudge",
    "accuracy",
    "can_judge",
    "features",
    "is_vector",
    "judge_identity",
    "make_judge",
    "predict",
    "train_judge",
    "weights_hash",
]

SIDE = 8  # pixels of the smallest image that is judged without a border
TINY = 1e-10  # variance of a dimension of vectors in [0, 1], beside which far outliers may leave little
FEATURES = 128  # of the penultimate layer, the space of FD-clf
BATCH = 500  # items judged at a time
RECIPE: Mapping[str, float] = MappingProxyType(
    {
        "weight_decay": 0.05,
        "label_smoothing": 0.05,
        "shift": 2,
        "warm_up": 0.2,
    }  # shift in pixels, warm_up as a share of the steps
)


class Residual(nn.Module):
    """relu(x + g(x)) with g of two 3x3 convolutions."""

    def __init__(self, channels: int):
        super().__init__()
        self.inner = nn.Sequential(
            *_convolution(channels, channels),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + self.inner(x))


def _convolution(before: int, after: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()


class Judge(nn.Module):
    """A small residual network (He et al. 2016) from images (B, C, H, W) in [0, 1] to logits (B, classes).

    Every 2x2 block of pixels becomes one of 4 C channels first: a quarter of the positions, where full
    resolution would cost most of the time. Position is kept up to the last layers, because street digits have
    neighbours at the sides: the class is that of the middle one.

    Images of odd or few pixels get a border of zeros below and at the right, up to even sides of 8 or more.

    Args:
        shape: (C, H, W).
        classes: how many it tells apart.
    """

    def __init__(self, shape: tuple[int, ...], classes: int):
        super().__init__()
        self.border = (0, 0, 0, 0)
        if len(shape) == 3:
            height, width = (max(SIDE, side + side % 2) for side in shape[1:])
            self.border = (0, width - shape[2], 0, height - shape[1])
            shape = (shape[0], height, width)
        self.body = self._make_body(shape)
        self.head = nn.Linear(FEATURES, classes)
        self.to(memory_format=torch.channels_last)

    def _make_body(self, shape: tuple[int, ...]) -> nn.Sequential:
        """From images to the features."""
        channels, height, width = shape
        return nn.Sequential(
            *(nn.PixelUnshuffle(2), *_convolution(4 * channels, 32), Residual(32), nn.MaxPool2d(2)),
            *(*_convolution(32, 64), Residual(64), nn.MaxPool2d(2)),
            *(*_convolution(64, FEATURES), nn.Flatten()),
            *(nn.Linear(FEATURES * (height // 8) * (width // 8), FEATURES), nn.ReLU()),
        )

    def features(self, x: Tensor) -> Tensor:
        """(B, 128) activations of the penultimate layer, after its ReLU."""
        x = functional.pad(x, self.border) if any(self.border) else x
        return self.body(4 * (x - 0.5).contiguous(memory_format=torch.channels_last))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))

    def augment(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """What the judge learns from in place of `x`: images shifted at random, and not flipped."""
        return _shift(x, int(RECIPE["shift"]), generator)


class TextJudge(Judge):
    """A judge of strings (B, P, S), one-hot over S symbols at P positions.

    Two convolutions along the positions, which are kept up to the last layers, as in images.

    Args:
        shape: (P, S).
        classes: how many it tells apart.
    """

    def _make_body(self, shape: tuple[int, ...]) -> nn.Sequential:
        positions, symbols = shape
        return nn.Sequential(
            *(nn.Conv1d(symbols, 64, 3, padding=1, bias=False), nn.BatchNorm1d(64), nn.ReLU()),
            *(nn.Conv1d(64, 64, 3, padding=1, bias=False), nn.BatchNorm1d(64), nn.ReLU()),
            *(nn.Flatten(), nn.Linear(64 * positions, FEATURES), nn.ReLU()),
        )

    def features(self, x: Tensor) -> Tensor:
        """(B, 128) activations of the penultimate layer, after its ReLU."""
        return self.body(x.transpose(1, 2))

    def augment(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Strings as they are."""
        return x


class CountJudge(TextJudge):
    """A judge of counts (B, S) of symbols, which reads their shares: items of any number of words alike, and
    probabilities too.
    """

    def _make_body(self, shape: tuple[int, ...]) -> nn.Sequential:
        (symbols,) = shape
        return nn.Sequential(
            *(nn.Linear(symbols, FEATURES), nn.ReLU(), nn.Linear(FEATURES, FEATURES), nn.ReLU()),
        )

    def features(self, x: Tensor) -> Tensor:
        """(B, 128) activations of the penultimate layer, after its ReLU."""
        return self.body(x / x.sum(-1, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny))


class VectorJudge(TextJudge):
    """A judge of vectors (B, D), and of Poisson counts as such.

    Every dimension is standardised by the mean over all batches: it may spread far less than the 1 that
    running averages begin with.
    """

    def _make_body(self, shape: tuple[int, ...]) -> nn.Sequential:
        """An MLP on standardised values."""
        (dimensions,) = shape
        return nn.Sequential(
            *(
                nn.BatchNorm1d(dimensions, eps=TINY, momentum=None),
                nn.Linear(dimensions, FEATURES),
                nn.ReLU(),
            ),
            *(nn.Linear(FEATURES, FEATURES), nn.ReLU()),
        )

    def features(self, x: Tensor) -> Tensor:
        """(B, 128) activations of the penultimate layer, after its ReLU."""
        return self.body(x)


def is_vector(modality: Modality) -> bool:
    """Whether it is judged as a vector: counts of symbols are judged by their shares."""
    return len(modality.shape) == 1 and not modality.symbolic


def can_judge(modality: Modality) -> bool:
    """Whether there is a judge for it: for images (C, H, W), text (P, S), counts (S,) and vectors (D,)."""
    return len(modality.shape) == {"image": 3, "text": 2}.get(modality.kind, 1)


def make_judge(shape: tuple[int, ...], classes: int, vector: bool = False) -> Judge:
    """An untrained judge of images (C, H, W), of text (P, S), of counts (S,) or, if `vector`, of vectors."""
    kind = {1: VectorJudge if vector else CountJudge, 2: TextJudge}.get(len(shape), Judge)
    return kind(shape, classes)


def weights_hash(judge: nn.Module) -> str:
    """SHA-256 of all weights and buffers: one recipe gives other weights on other machines."""
    digest = hashlib.sha256()
    for name, value in judge.state_dict().items():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.cpu().numpy().tobytes())
    return digest.hexdigest()


def judge_identity(
    shape: tuple[int, ...], classes: int, protocol: Protocol, vector: bool = False
) -> dict[str, object]:
    """All that decides a judge but its data, as a JSON value: half of the key of a cache."""
    settings = {name: value for name, value in vars(protocol).items() if name.startswith("judge_")}
    # the number of classes is in the text of the last layer, as it was when it was always ten
    return {"architecture": _architecture(shape, classes, vector), "recipe": dict(RECIPE), **settings}


_LAYERS: Mapping[type[nn.Module], str] = MappingProxyType(
    {
        nn.PixelUnshuffle: "downscale_factor={downscale_factor}",
        **dict.fromkeys(
            (nn.Conv1d, nn.Conv2d),
            "{in_channels}, {out_channels}, kernel_size={kernel_size}, stride={stride}, padding={padding}, "
            "bias={bias}",
        ),
        **dict.fromkeys(
            (nn.BatchNorm1d, nn.BatchNorm2d),
            "{num_features}, eps={eps}, momentum={momentum}, affine={affine}, bias={bias}, "
            "track_running_stats={track_running_stats}",
        ),
        nn.ReLU: "",
        nn.MaxPool2d: "kernel_size={kernel_size}, stride={stride}, padding={padding}, dilation={dilation}, "
        "ceil_mode={ceil_mode}",
        nn.Flatten: "start_dim={start_dim}, end_dim={end_dim}",
        nn.Linear: "in_features={in_features}, out_features={out_features}, bias={bias}",
    }
)
"""What decides a layer. Runs and caches keep the hash of this text: torch's own changes between releases."""


@cache
def _architecture(shape: tuple[int, ...], classes: int, vector: bool) -> str:
    with torch.device("meta"):
        return _spelled(make_judge(shape, classes, vector))


def _spelled(module: nn.Module) -> str:
    """A module with its layers, as torch 2.14 prints them; KeyError for a layer that _LAYERS lacks."""
    name, children = type(module).__name__, list(module.named_children())
    if not children:
        values = vars(module) | {"bias": getattr(module, "bias", None) is not None}
        return f"{name}({_LAYERS[type(module)].format(**values)})"
    lines = (f"({key}): {_spelled(child)}".replace("\n", "\n  ") for key, child in children)
    return f"{name}(\n  " + "\n  ".join(lines) + "\n)"


def _shift(images: Tensor, pixels: int, generator: torch.Generator) -> Tensor:
    """Every image (B, C, H, W) moved by up to `pixels` each way, its border repeated."""
    count, _, height, width = images.shape
    offsets = torch.randint(2 * pixels + 1, (2, count, 1), generator=generator).to(images.device)
    rows = offsets[0] + torch.arange(height, device=images.device)  # (B, H)
    columns = offsets[1] + torch.arange(width, device=images.device)  # (B, W)
    padded = functional.pad(images, (pixels,) * 4, mode="replicate")
    items = torch.arange(count, device=images.device)[:, None, None]
    return padded[items, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def train_judge(
    images: Tensor,
    labels: Tensor,
    classes: int,
    protocol: Protocol,
    *,
    vector: bool = False,
    device: torch.device | str = "cpu",
    progress: Callable[[int, int], object] | None = None,
) -> Judge:
    """Train a judge with AdamW, smoothed labels and augmented items.

    Torch's global random state is left as it was. The same arguments give the same judge on the same machine
    and device.

    Args:
        images: (N, C, H, W) uint8, texts (N, P, S) uint8, one-hot times 255, counts (N, S) uint8, or vectors
            (N, D) float in [0, 1].
        labels: (N,) from 0 to classes - 1, of which some may be absent.
        classes: how many the judge tells apart.
        protocol: steps of the optimiser, whose batches run through shuffled epochs, images per step, peak
            learning rate, and the seed of weights, order and augmentation.
        vector: whether (N, D) items are vectors and no counts of symbols.
        device: where to train; the judge stays there.
        progress: called after every step with (steps done, steps).

    Returns:
        The judge, in eval mode and without gradients.
    """
    steps, seed = protocol.judge_steps, protocol.judge_seed
    generator = torch.Generator().manual_seed(seed)
    batch_size = min(protocol.judge_batch_size, len(images))
    images, labels = images.to(device), labels.to(device, torch.int64)
    device = images.device
    with torch.random.fork_rng(devices=[]):  # weights are drawn on the CPU, whatever the device
        torch.random.default_generator.manual_seed(seed)
        judge = make_judge(tuple(images.shape[1:]), classes, vector).to(device)
    optimiser, schedule = _optimiser(judge, protocol.judge_learning_rate, steps)
    order = torch.empty(0, dtype=torch.int64)
    for step in range(steps):
        if len(order) < batch_size:
            order = torch.cat([order, torch.randperm(len(images), generator=generator)])
        rows, order = order[:batch_size].to(device), order[batch_size:]
        x = judge.augment(as_float(images[rows]), generator)
        loss = functional.cross_entropy(judge(x), labels[rows], label_smoothing=RECIPE["label_smoothing"])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if progress:
            progress(step + 1, steps)
    return judge.eval().requires_grad_(False)


def _optimiser(
    judge: Judge, learning_rate: float, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """AdamW, and a learning rate that rises linearly and then falls to zero as a cosine.

    Weights decay, biases and the affine part of normalisation do not.
    """
    groups = [
        {"params": [p for p in judge.parameters() if p.ndim > 1], "weight_decay": RECIPE["weight_decay"]},
        {"params": [p for p in judge.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    rising = math.ceil(RECIPE["warm_up"] * steps)

    def rate(step: int) -> float:
        return (
            (step + 1) / rising
            if step < rising
            else 0.5 + 0.5 * math.cos(math.pi * (step - rising) / max(1, steps - rising))
        )

    optimiser = torch.optim.AdamW(groups, lr=learning_rate)
    return optimiser, torch.optim.lr_scheduler.LambdaLR(optimiser, rate)


def _in_batches(
    judge: nn.Module,
    function: Callable[[Tensor], Tensor],
    images: Tensor,
    progress: Callable[[int, int], object] | None = None,
) -> Tensor:
    """`function` of all items, uint8 or float in [0, 1], on the judge's device."""
    if judge.training:
        raise ValueError(
            "a judge judges in eval mode only: statistics of the batch would move the result; "
            "call eval() first"
        )
    device = next(judge.parameters()).device
    rows = []
    with torch.no_grad():
        for batch in images.to(device).split(BATCH):
            rows.append(function(as_float(batch)))
            if progress:
                progress(sum(map(len, rows)), len(images))
    return torch.cat(rows)


def predict(judge: nn.Module, images: Tensor, progress: Callable[[int, int], object] | None = None) -> Tensor:
    """(N,) classes of items.

    Args:
        judge: in eval mode.
        images: (N, C, H, W), uint8 or float in [0, 1], or texts (N, P, S), whose floats are 0 or 1
            (`as_read`).
        progress: called after every batch with (items done, items).

    Raises:
        ValueError: for a judge in train mode.
    """
    return _in_batches(judge, lambda batch: judge(batch).argmax(1), images, progress)


def features(judge: Judge, images: Tensor, progress: Callable[[int, int], object] | None = None) -> Tensor:
    """(N, 128) penultimate activations of what `predict` takes; otherwise as that."""
    return _in_batches(judge, judge.features, images, progress)


def accuracy(
    judge: nn.Module, images: Tensor, labels: Tensor, progress: Callable[[int, int], object] | None = None
) -> float:
    """Share in [0, 1] of the items whose class the judge finds; `progress` as in `predict`."""
    return float((predict(judge, images, progress).cpu() == labels.cpu()).double().mean())
