"""One figure for a choice: among settings by a search, among the weights of a training by looks."""

import math
from collections.abc import Mapping

from metrics.missing import Lack, Missing
from metrics.names import MetricName

__all__ = ["objective", "with_failures"]


def objective(metrics: Mapping[str, float | None]) -> float | None:
    """What a choice maximises, in [0, 1].

    It is the mean of joint coherence, the cross coherence of every ordered pair of modalities (latents
    sampled) and every linear probe.

    Of a model without a prior the mean of the rest, of one that generates nothing that of the probes and the
    mean average precision of its retrieval; None where nothing is left.

    Args:
        metrics: name -> value; None where there is none of the kind, NaN where it failed, which counts as
            0: a model must not gain by what could not be measured.
    """
    known = {MetricName.parse(name): value for name, value in metrics.items() if value is not None}
    generates = any(_is_generation(name) for name in known)
    found = [0.0 if math.isnan(v) else v for name, v in known.items() if _counts(name, generates)]
    return sum(found) / len(found) if found else None


def with_failures(
    metrics: Mapping[str, float | None], missing: Mapping[str, Missing]
) -> dict[str, float | None]:
    """`metrics` with NaN for those that failed, by their reasons in `missing`."""
    failed = {name for name, why in missing.items() if why.kind is Lack.FAILED}
    return {name: math.nan if name in failed else value for name, value in metrics.items()}


def _is_generation(name: MetricName) -> bool:
    """Whether only a model that generates something has the metric."""
    return name.kind == "cross_coherence" or (name.kind == "joint_coherence" and not name.part)


def _counts(name: MetricName, generates: bool) -> bool:
    """Whether a metric is a part of the objective of a model that generates something, or nothing."""
    if name.kind == "probe":
        return True
    if not generates:
        return name.kind == "label_map_mean"
    crossed = name.kind == "cross_coherence" and name.is_pair and name.mode == "sample"
    return crossed or (name.kind == "joint_coherence" and not name.part)
