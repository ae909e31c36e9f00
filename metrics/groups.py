"""Groups of metrics, as they are asked for; without torch, for those who only read results."""

from typing import Literal, NamedTuple

__all__ = [
    "FEATURES",
    "FRECHET",
    "FURTHER",
    "FURTHER_KINDS",
    "JUDGED",
    "METRICS",
    "Kind",
    "Unit",
    "metric_group",
    "unit_of",
]

METRICS = ("coherence", "fd_clf", "fid", "probe", "sampler")
"""Those of tables 1-3, which are computed where none are asked for."""
FURTHER = ("prdc", "clustering", "reconstruction", "log_likelihood", "diversity")
"""Those that are computed only where they are asked for by name."""
JUDGED = ("coherence", "fd_clf", "sampler", "prdc", "diversity")
"""The groups that need judges."""
FEATURES = ("fd_clf", "prdc", "diversity")
"""Of these, the groups that read the judges' features."""
FRECHET = ("fd_clf", "fid")
"""The groups of distances in METRICS; what the others there measure are shares."""

Unit = Literal["fraction", "nats", "distance"]


class Kind(NamedTuple):
    """What a further metric is.

    Attributes:
        group: by which it is asked for.
        title: in reports, before the modality or direction.
        unit: of the number; fractions are shown in per cent.
        better: which direction is better; empty for what has none.
    """

    group: str
    title: str
    unit: Unit
    better: Literal["higher", "lower", ""]


FURTHER_KINDS = {
    "precision": Kind("prdc", "Precision", "fraction", "higher"),
    "recall": Kind("prdc", "Recall", "fraction", "higher"),
    "density": Kind("prdc", "Density", "fraction", "higher"),
    "coverage": Kind("prdc", "Coverage", "fraction", "higher"),
    "cluster_accuracy": Kind("clustering", "Clusters", "fraction", "higher"),
    "cluster_nmi": Kind("clustering", "Clusters NMI", "fraction", "higher"),
    "mse": Kind("reconstruction", "MSE", "fraction", "lower"),
    "ssim": Kind("reconstruction", "SSIM", "fraction", "higher"),
    "log_likelihood": Kind(
        "log_likelihood", "Log-likelihood", "nats", ""
    ),  # of one likelihood and scale higher is better, of two it says nothing
    "diversity": Kind("diversity", "Diversity", "distance", ""),
}
"""The metrics of FURTHER by what their names begin with, in the order of reports: "density" of "density/a", "diversity" of "diversity/a->b"."""

_GROUPS = {
    "joint_coherence": "coherence",
    "cross_coherence": "coherence",
    "fitted_coherence": "sampler",
    **{name: kind.group for name, kind in FURTHER_KINDS.items()},
}


def metric_group(metric: str) -> str:
    """The group that a metric belongs to: "coherence" of "joint_coherence/chance", "fid" of "fid/a"."""
    kind = metric.split("/")[0]
    return _GROUPS.get(kind, kind)


def unit_of(metric: str) -> Unit:
    """The unit of a metric that is not an entropy."""
    kind = metric.split("/")[0]
    if kind in FURTHER_KINDS:
        return FURTHER_KINDS[kind].unit
    return "distance" if metric_group(metric) in FRECHET else "fraction"
