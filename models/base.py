"""The contract: what a model gives to the trainer and to the metrics, and all that these ask of it.

`MultimodalModel` is the whole contract. `SharedLatentModel` is the shorter one for models with one latent for
all modalities: it asks for `loss`, `infer`, `decode` and `prior` and derives the rest. `EmbeddingModel` is
the one for models that generate nothing: it asks for `loss` and `embed`. Shapes: B items, M modalities, L
latent dimensions; `*shape` is a modality's own shape.

A whole model of linear layers with L = 2. With the decorator `models.registry.register` above it and a class
of settings (see `models.settings`), `mmbench run --model-file` trains and evaluates it:

>>> class Linear(SharedLatentModel):
...     def __init__(self, modalities, settings=None):
...         super().__init__(modalities, settings)
...         self.encoders = nn.ModuleDict({m.name: nn.Linear(m.shape[0], 2) for m in modalities})
...         self.decoders = nn.ModuleDict({m.name: nn.Linear(2, m.shape[0]) for m in modalities})
...
...     def infer(self, inputs, sample=False, generator=None):
...         mean = torch.stack([self.encoders[name](x) for name, x in inputs.items()]).mean(0)
...         return mean + torch.empty_like(mean).normal_(generator=generator) if sample else mean
...
...     def decode(self, name, latent):
...         return self.decoders[name](latent).sigmoid()
...
...     def prior(self, n, generator):
...         return torch.randn(n, 2, generator=generator, device=generator.device)
...
...     def loss(self, batch, progress):
...         latent = self.infer(batch, sample=True)
...         errors = [(self.decode(name, latent) - x).square().sum(1) for name, x in batch.items()]
...         kl = 0.5 * self.infer(batch).square().sum(1).mean()
...         return Loss(sum(errors).mean() + kl, {"kl": kl.detach()})

It is made, trained for a step, and asked for a modality that it does not see and for joint draws:

>>> model = Linear([Modality("left", (4,)), Modality("right", (3,))])
>>> batch = {"left": torch.rand(8, 4), "right": torch.rand(8, 3)}
>>> optimizer = torch.optim.Adam(model.parameters())
>>> model.loss(batch, progress=torch.tensor(0.0)).total.backward()
>>> optimizer.step()
>>> model.translate({"left": batch["left"]}, ["right"])["right"].shape
torch.Size([8, 3])
>>> {name: tuple(x.shape) for name, x in model.generate(5, torch.Generator().manual_seed(0)).items()}
{'left': (5, 4), 'right': (5, 3)}
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, NoReturn

import torch
from torch import Tensor, nn

__all__ = [
    "LABELS",
    "SHOWN_ONLY",
    "Batch",
    "EmbeddingModel",
    "Loss",
    "Modality",
    "MultimodalModel",
    "NotDefinedError",
    "SharedLatentModel",
    "Stage",
]

Batch = Mapping[str, Tensor]
"""Modality name -> (B, *shape) floats in [0, 1]; item i of every modality belongs together."""

SHOWN_ONLY = ("polyline", "sound")
"""Fields of a `Modality` that say how it is shown, and decide no figure."""

LABELS = "(labels)"
"""In batches of models with `uses_labels`, beside the modalities: (B,) int64 classes."""


@dataclass(frozen=True)
class Modality:
    """One kind of observation.

    Attributes:
        name: its key in every batch, in names of metrics and of files: letters, digits, dashes and
            underscores.
        shape: of one item, (C, H, W) for images, (positions, symbols) for text, (symbols,) for counts, (D,)
            for vectors.
        likelihood: a family of `models.parts.likelihoods` where the data leave no choice ("categorical" for
            text, "multinomial" or "poisson" for counts, "gaussian" for vectors); None leaves it to the model.
        weight: of its reconstruction in the models whose authors weigh modalities (largest numel / size, the
            size of text being its positions).
        symbols: of texts and counts, printable and in the order of the last axis of `shape`.
        words: the most that an item of counts holds: how often each symbol occurs in an item is its value
            times `words`. A model's means are the probabilities of the symbols; of Poisson counts, where
            `words` is the largest single count, the rates divided by `words`.
        spread: the standard deviation of a vector's values in [0, 1], in whose units Gaussian and Laplace
            scales are.
        low, high: of vectors, the D values that 0 and 1 stand for; empty where they are 0 and 1 themselves.
        polyline: whether pictures draw a vector as the line through D / 2 points (x, y), x to the right and y
            upwards; as bars otherwise.
        sound: whether images are log-mel spectrograms that sounds are made of (`mmbench.data.speech`).
        networks: the registered encoder and decoder that models take for it (`models.parts.networks`); empty
            for those of its kind and shape.

    Raises:
        ValueError: for another name, for texts and counts whose symbols are not those of the last axis, for
            counts of no words or of more than eight bits can tell apart, for a spread that is not positive,
            for a polyline of an odd number of values, and for a sound that is no image.
    """

    name: str
    shape: tuple[int, ...]
    likelihood: str | None = None
    weight: float = 1.0
    symbols: str = ""
    words: int = 0
    spread: float = 1.0
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    networks: str = ""
    polyline: bool = False
    sound: bool = False

    @property
    def kind(self) -> str:
        """What an item is: "image", "text", "counts" or "vector"."""
        if self.likelihood == "gaussian" and len(self.shape) == 1:
            return "vector"
        return {"categorical": "text", "multinomial": "counts", "poisson": "counts"}.get(
            self.likelihood or "", "image"
        )

    @property
    def symbolic(self) -> bool:
        """Whether it is text or counts of symbols: means of a model then add up to 1 over the symbols."""
        return self.likelihood in ("categorical", "multinomial")

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]*", self.name):
            raise ValueError(
                f"the modality name {self.name!r} is not usable: "
                "expected letters, digits, dashes and underscores"
            )
        proper = len(self.symbols) == self.shape[-1] and self.symbols.isprintable()
        if self.symbolic and not proper:
            raise ValueError(
                f"{self.likelihood} modality {self.name!r} has symbols {self.symbols!r}: "
                f"expected {self.shape[-1]} printable ones"
            )
        if self.likelihood == "multinomial" and not 1 <= self.words <= 255:
            raise ValueError(
                f"multinomial modality {self.name!r} has items of up to {self.words} words: expected 1 to 255"
            )
        if self.likelihood == "poisson" and self.words < 1:
            raise ValueError(
                f"poisson modality {self.name!r} has counts of up to {self.words}: expected 1 or more"
            )
        if not self.spread > 0:
            raise ValueError(
                f"modality {self.name!r} has the spread {self.spread}: expected a positive number"
            )
        if self.polyline and (self.kind != "vector" or self.shape[0] % 2):
            raise ValueError(
                f"modality {self.name!r} of shape {self.shape} is drawn as a line: "
                "expected a vector of x and y in turn"
            )
        if self.sound and self.kind != "image":
            raise ValueError(f"modality {self.name!r} is a sound of {self.kind}: expected an image")


class NotDefinedError(Exception):
    """A model has nothing of the kind that it is asked for, a prior for example.

    The message is the sentence that stands in for the result.
    """


class Loss(NamedTuple):
    """`total` is a scalar to minimise, the mean over the batch; `terms` are named scalars to log."""

    total: Tensor
    terms: dict[str, Tensor]


@dataclass(frozen=True)
class Stage:
    """A part of training with an objective and parameters of its own.

    Attributes:
        name: for logs.
        share: of the run's steps; the shares of a model add up to 1.
        loss: called as `loss(batch, progress)` with the stage's own progress, a scalar tensor in [0, 1].
        parameters: those that the stage trains.
        start: called once before its first step, without gradients and in full precision, with a function
            from 0, 1, .. to the batches that the first steps will see: for what is set from data and not by
            gradients, on the host if need be. It changes parameters and buffers in place, and does the same
            from the same weights: it takes no noise from torch's global generator.
    """

    name: str
    share: float
    loss: Callable[[Batch, Tensor], Loss]
    parameters: tuple[nn.Parameter, ...]
    start: Callable[[Callable[[int], Batch]], object] | None = None


class MultimodalModel(nn.Module, ABC):
    """A model of several modalities.

    Args:
        modalities: at least two, with distinct names.
        settings: the model's settings, an instance of the dataclass that it registered.

    Attributes:
        generates: whether it has anything to generate or translate with.
        common_space: whether `embed` takes all modalities into one space, so that items of different ones can
            be compared there.
        uses_labels: whether it is trained with labels: its batches have LABELS, it is called as
            `model(modalities, settings, classes)`, and its title says so in every table.
        remark: what it does otherwise for these modalities than its paper, in a clause that runs and reports
            say; empty where there is nothing to say.
    """

    generates: ClassVar[bool] = True
    common_space: ClassVar[bool] = False
    uses_labels: ClassVar[bool] = False
    remark: str = ""

    def __init__(self, modalities: Sequence[Modality], settings: Any):
        super().__init__()
        if len(modalities) < 2 or len({m.name for m in modalities}) < len(modalities):
            names = [m.name for m in modalities]
            raise ValueError(
                f"a multimodal model needs two or more modalities of distinct names, not {names}"
            )
        self.modalities = {m.name: m for m in modalities}
        self.settings = settings

    @abstractmethod
    def loss(self, batch: Batch, progress: Tensor) -> Loss:
        """The objective on a batch, that of the first stage in a model with several.

        Items are complete, unless the model is registered with `incomplete`: then a batch may lack
        modalities, the same ones in all of its items. `progress`, a scalar tensor in [0, 1] on the device of
        the batch, drives warm-ups (see `models.parts.schedules`). Noise comes from torch's global generator.

        On a GPU the step that this is a part of is recorded once and then repeated as it is: a Python number
        that changes between steps, or a tensor that takes the place of a buffer, stays what it was. What
        training changes beside parameters is changed in place, and nothing reads a tensor's value on the
        host; where something does, the model is trained without a recording, some times as slowly.
        """

    @abstractmethod
    def generate(self, n: int, generator: torch.Generator) -> dict[str, Tensor]:
        """`n` joint draws: modality name -> (n, *shape) decoder means in [0, 1].

        Those of texts and counts add up to 1 over their symbols. All randomness comes from `generator`.

        Raises:
            NotDefinedError: in a model that has no distribution to draw from.
        """

    def generate_batches(self, n: int, size: int, generator: torch.Generator) -> Iterator[dict[str, Tensor]]:
        """`n` joint draws, `size` at a time; in the last batch there may be more than are missing.

        Here, batches of `generate`. A model of Markov chains goes on with those of the batch before.

        Raises:
            NotDefinedError: as `generate`, at the first batch.
        """
        for _ in range(0, n, size):
            yield self.generate(size, generator)

    @abstractmethod
    def translate(
        self,
        inputs: Batch,
        targets: Sequence[str],
        sample: bool = False,
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        """Targets given any non-empty subset of modalities: name -> (B, *shape) decoder means in [0, 1].

        Args:
            inputs: the observed modalities.
            targets: the modalities to decode, observed ones included where asked for.
            sample: draw the latent once (from `generator`) instead of taking its mean.
            generator: needed where `sample` is set.

        Raises:
            NotDefinedError: in a model that generates nothing.
        """

    @abstractmethod
    def embed(self, inputs: Batch) -> Tensor:
        """(B, L): a representation of any non-empty subset of modalities, for linear probes and retrieval.

        It is deterministic; L may depend on the subset, unless the model has a `common_space`.
        """

    def log_weights(self, batch: Batch, samples: int, generator: torch.Generator) -> Tensor:
        """(K, B): log p(x_1, .., x_M, z_k) / q(z_k), in nats, of K draws z_k from a proposal q.

        Each of the B items is complete, and has draws of its own.

        The mean of their exponentials is unbiased for p(x_1, .., x_M) under the distribution that `generate`
        draws from, whatever the objective weighs more or less. Optional.

        Raises:
            NotDefinedError: in a model that has no such density, or none that it can evaluate.
        """
        raise NotDefinedError(
            f"{type(self).__name__} has no joint density of latents and observations that it evaluates."
        )

    def observed(self, batch: Batch) -> dict[str, Tensor]:
        """What `batch` holds, in the order of the model's modalities."""
        return {name: batch[name] for name in self.modalities if name in batch}

    def stages(self) -> tuple[Stage, ...]:
        """The stages of training, in order; one by default."""
        return (Stage("train", 1.0, self.loss, tuple(self.parameters())),)

    def extra_repr(self) -> str:
        return f"modalities={list(self.modalities)}, settings={self.settings}"


class EmbeddingModel(MultimodalModel):
    """A model that takes every modality into one space and generates nothing."""

    generates = False
    common_space = True

    def generate(self, n: int, generator: torch.Generator) -> NoReturn:
        raise NotDefinedError(self._nothing)

    def translate(
        self,
        inputs: Batch,
        targets: Sequence[str],
        sample: bool = False,
        generator: torch.Generator | None = None,
    ) -> NoReturn:
        raise NotDefinedError(self._nothing)

    @property
    def _nothing(self) -> str:
        return f"{type(self).__name__} embeds modalities in one space and generates nothing."


class SharedLatentModel(MultimodalModel):
    """A model with one latent for all modalities."""

    common_space = True

    @abstractmethod
    def infer(self, inputs: Batch, sample: bool = False, generator: torch.Generator | None = None) -> Tensor:
        """(B, L): the latent of any non-empty subset of modalities, its mean or one draw."""

    @abstractmethod
    def decode(self, name: str, latent: Tensor) -> Tensor:
        """(B, *shape): the mean of modality `name` given (B, L)."""

    @abstractmethod
    def prior(self, n: int, generator: torch.Generator) -> Tensor:
        """(n, L): draws from the prior, or NotDefinedError in a model that has none."""

    def generate(self, n: int, generator: torch.Generator) -> dict[str, Tensor]:
        latent = self.prior(n, generator)
        return {name: self.decode(name, latent) for name in self.modalities}

    def translate(
        self,
        inputs: Batch,
        targets: Sequence[str],
        sample: bool = False,
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        latent = self.infer(inputs, sample, generator)
        return {name: self.decode(name, latent) for name in targets}

    def embed(self, inputs: Batch) -> Tensor:
        return self.infer(inputs)

    def with_private(self, shared: Tensor, generator: torch.Generator) -> Tensor:
        """(B, L): latents whose shared part is `shared`, of the shape that `embed` gives.

        What is private is drawn from its prior; in a model without private latents nothing is.
        """
        return shared
