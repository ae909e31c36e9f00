"""Models ranked over data sets (Demsar 2006, "Statistical comparisons of classifiers", JMLR 7, 1-30).

On each of N data sets k models are ranked, 1 is best, equal ones share their mean rank. Friedman's test asks
whether all are alike; by Nemenyi's, two models differ where their mean ranks are at least

    CD = q_k sqrt(k (k + 1) / (6 N))

apart, q_k being the upper 5 % point of the studentised range of k means over sqrt 2.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from scipy import stats

from metrics.names import MetricName
from mmbench.escape import csv_text, escape_markdown
from mmbench.report.numbers.provenance import disagreements, protocol_differences
from mmbench.storage.runs import StoredRun
from models.errors import InputError

__all__ = ["LEVEL", "Ranking", "critical_difference", "rank_across", "ranks_csv", "ranks_markdown"]

LEVEL = 0.05


@dataclass(frozen=True)
class _Measure:
    """One figure of a run, the mean of some of its metrics.

    Attributes:
        title: of the ranking.
        holds: whether a metric is one of them.
        sign: 1 where higher is better, -1 where lower is.
        logarithmic: whether the mean is geometric, of metrics whose scales differ.
    """

    title: str
    holds: Callable[[MetricName], bool]
    sign: int = 1
    logarithmic: bool = False

    def of(self, run: StoredRun) -> float | None:
        """Of a run; None where it lacks one of the metrics, or has none."""
        found = [value for name, value in run.metrics.items() if self.holds(MetricName.parse(name))]
        numbers = [value for value in found if value is not None]
        if not found or len(numbers) < len(found):
            return None
        if self.logarithmic:
            return math.exp(float(np.mean(np.log(np.maximum(numbers, 1e-12)))))
        return float(np.mean(numbers))


def _plain(kind: str) -> Callable[[MetricName], bool]:
    return lambda name: name.kind == kind and not name.part


MEASURES = (
    _Measure("joint coherence", _plain("joint_coherence")),
    _Measure(
        "cross coherence of means, over all directions from one modality",
        lambda name: name.kind == "cross_coherence" and len(name.sources) == 1 and name.mode == "mean",
    ),
    _Measure("FD-clf, geometric mean over modalities", _plain("fd_clf"), sign=-1, logarithmic=True),
    _Measure("linear probe, mean over modalities", _plain("probe")),
    _Measure("mAP of retrieval", _plain("label_map_mean")),
)


@dataclass(frozen=True)
class Ranking:
    """The ranks of k models on N data sets by one measure.

    Attributes:
        title: what they are ranked by.
        datasets: names, with that of the preset.
        models: titles, and the name behind a title that several have.
        values: (N, k), means over seeds.
        ranks: (N, k), 1 is best.
        left_out: models with a figure on some of the data sets only.
    """

    title: str
    datasets: tuple[str, ...]
    models: tuple[str, ...]
    values: np.ndarray
    ranks: np.ndarray
    left_out: tuple[str, ...]

    @property
    def means(self) -> np.ndarray:
        """(k,): mean ranks."""
        return self.ranks.mean(0)

    @property
    def p(self) -> float | None:
        """Of Friedman's test; None with two models, or where all ranks are equal."""
        if len(self.models) < 3 or np.ptp(self.ranks) == 0:
            return None
        return float(stats.friedmanchisquare(*self.ranks.T).pvalue)

    @property
    def critical(self) -> float:
        """Nemenyi's critical difference."""
        return critical_difference(len(self.models), len(self.datasets))

    def alike(self) -> list[list[str]]:
        """The largest groups of models, by mean rank, that do not differ: two or more in each."""
        order = np.argsort(self.means, kind="stable")
        ends = [
            max(j for j in range(len(order)) if self.means[order[j]] - self.means[i] < self.critical)
            for i in order
        ]
        groups = [
            order[start : end + 1]
            for start, end in enumerate(ends)
            if end > start and (start == 0 or end > ends[start - 1])
        ]
        return [[self.models[i] for i in group] for group in groups]


def critical_difference(models: int, datasets: int) -> float:
    """CD of k models on N data sets, in ranks."""
    q = stats.studentized_range.ppf(1 - LEVEL, models, np.inf) / math.sqrt(2)
    return float(q * math.sqrt(models * (models + 1) / (6 * datasets)))


def rank_across(runs: Sequence[StoredRun]) -> tuple[list[Ranking], list[str]]:
    """The rankings by every measure that two models or more have on two data sets or more.

    Models under a label are variants, and not ranked. Of a data set counts one preset.

    Returns:
        The rankings, and sentences of which data sets are left out, and which to take with care.

    Raises:
        InputError: where there is no such measure.
    """
    done = [run for run in runs if run.state == "done" and not run.label]
    chosen, notes = _comparable(done)
    found = [ranking for measure in MEASURES if (ranking := _rank(measure, chosen))]
    if not found:
        places = sorted({_place(run) for run in done})
        needed = (
            f"There is nothing to rank: two models with finished runs on two data sets are needed, found "
            f"{', '.join(places) or 'no finished run'}."
        )
        raise InputError(" ".join([needed, *notes]))
    return found, notes


def _comparable(runs: Sequence[StoredRun]) -> tuple[list[StoredRun], list[str]]:
    """The runs of one preset of each data set, and what is to be said of it.

    It is the one with the most training steps of those whose rows share one protocol: two presets of a data
    set are no two independent data sets, as the tests suppose. Other judges, or other code, are a warning.
    """
    alike: dict[str, list[list[StoredRun]]] = {}
    chosen, notes = [], []
    for place, group in groupby(sorted(runs, key=_place), key=_place):
        own = list(group)
        if found := protocol_differences(own):
            notes.append(f"{place} is left out, as its rows do not share one protocol: {'; '.join(found)}.")
        else:
            alike.setdefault(own[0].dataset, []).append(own)
    for presets in alike.values():
        longest = max(presets, key=_steps)
        place = _place(longest[0])
        notes += [
            f"{_place(own[0])} is left out: of a data set counts the preset with the most training steps, "
            f"here {place}."
            for own in presets
            if own is not longest
        ]
        if warning := disagreements(longest):
            notes.append(f"{place}: {warning}")
        chosen += longest
    return chosen, notes


def _steps(runs: Sequence[StoredRun]) -> int:
    """For how many steps a preset trains."""
    return max((run.config.get("training") or {}).get("steps") or 0 for run in runs)


def _rank(measure: _Measure, runs: Sequence[StoredRun]) -> Ranking | None:
    """By one measure; a data set on which one model or none has it does not count."""
    table: dict[str, dict[str, float]] = {}
    for place, name, of in _groups(runs):
        values = [value for run in of if (value := measure.of(run)) is not None]
        if values:
            table.setdefault(place, {})[name] = float(np.mean(values))
    table = {place: row for place, row in table.items() if len(row) > 1}
    known = list(dict.fromkeys(name for row in table.values() for name in row))
    models = [name for name in known if all(name in row for row in table.values())]
    if len(table) < 2 or len(models) < 2:
        return None
    figures = np.array([[row[name] for name in models] for row in table.values()])
    ranks = stats.rankdata(-measure.sign * figures, axis=1)
    names = _names(runs)
    left_out = tuple(names[name] for name in known if name not in models)
    return Ranking(
        measure.title, tuple(table), tuple(names[name] for name in models), figures, ranks, left_out
    )


def _groups(runs: Sequence[StoredRun]) -> Iterable[tuple[str, str, list[StoredRun]]]:
    """(data set and preset, model, its runs)."""
    ordered = sorted(runs, key=lambda run: (_place(run), run.model))
    for (place, model), group in groupby(ordered, key=lambda run: (_place(run), run.model)):
        yield place, model, list(group)


def _names(runs: Sequence[StoredRun]) -> dict[str, str]:
    """What each model is called: its title, and its own name beside it where others have that title too."""
    titles = {run.model: run.title for run in runs}
    shared = Counter(titles.values())
    return {model: f"{title} ({model})" if shared[title] > 1 else title for model, title in titles.items()}


def _place(run: StoredRun) -> str:
    return f"{run.dataset}/{run.preset}"


def ranks_markdown(rankings: Sequence[Ranking], notes: Sequence[str], pictures: Sequence[str]) -> str:
    """Every ranking as a table with its test in words, above its picture of this file name; notes first."""
    lines = [
        "# Ranks over data sets",
        "",
        f"1 is best. Critical difference: of mean ranks, Nemenyi's at {LEVEL:g}; Friedman's test asks "
        "whether any two models differ at all. Few data sets make large differences possible by chance.",
    ]
    lines += [line for note in notes for line in ("", escape_markdown(note))]
    for ranking, picture in zip(rankings, pictures, strict=True):
        order = np.argsort(ranking.means, kind="stable")
        test = "" if ranking.p is None else f" Friedman's test: p = {ranking.p:.3f}."
        lines += [
            "",
            f"## By {ranking.title}",
            "",
            f"| Model | Mean rank | {' | '.join(map(escape_markdown, ranking.datasets))} |",
            f"| :-- |{' --: |' * (1 + len(ranking.datasets))}",
            *(
                f"| {escape_markdown(ranking.models[i])} | {ranking.means[i]:.2f} | "
                f"{' | '.join(f'{rank:g}' for rank in ranking.ranks[:, i])} |"
                for i in order
            ),
            "",
            f"Critical difference {ranking.critical:.2f}.{test} {_unlike(ranking)}",
        ]
        if ranking.left_out:
            lines.append(f"Not on all of these data sets: {escape_markdown(', '.join(ranking.left_out))}.")
        lines += ["", f"![Mean ranks by {ranking.title}]({picture})"]
    return "\n".join(lines) + "\n"


def _unlike(ranking: Ranking) -> str:
    """Whether there are models that differ, in words."""
    if np.ptp(ranking.means) < ranking.critical:
        return "No two models differ by that much."
    return "The bars of the picture join models that do not differ by that much."


def ranks_csv(rankings: Sequence[Ranking]) -> str:
    """A row per ranking, data set and model."""
    rows = [
        [ranking.title, place, name, ranking.values[i, j], ranking.ranks[i, j]]
        for ranking in rankings
        for i, place in enumerate(ranking.datasets)
        for j, name in enumerate(ranking.models)
    ]
    return csv_text([["measure", "dataset", "model", "value", "rank"], *rows])
