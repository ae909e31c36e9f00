"""The log-likelihood of test tuples as a bracket, of models whose density is known up to a constant."""

import math

from metrics.catalogue import Kind, metric
from metrics.evaluation.one_pass import INCOMPLETE, Found, Pass, complete
from metrics.images import as_float
from metrics.missing import Lack, Missing
from metrics.names import MetricName
from metrics.partition import (
    AnnealedModel,
    likelihood_bracket,
    log_partition,
    reverse_log_partition,
    schedule,
)
from metrics.probe import probe_indices
from models.about import cite
from models.base import NotDefinedError

__all__ = ["BETAS", "CHAINS", "TUPLES", "likelihood_bound"]

BETAS = schedule((0.5, 200), (0.9, 800), (1.0, 1_000))
CHAINS = 50
TUPLES = 1_000  # random tuples of test items, at most


@metric(
    "likelihood_bound",
    Kind("likelihood_bound_low", "Log-likelihood, from below", "nats", "", per="model"),
    Kind("likelihood_bound_high", "Log-likelihood, from above", "nats", "", per="model"),
    asked=True,
    reading="Log-likelihood of tuples of test data in nats, as a bracket: log Z by reverse annealed "
    "importance sampling from test data (from below) and by annealed importance sampling (from above). Of "
    "deep machines both are of a variational bound. Comparable between models of the same visible units.",
    span="Any number of nats, higher is better; the truth lies between both numbers up to chance.",
    hides=(
        "What draws look like. A wide bracket says that annealing was too short, not that the "
        "model is bad; of deep machines both ends are of a variational bound."
    ),
    bibtex=cite("neal2001ais", "burda2015raise"),
)
def likelihood_bound(run: Pass) -> Found:
    """Of TUPLES random tuples; reverse chains begin at the first CHAINS of them.

    A machine of three free binary units has eight states of equal density, so Z = 8 exactly:

    >>> import math, torch
    >>> from metrics.partition import exact_log_partition
    >>> round(math.exp(exact_log_partition(lambda states: torch.zeros(len(states)).double(), units=3)), 6)
    8.0
    """
    if not isinstance(run.model, AnnealedModel):
        raise NotDefinedError(f"{type(run.model).__name__} is no model with a partition function.")
    columns = list(run.model.modalities)
    tuples = complete(run.tuples_from(columns[0]), list(range(len(columns))))
    if not len(tuples):
        yield from ((MetricName(f"likelihood_bound_{end}"), INCOMPLETE) for end in ("low", "high"))
        return
    rows = tuples[probe_indices(len(tuples), TUPLES, run.protocol.evaluation_seed)]
    batch = {name: as_float(run.test[name][0][rows[:, m]].to(run.device)) for m, name in enumerate(columns)}
    generator, path = run.generator(), run.model.path()
    log_densities = run.model.log_density_bound(batch, generator)
    forward = log_partition(path, BETAS, CHAINS, generator)
    run.progress("annealed importance sampling", 1, 2)
    starts = run.model.states({name: x[:CHAINS] for name, x in batch.items()}, generator)
    bracket = likelihood_bracket(
        log_densities, forward, reverse_log_partition(path, starts, BETAS, generator)
    )
    run.progress("annealed importance sampling", 2, 2)
    unusable = Missing(Lack.FAILED, "The densities of the model are not finite.")
    for end, value in (("low", bracket.low), ("high", bracket.high)):
        yield MetricName(f"likelihood_bound_{end}"), value if math.isfinite(value) else unusable
