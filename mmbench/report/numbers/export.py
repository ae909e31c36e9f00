"""results.json: what the tables say and rest on, for programs; results.schema.json documents it."""

import json
from collections.abc import Sequence
from typing import Any

from metrics.names import MetricName
from mmbench.escape import visible
from mmbench.report.numbers.leaderboard import name_of
from mmbench.report.numbers.provenance import reference_values
from mmbench.report.numbers.tables import Cell, Row, Table
from mmbench.storage.runs import StoredRun
from mmbench.storage.shapes import PEAKS

__all__ = ["SCHEMA", "to_json"]

SCHEMA = 2  # the version of the format


def to_json(runs: Sequence[StoredRun], tables: Sequence[Table]) -> str:
    """The runs of one preset folder, in the order of `find_runs`, and their metrics over seeds.

    Numbers are those of `tables`, of `build_all_tables`.
    """
    names = sorted({name for run in runs for name in run.references})
    judges = {name: parsed.target for name in names if (parsed := MetricName.parse(name)).kind == "judge"}
    content = {
        "schema": SCHEMA,
        "dataset": runs[0].dataset,
        "preset": runs[0].preset,
        "metrics": _metrics(tables),
        "models": [_model(tables, index) for index in range(len(tables[0].rows))],
        "judges": {modality: reference_values(runs, name) for name, modality in judges.items()},
        "references": {name: reference_values(runs, name) for name in names if name not in judges},
        "warning": tables[0].warning,
        "runs": [_run(run) for run in runs],
    }
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _metrics(tables: Sequence[Table]) -> dict[str, dict[str, str]]:
    """What each metric is, and in which table it comes first."""
    found: dict[str, dict[str, str]] = {}
    for table in tables:
        for column in table.columns:
            about = {"table": table.number, "name": name_of(column)}
            found.setdefault(column.metric, about | {"unit": column.unit, "better": column.better})
    return found


def _model(tables: Sequence[Table], index: int) -> dict[str, Any]:
    """The model in row `index` of every table."""
    row: Row = tables[0].rows[index]
    cells = {
        column.metric: cell
        for table in tables
        for column, cell in zip(table.columns, table.rows[index].cells, strict=True)
    }
    return {
        "model": row.model,
        "label": row.label,
        "name": row.name,
        "seeds_done": row.seeds,
        "note": row.note,
        "metrics": {metric: _cell(cell) for metric, cell in cells.items()},
    }


def _cell(cell: Cell) -> dict[str, Any]:
    """A metric of a model over its seeds."""
    mean = cell.mean if cell.values else None
    return {
        "values": {str(seed): value for seed, value in cell.values.items()},
        "mean": mean,
        "std": cell.std if len(cell.values) > 1 else None,
        "n": len(cell.values),
        "paper": cell.paper,
        "difference": None if mean is None or cell.paper is None else mean - cell.paper,
        "standard_error": cell.standard_error if len(cell.values) > 1 else None,
        "best": cell.best,
        "note": cell.note,
    }


def _run(run: StoredRun) -> dict[str, Any]:
    """A run with all that its files hold but its history."""
    status, config = run.status, run.config
    return {
        **{key: getattr(run, key) for key in ("model", "title", "label", "seed", "state")},
        "error": status.get("error"),
        "path": visible(f"{run.folder.parent.name}/{run.folder.name}"),
        "seconds": {"training": status.get("train_seconds"), "evaluation": status.get("evaluate_seconds")},
        **{
            key: status[key]
            for key in ("look_seconds", "compile_seconds", "kept_step", *PEAKS)
            if key in status
        },
        "steps_per_second": status.get("steps_per_second"),
        **{
            key: config.get(key)
            for key in (
                "hash",
                "precision",
                "command",
                "settings",
                "training",
                "protocol",
                "data",
                "modalities",
                "environment",
            )
        },
        "metrics": run.metrics,
        "reasons": {name: why.to_json() for name, why in run.reasons.items()},
        "references": run.references,
    }
