"""Clusters of every modality's representations against its classes."""

from torch import Tensor

from metrics.catalogue import Kind, metric
from metrics.clustering import cluster
from metrics.evaluation.one_pass import Found, Pass
from metrics.missing import Lack, Missing
from metrics.names import MetricName
from models.about import cite

__all__ = ["clusterings"]


@metric(
    "clustering",
    Kind("cluster_accuracy", "Clusters", "fraction", "higher"),
    Kind("cluster_nmi", "Clusters NMI", "fraction", "higher"),
    asked=True,
    reading="Clusters: accuracy of k-means on the latents of test data, with a cluster per class, and its "
    "normalised mutual information (NMI) with the classes.",
    span=(
        "0 to 1, shown in per cent; accuracy is at least one in the number of classes, NMI of "
        "independent clusters is about 0."
    ),
    hides=(
        "Whether clusters of one modality are those of another one. k-means finds round clusters "
        "of like size: classes that form other shapes count as missed."
    ),
    bibtex=cite("xie2016dec"),
)
def clusterings(run: Pass) -> Found:
    """k-means on the representations of all test items of each modality.

    Clusters have other numbers than classes, and one item is in the wrong one:

    >>> import numpy as np
    >>> from metrics.clustering import cluster_accuracy
    >>> cluster_accuracy(np.array([1, 1, 0, 0]), np.array([0, 0, 1, 0]))
    0.75
    """
    for name in run.model.modalities:
        accuracy, nmi = (MetricName(kind, target=name) for kind in ("cluster_accuracy", "cluster_nmi"))
        features, labels = run.represent(name).cpu(), run.test[name][1].cpu()
        missing = run.references.unlabelled or _too_few(name, labels)
        if not features.isfinite().all():
            missing = Missing(Lack.FAILED, "The representation holds values that are not finite.")
        if missing:
            yield accuracy, missing
            yield nmi, missing
            continue
        found = cluster(features.double().numpy(), labels.numpy(), run.protocol.evaluation_seed)
        yield accuracy, found.accuracy
        yield nmi, found.nmi


def _too_few(name: str, labels: Tensor) -> Missing | None:
    """Why clusters of these items fit their classes whatever the model; None where they need not."""
    classes = len(labels.unique())
    if 1 < classes < len(labels):
        return None
    sentence = (
        f"Clusters take two classes and more items than classes; of {name} there are {len(labels)} test "
        f"items of {classes}."
    )
    return Missing(Lack.UNAVAILABLE, sentence)
