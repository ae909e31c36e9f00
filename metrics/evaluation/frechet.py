"""Frechet distances of prior draws from real test items.

In Inception's features, in the judges', and in those of another network that was trained on ImageNet.
"""

import math

from metrics.catalogue import Kind, Need, metric
from metrics.evaluation.one_pass import Found, Pass
from metrics.evaluation.prior_draws import prior_draws
from metrics.frechet import frechet_distance, statistics
from metrics.missing import Lack, Missing
from metrics.names import MetricName
from models.about import cite

__all__ = ["fd_clf", "fd_in", "fid"]


@metric(
    "fid",
    Kind("fid", "FID", "distance", "lower", floor=True),
    needs=(Need.DRAWS, Need.INCEPTION_FEATURES),
    span=(
        "0 or more, lower is better, without a largest value. Real train items in the place of "
        "generated ones have the floor that stands beside it."
    ),
    hides=(
        "Whether modalities of one draw belong together, and what goes wrong: one number mixes "
        "how items look with how much they vary. It takes features as Gaussian, depends on the "
        "number of items, and Inception was trained on photographs, not on digits."
    ),
    bibtex=cite("heusel2017fid"),
)
def fid(run: Pass) -> Found:
    """FID of every modality of images, by pytorch-fid's Inception network.

    Two sets of features whose means are 2 apart in one of two dimensions:

    >>> import torch
    >>> from metrics.frechet import frechet_distance, statistics
    >>> real = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    >>> round(frechet_distance(statistics(real + torch.tensor([2.0, 0.0])), statistics(real)), 4)
    4.0
    """
    return _distances(run, "fid")


@metric(
    "fd_clf",
    Kind("fd_clf", "FD-clf", "distance", "lower", floor=True),
    needs=(Need.DRAWS, Need.JUDGE_FEATURES),
    span=(
        "0 or more, lower is better, without a largest value. Real train items in the place of "
        "generated ones have the floor that stands beside it."
    ),
    hides=(
        "Whether modalities of one draw belong together, and whatever the judge does not look "
        "at: its features were learned to tell classes apart. It is not comparable with FID, nor "
        "between data sets."
    ),
    bibtex=cite("heusel2017fid"),
)
def fd_clf(run: Pass) -> Found:
    """The same distance in the judge's features.

    The same items give a distance of 0:

    >>> import torch
    >>> from metrics.frechet import frechet_distance, statistics
    >>> features = torch.rand(50, 3, generator=torch.Generator().manual_seed(0))
    >>> round(frechet_distance(statistics(features), statistics(features)), 4)
    0.0
    """
    return _distances(run, "fd_clf")


@metric(
    "fd_in",
    Kind("fd_in", "FD-IN", "distance", "lower", floor=True),
    asked=True,
    needs=(Need.DRAWS, Need.IMAGENET_FEATURES),
    reading="FD-IN: Fréchet distance of draws from the prior to real test images in the features of "
    "EfficientNet-Lite0, trained on ImageNet. It is not comparable with FID, whose network is another.",
    span=(
        "0 or more, lower is better, without a largest value. Real train items in the place of "
        "generated ones have the floor that stands beside it."
    ),
    hides=(
        "What FID hides: whether modalities of one draw belong together, and what goes wrong. Its "
        "network was trained on photographs too, is smaller than FID's, and weighs other things."
    ),
    bibtex=cite("heusel2017fid", "tan2019efficientnet"),
)
def fd_in(run: Pass) -> Found:
    """The same distance in the features of EfficientNet-Lite0.

    Features that vary twice as much in each of two directions, where a variance of 1 becomes one of 4:

    >>> import torch
    >>> from metrics.frechet import Statistics, frechet_distance
    >>> real = Statistics(torch.zeros(2).double(), torch.eye(2).double(), 100)
    >>> wide = Statistics(torch.zeros(2).double(), 4 * torch.eye(2).double(), 100)
    >>> round(frechet_distance(wide, real), 4)
    2.0
    """
    return _distances(run, "fd_in")


def _distances(run: Pass, kind: str) -> Found:
    """The distance of every modality in the feature space of this name."""
    draws, space = prior_draws(run), run.references.space(kind)
    for name in run.model.modalities:
        missing = run.references.unread(kind, name) or draws.finite.missing(name)
        if missing:
            yield MetricName(kind, target=name), missing
            continue
        assert space is not None
        generated = statistics(draws.features[kind, name])
        distance = frechet_distance(generated, space.real[name], space.roots[name])
        unusable = Missing(Lack.FAILED, "The features of the draws are not finite.")
        yield MetricName(kind, target=name), unusable if math.isnan(distance) else distance
