"""Clusters of every modality's representations against its classes."""

from metrics.catalogue import Kind, metric
from metrics.clustering import cluster
from metrics.evaluation.one_pass import Found, Pass
from metrics.missing import Lack, Missing
from metrics.names import MetricName
from metrics.references.judges import CLASSES

__all__ = ["clusterings"]


@metric(
    "clustering",
    Kind("cluster_accuracy", "Clusters", "fraction", "higher"),
    Kind("cluster_nmi", "Clusters NMI", "fraction", "higher"),
    asked=True,
    reading="Clusters: accuracy of k-means on the latents of test data, and its normalised mutual "
    "information (NMI) with the classes.",
)
def clusterings(run: Pass) -> Found:
    """k-means on the representations of all test items of each modality."""
    for name in run.model.modalities:
        accuracy, nmi = (MetricName(kind, target=name) for kind in ("cluster_accuracy", "cluster_nmi"))
        features, labels = run.represent(name).cpu(), run.test[name][1].cpu()
        missing = None
        if not features.isfinite().all():
            missing = Missing(Lack.FAILED, "The representation holds values that are not finite.")
        elif len(features) < CLASSES:
            sentence = (
                f"{CLASSES} clusters take as many test items or more; of {name} there are {len(features)}."
            )
            missing = Missing(Lack.UNAVAILABLE, sentence)
        if missing:
            yield accuracy, missing
            yield nmi, missing
            continue
        found = cluster(features.double().numpy(), labels.numpy(), run.protocol.evaluation_seed)
        yield accuracy, found.accuracy
        yield nmi, found.nmi
