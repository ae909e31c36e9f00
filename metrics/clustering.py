"""Clustering: do classes form clusters in a model's representation, without a label to learn them from?"""

import warnings
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import normalized_mutual_info_score
from sklearn.metrics.cluster import contingency_matrix

__all__ = ["Clustering", "cluster", "cluster_accuracy"]

STARTS = 10  # of k-means, of which the one with the tightest clusters counts


class Clustering(NamedTuple):
    """How well clusters fit classes, both in [0, 1].

    Attributes:
        accuracy: see `cluster_accuracy`.
        nmi: mutual information of clusters and classes over the mean of their entropies, 2 I(c; l) / (H(c) +
            H(l)); 0 where they are independent (Strehl and Ghosh 2002 and, with this mean, Vinh, Epps and
            Bailey 2010, NMI_sum of table 2).
    """

    accuracy: float
    nmi: float


def cluster_accuracy(clusters: np.ndarray, labels: np.ndarray) -> float:
    """The share of items (N,) in the cluster of their class.

    That is max_p 1/N #{i: label_i = p(cluster_i)} over one-to-one maps p: Xie, Girshick and Farhadi 2016
    ("Unsupervised Deep Embedding for Clustering Analysis", equation 10). The Hungarian method finds the map.
    """
    counts = contingency_matrix(labels, clusters)
    return float(counts[linear_sum_assignment(counts, maximize=True)].sum() / len(labels))


def cluster(features: np.ndarray, labels: np.ndarray, seed: int) -> Clustering:
    """Clusters of features (N, L) against labels (N,).

    k-means with a cluster for each class that the labels have, so that clusters can fit the classes, with
    k-means++ and the best of ten starts, on the features as they are. Fewer distinct features than clusters
    leave clusters empty.
    """
    with warnings.catch_warnings():
        # of empty clusters; the measures below say what comes of them
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = KMeans(len(np.unique(labels)), n_init=STARTS, random_state=seed % 2**32).fit_predict(features)
    return Clustering(cluster_accuracy(found, labels), float(normalized_mutual_info_score(labels, found)))
