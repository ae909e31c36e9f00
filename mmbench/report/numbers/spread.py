"""How much of a figure's spread comes from the training seed, and how much from which items were paired.

Runs count together that differ in nothing but their seeds and the seed of the pairs (`--set pairing_seed=1
--label pairs-1`, and so on).
"""

import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmbench.escape import csv_text, escape_markdown
from mmbench.report.numbers.columns import Column
from mmbench.report.numbers.leaderboard import name_of
from mmbench.report.numbers.render import decimal
from mmbench.report.numbers.tables import Table
from mmbench.storage.records import DECISIVE
from mmbench.storage.runs import StoredRun

__all__ = ["Components", "Spread", "find_spreads", "spread_csv", "spread_markdown", "variance_components"]

SEED = "pairing_seed"
_READING = (
    "Runs that differ in their training seed and in which items were paired, and in nothing else. Mean: of "
    "the means of each pairing. Seeds, pairings: standard deviations, shares in per cent; random effects "
    "estimated by analysis of variance (Searle et al. 1992, section 3.6), of which few pairings say little. "
    "—: with one run of each pairing the two cannot be told apart."
)


@dataclass(frozen=True)
class Components:
    """Standard deviations of a figure; None where they cannot be told apart.

    Attributes:
        mean: over pairings, each with the mean of its runs.
        seeds: among runs of one pairing.
        pairings: of what pairings add to that; 0 where their means differ no more than seeds explain.
    """

    mean: float
    seeds: float | None
    pairings: float | None


@dataclass(frozen=True)
class Spread:
    """One model and metric.

    Attributes:
        name, model: as in the tables.
        column: the metric.
        values: pairing seed -> training seed -> value.
    """

    name: str
    model: str
    column: Column
    values: Mapping[int, Mapping[int, float]]

    @property
    def components(self) -> Components:
        """Of its values."""
        return variance_components([list(found.values()) for found in self.values.values()])


def variance_components(groups: Sequence[Sequence[float]]) -> Components:
    """The components of x_ij = mu + a_i + e_ij, values of seed j in pairing i, of any number of seeds.

    With n_i values in group i of a, N in all: s_e^2 = sum_ij (x_ij - x_i)^2 / (N - a), and s_a^2 = (MS_a -
    s_e^2) / n_0 with MS_a = sum_i n_i (x_i - x)^2 / (a - 1) and n_0 = (N - sum_i n_i^2 / N) / (a - 1), 0
    where that is negative (Searle, Casella and McCulloch 1992, section 3.6).
    """
    sizes = np.array([len(group) for group in groups])
    means = np.array([np.mean(group) for group in groups])
    count, total = len(groups), int(sizes.sum())
    if total == count or count < 2:
        return Components(float(means.mean()), None, None)
    residuals = np.concatenate([np.subtract(group, np.mean(group)) for group in groups])
    seeds = float(np.square(residuals).sum()) / (total - count)
    between = float((sizes * np.square(means - np.average(means, weights=sizes))).sum()) / (count - 1)
    size = (total - float(np.square(sizes).sum()) / total) / (count - 1)
    pairings = max(0.0, (between - seeds) / size)
    return Components(float(means.mean()), math.sqrt(seeds), math.sqrt(pairings))


def find_spreads(runs: Sequence[StoredRun], tables: Sequence[Table]) -> list[Spread]:
    """Of every model with two pairings or more, a row for each column of the tables that all of them have."""
    families: dict[str, list[StoredRun]] = defaultdict(list)
    for run in runs:
        if run.metrics:
            families[json.dumps(_apart_from_pairs(run), sort_keys=True)].append(run)
    columns = {column.metric: column for table in tables for column in table.columns}
    found = []
    for family in families.values():
        pairings = {_pairing(run) for run in family}
        if len(pairings) < 2:
            continue
        first = min(family, key=lambda run: (run.is_variant, _pairing(run)))
        for metric, column in columns.items():
            values: dict[int, dict[int, float]] = defaultdict(dict)
            for run in family:
                if (value := run.metrics.get(metric)) is not None:
                    values[_pairing(run)][run.seed] = value
            if len(values) == len(pairings) and column.better:
                found.append(Spread(first.name, first.model, column, dict(sorted(values.items()))))
    return found


def _pairing(run: StoredRun) -> int:
    return int(((run.config.get("data") or {}).get("settings") or {}).get(SEED, 0))


def _apart_from_pairs(run: StoredRun) -> dict[str, Any]:
    """What decides its figures but the seed of the pairs, and how many of them these seeds gave."""
    data = dict(run.config.get("data") or {})
    settings = {key: value for key, value in (data.get("settings") or {}).items() if key != SEED}
    data = {key: value for key, value in data.items() if key != "pairs"} | {"settings": settings}
    return {key: run.config.get(key) for key in (*DECISIVE, "named")} | {"data": data}


def spread_markdown(spreads: Sequence[Spread]) -> str:
    """The table and how it is read."""
    lines = [
        _READING,
        "",
        "| Model | Figure | Mean | Seeds | Pairings | Runs |",
        "| :-- | :-- | --: | --: | --: | --: |",
    ]
    for spread in spreads:
        parts = spread.components
        shown = [
            "—" if value is None else decimal(spread.column.shown(value))
            for value in (parts.mean, parts.seeds, parts.pairings)
        ]
        runs = " + ".join(str(len(found)) for found in spread.values.values())
        lines.append(
            f"| {' | '.join(map(escape_markdown, [spread.name, name_of(spread.column), *shown, runs]))} |"
        )
    return "\n".join(lines) + "\n"


def spread_csv(spreads: Sequence[Spread]) -> str:
    """One line per model and figure, in the units of metrics.json."""
    lines: list[Sequence[object]] = [
        ("model", "title", "metric", "mean", "std_seeds", "std_pairings", "runs")
    ]
    for spread in spreads:
        parts = spread.components
        runs = sum(map(len, spread.values.values()))
        figures = [parts.mean, parts.seeds, parts.pairings, runs]
        lines.append([spread.model, spread.name, spread.column.metric, *figures])
    return csv_text(lines)
