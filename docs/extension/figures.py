"""What the published results say of a model: figures of their tables, pictures of their samples."""

import csv
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from statistics import mean
from typing import NamedTuple

from metrics.catalogue import kind_of
from metrics.names import MetricName
from mmbench.report.numbers.columns import column_of
from mmbench.report.pictures.figures import draw_panels, joint_panel
from mmbench.storage.samples import load_run_samples

__all__ = ["ROOT", "Figure", "figures_of", "ranks", "sample_picture", "studies"]

ROOT = Path(__file__).resolve().parents[2]
PUBLISHED = ROOT / "results" / "published"
MAIN = 2  # parts of the folder of a study of models, <dataset>/<preset>; others are beside the point of ranks


class Figure(NamedTuple):
    """A row of a published table, as it is shown: its title, and the figures; "" where the paper has none."""

    metric: str
    value: str
    paper: str


def studies() -> list[Path]:
    """The folders of the published studies that have a page."""
    return sorted(path.parent for path in PUBLISHED.rglob("README.md") if path.parent != PUBLISHED)


@cache
def _rows(study: Path) -> list[dict[str, str]]:
    """What the tables of a study hold, each metric of a model once."""
    found: dict[tuple[str, str, str], dict[str, str]] = {}
    for table in sorted(study.glob("table*.csv")):
        with table.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                found.setdefault((row["model"], row["label"], row["metric"]), row)
    return list(found.values())


def figures_of(model: str) -> Iterator[tuple[Path, list[Figure]]]:
    """Every study that has the model itself, not its variants, and its figures there."""
    for study in studies():
        rows = [row for row in _rows(study) if row["model"] == model and not row["label"] and row["mean"]]
        if shown := [figure for row in rows if (figure := _figure(row))]:
            yield study, shown


def _figure(row: dict[str, str]) -> Figure | None:
    """A row of a table; None for what stands beside a figure, such as its value by chance."""
    name = MetricName.parse(row["metric"])
    if name.part or kind_of(name) is None:
        return None
    column = column_of(name)
    spread = f" ± {column.shown(float(row['std'])):.1f}" if row["std"] else ""
    unit = "(%)" if column.unit == "fraction" else ""
    title = " ".join(filter(None, (column.group, column.part, name.mode, unit)))
    paper = f"{column.shown(float(row['paper'])):.1f}" if row["paper"] else ""
    return Figure(title, f"{column.shown(float(row['mean'])):.1f}{spread}", paper)


def sample_picture(model: str) -> tuple[Path, bytes] | None:
    """The study whose joint draws of the model are shown, and a PNG of them; None where there are none."""
    for study in studies():
        for run in sorted(study.glob(f"{model}/seed-*")):
            samples = load_run_samples(run)
            if samples and samples.joint:
                caption = "Joint draws: the same place in every block is the same draw."
                return study, draw_panels([[joint_panel(model, samples)]], caption)
    return None


def ranks() -> tuple[list[str], list[tuple[str, list[str]]]]:
    """The main studies, and each model that is in all of them with its rank in each and the mean of these.

    A model's score in a study is the mean of joint coherence (0 for a model that has none) and of the mean
    cross coherence with sampled latents, of the models that all studies have.
    """
    scores: dict[str, dict[str, float]] = {}
    for study in (s for s in studies() if len(s.relative_to(PUBLISHED).parts) == MAIN):
        parts: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        for row in _rows(study):
            name = MetricName.parse(row["metric"])
            counted = name.kind == "joint_coherence" or (name.is_pair and name.mode == "sample")
            if not row["label"] and counted and not name.part and row["mean"]:
                parts[row["model"]][name.kind].append(float(row["mean"]))
        scores[study.relative_to(PUBLISHED).as_posix()] = {
            model: mean([mean(found.get("joint_coherence", [0.0])), mean(found["cross_coherence"])])
            for model, found in parts.items()
            if found["cross_coherence"]
        }
    shared = set.intersection(*(set(found) for found in scores.values()))
    table = []
    for model in shared:
        own = [1 + sum(found[other] > found[model] for other in shared) for found in scores.values()]
        table.append((mean(own), model, [*map(str, own), f"{mean(own):.2f}"]))
    return list(scores), [(model, cells) for _, model, cells in sorted(table)]
