"""All metrics, as their files in `metrics/evaluation/` declare them. Without torch.

A metric is declared where it is computed, by a decorator on the function that computes it:

    @metric(
        "kid",
        Kind("kid", "KID", "distance", "lower"),
        asked=True,
        needs=(Need.DRAWS, Need.JUDGE_FEATURES),
        reading="KID: ...",
        bibtex=cite("binkowski2018kid"),
    )
    def kid_of_draws(run: Pass) -> Found: ...

Tables, the help of `--metrics` and `mmbench status` read the declarations, and must not wait for torch: so
the decorators are evaluated here from the text of those files, with nothing but `metric`, `Kind`, `Need` and
`cite` at hand. Everything in a declaration is therefore a literal or one of these.
"""

import ast
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from importlib import import_module
from itertools import combinations, permutations
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, Literal

from metrics.names import MetricName
from models.about import cite
from models.errors import InputError, suggest

__all__ = [
    "DEFAULT",
    "GROUPS",
    "SUBSETS",
    "Better",
    "Group",
    "Kind",
    "Metric",
    "Need",
    "Unit",
    "check_groups",
    "group_of",
    "kind_of",
    "metric",
    "subsets",
]

SUBSETS = 20  # of one size, as many as six modalities have at most; of more, so many are measured

Unit = Literal["fraction", "nats", "distance"]
Better = Literal["higher", "lower", ""]


class Need(Enum):
    """What a metric reads beside the model and the data; features by the name of their space."""

    JUDGES = "judges"
    JUDGE_FEATURES = "fd_clf"
    INCEPTION_FEATURES = "fid"
    IMAGENET_FEATURES = "fd_in"
    LINEAR_CCA = "linear_cca"
    DRAWS = "draws"
    """From the prior, decoded once for all metrics that read them: by the judges, or in features."""


def subsets(modalities: Collection[str], size: int) -> list[tuple[str, ...]]:
    """All subsets of so many modalities, or SUBSETS of them where there are more.

    Those are drawn at random, the same for all models of the same modalities.
    """
    every = list(combinations(modalities, size))
    if len(every) <= SUBSETS:
        return every
    return [every[place] for place in sorted(Random(0).sample(range(len(every)), SUBSETS))]


@dataclass(frozen=True)
class Kind:
    """One kind of number.

    Attributes:
        name: what the names of these metrics begin with.
        title: in reports, before the modality or direction.
        unit: of the number; fractions are shown in per cent.
        better: which direction is better; empty for what has none.
        per: what there is one number of: the whole model, each modality, each ordered pair of modalities, or
            each subset of modalities and other modality, with sampled and with mean latents; of sizes with
            more than SUBSETS subsets, for some.
        part: "chance" or "entropy", of what stands beside the figure of this name.
        floor: whether there is a reference `<name>_floor/<modality>`, which a perfect model would reach.
    """

    name: str
    title: str
    unit: Unit
    better: Better
    per: Literal["model", "modality", "pair", "subset"] = "modality"
    part: str = ""
    floor: bool = False

    def names(self, modalities: Collection[str]) -> Iterator[MetricName]:
        """The names of all metrics of this kind, for a model of these modalities."""
        if self.per == "model":
            yield MetricName(self.name, part=self.part)
        elif self.per == "modality":
            yield from (MetricName(self.name, target=target) for target in modalities)
        elif self.per == "pair":
            yield from (MetricName(self.name, (source,), to) for source, to in permutations(modalities, 2))
        else:
            for size in range(1, len(modalities)):
                for mode in ("sample", "mean"):
                    for sources in subsets(modalities, size):
                        others = (name for name in modalities if name not in sources)
                        yield from (MetricName(self.name, sources, target, mode) for target in others)
                    if len(modalities) > 2:
                        yield MetricName(self.name, size=size, mode=mode)


@dataclass(frozen=True)
class Group:
    """What one function computes, and what `--metrics` asks for.

    Attributes:
        name: on the command line.
        kinds: of its numbers.
        asked: whether it is computed only where it is asked for by name.
        needs: what it reads.
        reading: a sentence for readers of its numbers, under the leaderboard.
        span: the least and the largest value, and what chance or real data would have.
        hides: what a good number does not say.
        bibtex: of the publications that it is from.
        module, function: where it is computed.
    """

    name: str
    kinds: tuple[Kind, ...]
    asked: bool
    needs: frozenset[Need]
    reading: str
    span: str
    hides: str
    bibtex: str
    module: str
    function: str

    def names(self, modalities: Collection[str]) -> list[MetricName]:
        """The names of all its metrics, for a model of these modalities."""
        return [name for kind in self.kinds for name in kind.names(modalities)]

    def load(self) -> "Metric":
        """The function that computes it, whose file is imported now."""
        return getattr(import_module(self.module), self.function)


@dataclass(frozen=True)
class Metric:
    """A decorated function: given a `Pass` it yields names, each with its value or why there is none."""

    group: Group
    measure: Callable[[Any], Iterator[Any]]


def metric(
    name: str,
    *kinds: Kind,
    asked: bool = False,
    needs: Collection[Need] = (),
    reading: str = "",
    span: str = "",
    hides: str = "",
    bibtex: str = "",
) -> Callable[[Callable[[Any], Iterator[Any]]], Metric]:
    """Declare the group of metrics that the decorated function computes; the arguments are `Group`'s."""

    def declare(measure: Callable[[Any], Iterator[Any]]) -> Metric:
        where = measure.__module__, measure.__name__
        about = reading, span, hides, bibtex
        return Metric(Group(name, kinds, asked, frozenset(needs), *about, *where), measure)

    return declare


def _declared() -> Iterator[Group]:
    """The groups that the files of `metrics/evaluation/` declare, by the names of the files."""
    scope = {"metric": metric, "Kind": Kind, "Need": Need, "cite": cite}
    for path in sorted((Path(__file__).parent / "evaluation").glob("*.py")):
        for function, decorator in _decorators(path):
            declare = eval(compile(ast.Expression(decorator), path, "eval"), scope)
            measure = SimpleNamespace(__module__=f"metrics.evaluation.{path.stem}", __name__=function)
            yield declare(measure).group


def _decorators(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """The functions of a file that `metric` decorates: the name of each and the decorator."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            calls = (each for each in node.decorator_list if isinstance(each, ast.Call))
            yield from ((node.name, call) for call in calls if ast.unparse(call.func) == "metric")


GROUPS = {group.name: group for group in sorted(_declared(), key=lambda group: group.asked)}
"""All groups by name: first those that are computed where none are asked for."""

DEFAULT = tuple(group.name for group in GROUPS.values() if not group.asked)
"""The names of those."""

_KINDS = {(kind.name, kind.part): (kind, group) for group in GROUPS.values() for kind in group.kinds}


def kind_of(name: MetricName | str) -> Kind | None:
    """What the metric called `name` is; None where no file declares it, as in results of another version."""
    found = _find(name)
    return found and found[0]


def group_of(name: MetricName | str) -> str:
    """The name of the group that computes a metric; of one that no file declares, its kind."""
    found = _find(name)
    return found[1].name if found else MetricName.parse(str(name)).kind


def _find(name: MetricName | str) -> tuple[Kind, Group] | None:
    parsed = MetricName.parse(name) if isinstance(name, str) else name
    return _KINDS.get((parsed.kind, parsed.part))


def check_groups(names: Iterable[str], where: str = "") -> None:
    """InputError for a name that is no group's; `where` it stands, for the message."""
    for name in names:
        if name not in GROUPS:
            raise InputError(f"Unknown metric {name!r}{where}: {suggest(name, GROUPS)}")
