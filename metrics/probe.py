"""Linear probe: how much of the class a linear classifier reads from a model's representation."""

import warnings

import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

__all__ = ["ProbeError", "linear_probe", "probe_indices"]

MAX_ITERATIONS = 2000


class ProbeError(Exception):
    """A probe without a result; the message is the reason."""


def probe_indices(n: int, count: int, seed: int) -> Tensor:
    """min(count, n) distinct indices below `n`, in random order.

    They are a function of the arguments alone, so the same for all models.
    """
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed))[:count]


def linear_probe(
    train_features: Tensor, train_labels: Tensor, test_features: Tensor, test_labels: Tensor
) -> float:
    """Test accuracy in [0, 1] of logistic regression (C = 1, L-BFGS) on standardised features.

    Args:
        train_features: (n, L), standardised by their own mean and standard deviation, as the test features
            are.
        train_labels: (n,) classes.
        test_features: (N, L).
        test_labels: (N,) classes.

    Raises:
        ProbeError: for features that are not finite or all constant, for labels of one class, and without
            convergence.
    """
    if not (train_features.isfinite().all() and test_features.isfinite().all()):
        raise ProbeError("The representation holds values that are not finite.")
    if (train_features == train_features[0]).all():
        raise ProbeError("The representation is the same for every train image.")
    if (train_labels == train_labels[0]).all():
        raise ProbeError(f"The train images of the probe are all of class {int(train_labels[0])}.")
    train, test = (features.double().cpu().numpy() for features in (train_features, test_features))
    probe = make_pipeline(
        StandardScaler(), LogisticRegression(C=1.0, solver="lbfgs", max_iter=MAX_ITERATIONS)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        warnings.filterwarnings("ignore", "The number of unique classes")  # many classes are no regression
        try:
            probe.fit(train, train_labels.cpu().numpy())
        except ConvergenceWarning:
            raise ProbeError(
                f"The logistic regression did not converge in {MAX_ITERATIONS:,} iterations."
            ) from None
    return float(probe.score(test, test_labels.cpu().numpy()))
