"""The log-likelihood of test tuples, all modalities together."""

import math

import torch
from torch import Tensor

from metrics.catalogue import Kind, metric
from metrics.evaluation.one_pass import INCOMPLETE, Found, Pass, complete
from metrics.images import as_float
from metrics.likelihood import importance_weighted
from metrics.missing import Lack, Missing
from metrics.names import MetricName
from metrics.probe import probe_indices
from models.about import cite
from models.base import MultimodalModel

__all__ = ["SAMPLES", "TUPLES", "log_likelihood", "log_likelihoods"]

SAMPLES = 100  # of the latent, for each tuple
TUPLES = 1_000  # random tuples of test items, at most
DECODED = 2_000  # latents at a time


def log_likelihoods(
    model: MultimodalModel, batch: dict[str, Tensor], samples: int, generator: torch.Generator
) -> Tensor:
    """(B,): the estimate for each of B items, in nats; NotDefinedError without importance weights."""
    return importance_weighted(model.log_weights(batch, samples, generator))


# of one likelihood and scale higher is better, of two it says nothing: neither direction is better
@metric(
    "log_likelihood",
    Kind("log_likelihood", "Log-likelihood", "nats", "", per="model"),
    asked=True,
    reading="Log-likelihood: importance-weighted, of tuples of test data, in nats; comparable between models "
    "of the same likelihood and scale only, so that no best is marked.",
    span=(
        "Any number of nats, higher is better; a lower bound in expectation, which rises with "
        "the number of samples."
    ),
    hides=(
        "What draws look like, and whether modalities belong together: pixels have many nats, "
        "the class has few. Models of different likelihoods, or scales of one, are not "
        "comparable."
    ),
    bibtex=cite("burda2016iwae"),
)
def log_likelihood(run: Pass) -> Found:
    """The mean over TUPLES random tuples, each the tuple of a test item of the first modality.

    Two weights of one item, 1 and 3, whose mean is 2:

    >>> import torch
    >>> from metrics.likelihood import importance_weighted
    >>> round(float(importance_weighted(torch.tensor([[1.0], [3.0]]).log()).exp()), 4)
    2.0
    """
    columns = list(run.model.modalities)
    tuples = complete(run.tuples_from(columns[0]), list(range(len(columns))))
    if not len(tuples):
        yield MetricName("log_likelihood"), INCOMPLETE
        return
    rows = tuples[probe_indices(len(tuples), TUPLES, run.protocol.evaluation_seed)]
    generator, found = run.generator(), []
    for part in rows.split(DECODED // SAMPLES):
        batch = {
            name: as_float(run.test[name][0][part[:, m]].to(run.device)) for m, name in enumerate(columns)
        }
        found.append(log_likelihoods(run.model, batch, SAMPLES, generator))
        run.progress("log-likelihood", sum(map(len, found)), len(rows))
    value = float(torch.cat(found).mean())
    unusable = Missing(Lack.FAILED, "The densities of the model are not finite.")
    yield MetricName("log_likelihood"), value if math.isfinite(value) else unusable
