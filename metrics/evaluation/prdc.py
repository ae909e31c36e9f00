"""Precision, recall, density and coverage of prior draws among real test items, in the judges' features."""

from functools import partial

from metrics.catalogue import Kind, Need, metric
from metrics.evaluation.one_pass import Found, Pass
from metrics.evaluation.prior_draws import prior_draws
from metrics.missing import Lack, Missing
from metrics.names import MetricName
from metrics.prdc import NEIGHBOURS, PRDC, prdc
from models.about import cite

__all__ = ["COUNT", "prdc_of_draws"]

COUNT = 10_000  # real items and as many draws at most, as Naeem et al.
SPACE = Need.JUDGE_FEATURES.value


@metric(
    "prdc",
    Kind("precision", "Precision", "fraction", "higher"),
    Kind("recall", "Recall", "fraction", "higher"),
    Kind("density", "Density", "fraction", "higher"),
    Kind("coverage", "Coverage", "fraction", "higher"),
    asked=True,
    needs=(Need.DRAWS, Need.JUDGE_FEATURES),
    reading="Precision, recall, density and coverage: of draws from the prior among real test data and the "
    "other way round, in the judge's features; real data would have a density of 100, which is no bound.",
    span=(
        "0 to 1, but for the density, which has no bound; shown in per cent. Two sets of one "
        "distribution have an expected density of 1, and equally large ones a coverage of about "
        "0.97 (k = 5)."
    ),
    hides=(
        "Whether modalities of one draw belong together, and whatever the judge does not look "
        "at. A single outlier among real items makes a large ball, and precision with it; "
        "density and coverage mind that less."
    ),
    bibtex=cite("kynkaanniemi2019prc", "naeem2020prdc"),
)
def prdc_of_draws(run: Pass) -> Found:
    """The features of each modality's draws against those of as many random test items, at most COUNT.

    Generated items near one half of the real ones: all of them are near real ones, half of the real ones are
    covered:

    >>> import torch
    >>> from metrics.prdc import prdc
    >>> real = torch.tensor([[0.0], [1.0], [2.0], [10.0], [11.0], [12.0]])
    >>> found = prdc(real, real[:3] + 0.1, k=1)
    >>> found.precision, found.coverage
    (1.0, 0.5)
    """
    draws, space = prior_draws(run), run.references.space(SPACE)
    for name in run.model.modalities:
        count = min(COUNT, len(run.test[name][0]), run.protocol.draws)
        missing = run.references.unread(SPACE, name) or _too_few(name, count) or draws.finite.missing(name)
        if missing:
            yield from ((MetricName(kind, target=name), missing) for kind in PRDC._fields)
            continue
        assert space is not None
        real = run.test_features(space, name, count)
        generated = draws.features[SPACE, name][:count].to(real.device)
        found = prdc(real, generated, progress=partial(run.progress, f"neighbours of {name}"))
        yield from ((MetricName(kind, target=name), value) for kind, value in found._asdict().items())


def _too_few(name: str, count: int) -> Missing | None:
    """Why so many items of a modality have no neighbours to speak of, None where they have."""
    if count > NEIGHBOURS:
        return None
    sentence = f"It takes more than {NEIGHBOURS} test items and draws; of {name} there are {count}."
    return Missing(Lack.UNAVAILABLE, sentence)
