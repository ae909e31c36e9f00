"""Precision, recall, density and coverage of prior draws among real test items, in the judges' features."""

from functools import partial

from metrics.catalogue import Kind, Need, metric
from metrics.evaluation.one_pass import Found, Pass
from metrics.evaluation.prior_draws import prior_draws
from metrics.missing import Lack, Missing
from metrics.names import MetricName
from metrics.prdc import NEIGHBOURS, PRDC, prdc

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
)
def prdc_of_draws(run: Pass) -> Found:
    """The features of each modality's draws against those of as many random test items, at most COUNT."""
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
