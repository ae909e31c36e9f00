"""The published table of noisy two-view MNIST (Wang et al. 2015): the error of a linear SVM on view 1.

    python benchmarks/noisy_mnist.py noisy-mnist.csv --data-dir DATA

trains every model on pairs of views, takes the representations of view 1 and has a linear SVM read the class
from them. A row is written as soon as it is there; what the file holds already is not made again. C of the
SVM, and the ridge of linear CCA, are those with the least error on validation images. Encoders and decoders
are those of the suite, or perceptrons with the hidden layers of --hidden; published are three of 1,024 units.

Beside each row stands the published error, as recalled from the paper's table: linear CCA 19.6, Corr-AE 12.9,
DCCA 2.9, DCCAE 2.2. SplitAE (11.9) is no model of the suite.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import pandas as pd
import torch
from sklearn.multiclass import OneVsOneClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from torch import Tensor, nn

import mmbench
from metrics.evaluation.one_pass import BATCH
from metrics.images import as_float
from mmbench.data.base import MultimodalData, Split
from mmbench.storage.files import write_atomically
from models.base import Modality
from models.coordinated.objectives import covariance
from models.coordinated.projection import canonical_maps
from models.errors import InputError
from models.parts.own_networks import register_networks

__all__ = ["best_error", "linear_cca", "svm_errors", "with_hidden"]

VIEW = "rotated"
SIZE = 10  # dimensions of all representations, as published
PUBLISHED = {"linear CCA": 19.6, "Corr-AE": 12.9, "DCCA": 2.9, "DCCAE": 2.2}
MODELS: dict[str, tuple[str, dict[str, object]]] = {
    "Corr-AE": ("corr-ae", {}),
    "DCCA": ("dccae", {"reconstruction": 0.0}),
    "DCCAE": ("dccae", {}),
}
COSTS = (0.01, 1.0)  # C of the SVM
RIDGES = (1e-3, 1e-2, 1e-1)  # of linear CCA on pixels in [0, 1]

Embedding = Callable[[Tensor], Tensor]
"""Items of view 1 (n, 1, 28, 28) floats in [0, 1] to (n, L)."""


def svm_errors(embed: Embedding, data: MultimodalData) -> tuple[float, float]:
    """Per cent of validation and of test images that a linear one-versus-one SVM on view 1 gets wrong.

    With the C in COSTS that is best on validation images, trained on all train images, standardised.
    """
    train, validation, test = (_represent(embed, part) for part in (data.train, data.validation, data.test))
    best = (float("inf"), float("inf"))
    for cost in COSTS:
        svm = make_pipeline(StandardScaler(), OneVsOneClassifier(LinearSVC(C=cost, dual=False)))
        svm.fit(*train)
        best = min(best, (100 * (1 - svm.score(*validation)), 100 * (1 - svm.score(*test))))
    return best


@torch.inference_mode()
def _represent(embed: Embedding, split: Split) -> tuple[Any, Any]:
    """Representations and labels of view 1, for scikit-learn."""
    parts = [embed(as_float(part)) for part in split.items[VIEW].split(BATCH)]
    return torch.cat(parts).double().numpy(), split.labels[VIEW].numpy()


def linear_cca(data: MultimodalData, ridge: float) -> Embedding:
    """The first SIZE canonical variables of view 1, in closed form over all train pairs of the first anchor.

    One pair for each image of view 1: the others repeat its images.
    """
    counts = [len(labels) for labels in data.train.labels.values()]
    per_image = len(data.train.pairs) // sum(counts)
    rows = data.train.pairs[: counts[0] * per_image : per_image].T
    views = [
        as_float(items[index]).flatten(1).double()
        for items, index in zip(data.train.items.values(), rows, strict=True)
    ]
    both = torch.cat(views, 1)
    maps, _ = canonical_maps(covariance(both, both), 2, ridge)
    mean, weights = views[0].mean(0), maps[0][:, :SIZE]
    return lambda x: (x.flatten(1).double() - mean) @ weights


def best_error(data: MultimodalData) -> float:
    """Per cent of test images that the SVM gets wrong after linear CCA, with the best ridge."""
    return min(svm_errors(linear_cca(data, ridge), data) for ridge in RIDGES)[1]


def with_hidden(data: MultimodalData, units: Sequence[int]) -> MultimodalData:
    """`data` for whose modalities models have perceptrons with such hidden layers of rectified units."""

    def layers(sizes: Sequence[int]) -> list[nn.Module]:
        made = [(nn.Linear(before, after), nn.ReLU()) for before, after in pairwise(sizes)]
        return [layer for pair in made for layer in pair][:-1]

    def encoder(modality: Modality, outputs: int) -> nn.Module:
        return nn.Sequential(nn.Flatten(), *layers([math.prod(modality.shape), *units, outputs]))

    def decoder(modality: Modality, latent: int) -> nn.Module:
        back = layers([latent, *reversed(units), math.prod(modality.shape)])
        return nn.Sequential(*back, nn.Sigmoid(), nn.Unflatten(1, modality.shape))

    name = f"perceptrons-{'-'.join(map(str, units))}"
    register_networks(name, encoder, decoder)
    return replace(data, modalities=tuple(replace(m, networks=name) for m in data.modalities))


def _units(text: str) -> list[int]:
    """Of "1024,1024" the units of each layer; InputError for other words."""
    found = text.split(",")
    if not all(units.isdecimal() and int(units) > 0 for units in found):
        raise InputError(f"--hidden {text} is not usable: expected numbers of units, as in 1024,1024,1024.")
    return [int(units) for units in found]


def model_error(title: str, data: MultimodalData, seed: int, budget: Mapping[str, Any]) -> float:
    """Per cent of test images that the SVM gets wrong after a model of this budget, see `mmbench.train`."""
    name, settings = MODELS[title]
    model = mmbench.make_model(name, data, seed, latent_size=SIZE, **settings)
    mmbench.train(model, data, seed=seed, **budget)
    return svm_errors(lambda x: model.eval().embed({VIEW: x}), data)[1]


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--data-dir", type=click.Path(path_type=Path), envvar="MMBENCH_DATA", help="Where MNIST is.")
@click.option("--models", default=",".join(PUBLISHED), show_default=True, help="Rows of the table.")
@click.option("--seeds", default="0,1,2", show_default=True, help="Of training.")
@click.option("--hidden", default="", help="Units in the hidden layers, as in 1024,1024,1024.")
@click.option("--precision", type=click.Choice(["fp32", "bf16"]), default="fp32", show_default=True)
@click.option("--steps", type=click.IntRange(1), default=10_000, show_default=True)
@click.option("--batch-size", type=click.IntRange(2), default=1_000, show_default=True)
def main(file: Path, data_dir: Path | None, models: str, seeds: str, hidden: str, **budget: Any) -> None:
    """Write the errors, their means and what was published to FILE."""
    trained = {"hidden": hidden, **{key: budget[key] for key in ("precision", "steps", "batch_size")}}
    closed_form: dict[str, object] = {"hidden": "", "precision": "", "steps": 0, "batch_size": 0}
    columns = ["model", *trained, "seed", "error", "published"]
    rows = pd.DataFrame(columns=columns)
    if file.exists():
        rows = pd.read_csv(file, dtype={"hidden": str}, keep_default_na=False)
    try:
        data = mmbench.load_data("noisy-mnist", data_dir)
        if hidden:
            data = with_hidden(data, _units(hidden))
        for title in models.split(","):
            if title not in PUBLISHED:
                raise InputError(f"Unknown row {title!r}: expected some of {', '.join(PUBLISHED)}.")
            linear = title not in MODELS
            for seed in [0] if linear else map(int, seeds.split(",")):
                key = (title, *(closed_form if linear else trained).values(), seed)
                if key in set(rows[columns[:-2]].itertuples(index=False, name=None)):
                    continue
                error = best_error(data) if linear else model_error(title, data, seed, budget)
                row = pd.DataFrame([[*key, round(error, 2), PUBLISHED[title]]], columns=columns)
                rows = row if rows.empty else pd.concat([rows, row], ignore_index=True)
                write_atomically(file, rows.to_csv(index=False, lineterminator="\n").encode())
                click.echo(f"{title}, seed {seed}: {error:.2f} % (published {PUBLISHED[title]} %)")
    except InputError as error:
        raise click.UsageError(str(error)) from None
    found = rows.groupby(["model", *trained], sort=False)["error"]
    click.echo(found.agg(["mean", "std", "count"]).round(2).to_string())


if __name__ == "__main__":
    main()
