"""Retrieval across modalities: test items of one are queries, all test items of another one the gallery."""

from collections.abc import Iterator
from itertools import permutations
from statistics import fmean
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from metrics.catalogue import Kind, Need, metric
from metrics.evaluation.one_pass import Found, Pass
from metrics.images import eight_bits
from metrics.missing import Lack, Missing
from metrics.names import MetricName
from metrics.references.judges import predict
from metrics.retrieval import HITS, Retrieval, chance_precision, first_found, retrieve
from models.about import cite
from models.base import NotDefinedError

__all__ = ["SHOWN_HITS", "SHOWN_QUERIES", "FoundItems", "found_items", "retrievals"]

SHOWN_QUERIES, SHOWN_HITS = 5, 10  # of a direction in pictures: a licensed data set is shown in part
UNFINDABLE = Missing(Lack.UNAVAILABLE, "No test item has one that belongs to it in the other modality.")


class FoundItems(NamedTuple):
    """What queries find first, for a picture.

    Attributes:
        queries: (n, *shape) of one modality, uint8, each of another class.
        labels: (n,) their classes; in data without labels, their numbers.
        hits: (n, SHOWN_HITS, *shape) of another modality, uint8, by falling cosine.
        classes: (n, SHOWN_HITS) theirs; in data without labels the number of the query of their row, n
            without one.
    """

    queries: np.ndarray
    labels: np.ndarray
    hits: np.ndarray
    classes: np.ndarray


@metric(
    "retrieval",
    Kind("label_map", "mAP", "fraction", "higher", per="pair"),
    Kind("label_map_mean", "mAP mean", "fraction", "higher", per="model"),
    Kind("label_map_chance", "mAP chance", "fraction", "", per="model"),
    Kind("label_map_judge", "mAP judge", "fraction", "", per="model"),
    Kind("label_map_cca", "mAP linear CCA", "fraction", "", per="model"),
    Kind("hit_at_1", "Hit@1", "fraction", "higher", per="pair"),
    Kind("hit_at_5", "Hit@5", "fraction", "higher", per="pair"),
    Kind("hit_at_10", "Hit@10", "fraction", "higher", per="pair"),
    needs=(Need.JUDGES, Need.LINEAR_CCA),
    span=(
        "0 to 1, shown in per cent. A random order has about one in the number of classes; "
        "beside it stand its exact value, and those of the judges' classes and of linear CCA."
    ),
    hides=(
        "Which item is found: everything of the class counts as right, because pairs are made by "
        "class. Nothing is generated, so a model may retrieve well and generate badly."
    ),
    bibtex=cite("manning2008retrieval", "hotelling1936cca"),
)
def retrievals(run: Pass) -> Found:
    """Of every ordered pair of modalities; beside it a random order, the judges' classes, and linear CCA.

    Queries are the items with a relevant one among the others: of their class, or, in data without labels, of
    their row.

    The query finds one of its two relevant items first and the other one last of three, so that its average
    precision is (1/1 + 2/3) / 2:

    >>> import torch
    >>> from metrics.retrieval import retrieve
    >>> gallery, classes = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]), torch.tensor([0, 1, 0])
    >>> found = retrieve(torch.tensor([[1.0, 0.0]]), torch.tensor([0]), gallery, classes, seed=0)
    >>> round(found.precision, 4), found.hits[1]
    (0.8333, 1.0)
    """
    pairs = list(permutations(run.model.modalities, 2))
    labels = {name: run.test[name][1].cpu() for name in run.model.modalities}
    chances = [
        chance_precision(labels[source][_findable(labels[source], labels[target])], labels[target])
        for source, target in pairs
        if _findable(labels[source], labels[target]).any()
    ]
    yield MetricName("label_map_chance"), fmean(chances) if chances else UNFINDABLE
    yield MetricName("label_map_judge"), _by_judges(run, labels)
    yield MetricName("label_map_cca"), run.references.linear_cca
    if not run.model.common_space:
        raise NotDefinedError(
            f"{type(run.model).__name__} has no common space: its modalities are represented in spaces of "
            "their own, between which nothing can be compared."
        )
    means: list[float | Missing] = []
    for source, target in pairs:
        missing = _unusable(run, source, target)
        result = missing or _retrieve(run, source, target)
        means.append(result if isinstance(result, Missing) else result.precision)
        yield MetricName("label_map", (source,), target), means[-1]
        for count in HITS:
            name = MetricName(f"hit_at_{count}", (source,), target)
            yield name, result if isinstance(result, Missing) else result.hits[count]
        if not isinstance(result, Missing):
            run.recall[source, target] = result.curve
    lacking = next((mean for mean in means if isinstance(mean, Missing)), None)
    yield MetricName("label_map_mean"), lacking or fmean(m for m in means if not isinstance(m, Missing))


def found_items(run: Pass) -> dict[tuple[str, str], FoundItems]:
    """(a, b) -> some test items of a and what they find of b, for each direction that was measured."""
    return {(source, target): _first_items(run, source, target) for source, target in run.recall}


def _findable(labels: Tensor, classes: Tensor) -> Tensor:
    """(N,) whether a query of these labels has a relevant item in a gallery of these classes."""
    return torch.isin(labels, classes)


def _retrieve(run: Pass, source: str, target: str) -> Retrieval | Missing:
    """One direction."""
    labels = (run.test[name][1].to(run.device) for name in (source, target))
    of_source, of_target = labels
    asked = _findable(of_source, of_target)
    if not asked.any():
        return UNFINDABLE
    run.progress(f"{source} finds {target}", 0, 1)
    seed = run.protocol.evaluation_seed
    found = retrieve(run.represent(source)[asked], of_source[asked], run.represent(target), of_target, seed)
    run.progress(f"{source} finds {target}", 1, 1)
    return found


def _unusable(run: Pass, *names: str) -> Missing | None:
    """Why representations of these modalities cannot be compared, None where they can."""
    if all(run.represent(name).isfinite().all() for name in names):
        return None
    return Missing(Lack.FAILED, "The representation holds values that are not finite.")


def _by_judges(run: Pass, labels: dict[str, Tensor]) -> float | Missing:
    """The mean over directions with the class that its judge finds in the place of every representation."""
    if missing := run.references.unjudged(*run.model.modalities):
        return missing
    classes, found = run.references.classes, []
    votes = {
        name: predict(run.references.judges[name], run.test[name][0]).cpu() for name in run.model.modalities
    }
    for source, target in permutations(votes, 2):
        asked = _findable(labels[source], labels[target])
        if asked.any():
            gallery = one_hot(votes[target], classes), labels[target]
            found.append(_by_votes(votes[source][asked], labels[source][asked], *gallery, run))
    return fmean(found) if found else UNFINDABLE


def _by_votes(votes: Tensor, labels: Tensor, gallery: Tensor, classes: Tensor, run: Pass) -> float:
    """Mean average precision of queries whose judge's class (N,) represents them.

    Queries of one such class and label find the same: of ten classes there are a hundred kinds at most.
    """
    kinds, counts = torch.stack([votes, labels]).unique(dim=1, return_counts=True)
    queries, seed = one_hot(kinds[0], gallery.shape[1]), run.protocol.evaluation_seed
    return retrieve(queries, kinds[1], gallery, classes, seed, counts).precision


def _first_items(run: Pass, source: str, target: str) -> FoundItems:
    """A query of each of some classes, and its first hits."""
    (queries, labels), (gallery, classes) = run.test[source], run.test[target]
    rows = torch.tensor(list(_distinct(labels.cpu(), run.protocol.evaluation_seed)), dtype=torch.int64)
    count, seed = min(SHOWN_HITS, len(gallery)), run.protocol.evaluation_seed
    found = first_found(run.represent(source)[rows], run.represent(target), count, seed).cpu()
    hits = eight_bits(gallery.cpu()[found.flatten()]).unflatten(0, found.shape)
    shown = eight_bits(queries.cpu()[rows])
    asked, answers = labels.cpu()[rows], classes.cpu()[found]
    if run.references.unlabelled:
        numbers = torch.arange(len(rows))
        answers = torch.where(answers == asked[:, None], numbers[:, None], len(rows))
        asked = numbers
    return FoundItems(shown.numpy(), asked.numpy(), hits.numpy(), answers.numpy())


def _distinct(labels: Tensor, seed: int) -> Iterator[int]:
    """Random rows of SHOWN_QUERIES classes, or of all where they are fewer."""
    seen: set[int] = set()
    for row in torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed)).tolist():
        if len(seen) == SHOWN_QUERIES:
            return
        if int(labels[row]) not in seen:
            seen.add(int(labels[row]))
            yield row
