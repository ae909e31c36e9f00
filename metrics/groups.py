"""Groups of metrics, as they are asked for; without torch, for those who only read results."""

__all__ = ["JUDGED", "METRICS", "metric_group"]

METRICS = ("coherence", "fd_clf", "fid", "probe", "sampler")
JUDGED = ("coherence", "fd_clf", "sampler")
"""The groups that need judges."""

_GROUPS = {"joint_coherence": "coherence", "cross_coherence": "coherence", "fitted_coherence": "sampler"}


def metric_group(metric: str) -> str:
    """The group that a metric belongs to: "coherence" of "joint_coherence/chance", "fid" of "fid/a"."""
    kind = metric.split("/")[0]
    return _GROUPS.get(kind, kind)
