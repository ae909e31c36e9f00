"""Clustering: do classes form clusters in a model's representation, without a label to learn them from?"""

import warnings
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import normalized_mutual_info_score
from sklearn.metrics.cluster import contingency_matrix

from metrics.evaluation.one_pass import Pass
from metrics.references.judges import CLASSES

__all__ = ["Clustering", "cluster", "cluster_accuracy", "clusterings"]

STARTS = 10  # of k-means, of which the one with the tightest clusters counts


class Clustering(NamedTuple):
    """How well clusters fit classes, both in [0, 1].

    Attributes:
        accuracy: see `cluster_accuracy`.
        nmi: mutual information of clusters and classes over the mean of their entropies, 2 I(c; l) / (H(c) + H(l)); 0 where they are
            independent (Strehl and Ghosh 2002 and, with this mean, Vinh, Epps and Bailey 2010, NMI_sum of table 2).
    """

    accuracy: float
    nmi: float


def cluster_accuracy(clusters: np.ndarray, labels: np.ndarray) -> float:
    """The share of items (N,) in the cluster of their class, max_p 1/N #{i: label_i = p(cluster_i)} over one-to-one maps p.

    Xie, Girshick and Farhadi 2016 ("Unsupervised Deep Embedding for Clustering Analysis", equation 10); the map is found by the
    Hungarian method.
    """
    counts = contingency_matrix(labels, clusters)
    return float(counts[linear_sum_assignment(counts, maximize=True)].sum() / len(labels))


def cluster(features: np.ndarray, labels: np.ndarray, seed: int) -> Clustering:
    """k-means with a cluster per class (10), k-means++ and the best of ten starts, on features (N, L) as they are; N is 10 or more.

    Fewer distinct features than clusters leave clusters empty.
    """
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", ConvergenceWarning
        )  # of empty clusters; the measures below say what comes of them
        found = KMeans(CLASSES, n_init=STARTS, random_state=seed % 2**32).fit_predict(features)
    return Clustering(cluster_accuracy(found, labels), float(normalized_mutual_info_score(labels, found)))


def clusterings(run: Pass) -> None:
    """Accuracy and normalised mutual information of clusters of the test items' representations, per modality."""
    for name in run.model.modalities:
        features, labels = run.represent(name).cpu(), run.test[name][1].cpu()
        if not features.isfinite().all():
            reason = "The representation holds values that are not finite."
        elif len(features) < CLASSES:
            reason = (
                f"{CLASSES} clusters take as many test items or more; of {name} there are {len(features)}."
            )
        else:
            found = cluster(features.double().numpy(), labels.numpy(), run.protocol.evaluation_seed)
            run.metrics |= {f"cluster_accuracy/{name}": found.accuracy, f"cluster_nmi/{name}": found.nmi}
            continue
        run.lack(f"cluster_accuracy/{name}", reason)
        run.lack(f"cluster_nmi/{name}", reason)
