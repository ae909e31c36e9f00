"""KD-clf: the kernel distance of KID (Binkowski et al. 2018), in the judges' features.

It is no KID, whose features are Inception's, just as FD-clf is no FID.

The squared maximum mean discrepancy between the features of real items x_1..x_m and of generated ones
y_1..y_m, of d dimensions, under the kernel k(x, y) = (x'y / d + 1)^3:

    MMD^2 = 1/(m (m - 1)) sum_{i != j} [k(x_i, x_j) + k(y_i, y_j)] - 2/m^2 sum_{i, j} k(x_i, y_j)

Its expectation is zero where both have one distribution, whatever m is, while a Frechet distance is the
larger the fewer items there are. So it may come out below zero.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from metrics.catalogue import Kind, Need, metric
from metrics.evaluation.one_pass import Found, Pass
from metrics.evaluation.prior_draws import prior_draws
from metrics.missing import Lack, Missing
from metrics.names import MetricName
from models.about import cite

__all__ = ["kid", "kid_of_draws", "squared_mmd"]

SUBSETS, SIZE = 100, 1_000  # random subsets, and the items of each
COUNT = 10_000  # random test items and draws that they are taken from, at most
SPACE = Need.JUDGE_FEATURES.value


def squared_mmd(real: Tensor, generated: Tensor) -> float:
    """The unbiased estimate of MMD^2 from real and generated features, (m, d) each, m at least 2."""
    x, y = real.double(), generated.double()
    items, dimensions = x.shape
    within = 0.0
    for features in (x, y):
        kernel = (features @ features.T / dimensions + 1) ** 3
        within += float(kernel.sum() - kernel.trace()) / (items * (items - 1))
    return within - 2 * float(((x @ y.T / dimensions + 1) ** 3).mean())


def kid(
    real: Tensor,
    generated: Tensor,
    seed: int = 0,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> float:
    """The mean of `squared_mmd` over SUBSETS random subsets of SIZE items, or of all where there are fewer.

    Args:
        real, generated: features (N, d) and (M, d), two or more of each.
        seed: of the subsets, drawn without replacement.
        progress: called after every subset with (subsets done, subsets).
    """
    size, generator = min(SIZE, len(real), len(generated)), torch.Generator().manual_seed(seed)
    total = 0.0
    for done in range(1, SUBSETS + 1):
        parts = (each[torch.randperm(len(each), generator=generator)[:size]] for each in (real, generated))
        total += squared_mmd(*parts)
        progress(done, SUBSETS)
    return total / SUBSETS


@metric(
    "kid",
    Kind("kid", "KD-clf", "distance", "lower"),
    asked=True,
    needs=(Need.DRAWS, Need.JUDGE_FEATURES),
    reading="KD-clf: squared maximum mean discrepancy of draws from the prior and real test data, in the "
    "judge's features and not in Inception's; real data would have an expected 0.",
    span=("About 0 for real items, and just below 0 by chance; lower is better, without a largest value."),
    hides=(
        "Whether modalities of one draw belong together, and whatever the judge does not look "
        "at. It is in the judges' features and not comparable with a KID in Inception's."
    ),
    bibtex=cite("binkowski2018kid"),
)
def kid_of_draws(run: Pass) -> Found:
    """The features of each modality's draws against those of random test items, COUNT of them at most.

    Features of one distribution, and features that are shifted:

    >>> import torch
    >>> from metrics.evaluation.kid import squared_mmd
    >>> generator = torch.Generator().manual_seed(0)
    >>> real, same = (torch.randn(500, 2, generator=generator) for _ in range(2))
    >>> abs(squared_mmd(real, same)) < 0.1, squared_mmd(real, same + 1) > 1
    (True, True)
    """
    draws, space = prior_draws(run), run.references.space(SPACE)
    for name in run.model.modalities:
        count = min(COUNT, len(run.test[name][0]))
        missing = run.references.unread(SPACE, name) or draws.finite.missing(name)
        if count < 2:
            missing = missing or Missing(
                Lack.UNAVAILABLE, f"It takes two test items or more; of {name} there is one."
            )
        if missing:
            yield MetricName("kid", target=name), missing
            continue
        assert space is not None
        real, generated = run.test_features(space, name, count).cpu(), draws.features[SPACE, name][:COUNT]
        shown = partial(run.progress, f"subsets of {name}")
        yield MetricName("kid", target=name), kid(real, generated, run.protocol.evaluation_seed, shown)
