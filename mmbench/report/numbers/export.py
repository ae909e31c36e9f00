"""results.json: everything that the tables say and what they rest on, for programs. results.schema.json beside this file documents it."""

import json
from collections.abc import Sequence
from typing import Any

from mmbench.report.numbers.provenance import reference_values
from mmbench.report.numbers.tables import Cell, Row, Table
from mmbench.storage.runs import StoredRun

__all__ = ["SCHEMA", "to_json"]

SCHEMA = 1  # the version of the format


def to_json(runs: Sequence[StoredRun], tables: Sequence[Table]) -> str:
    """The runs of one preset folder, in the order of `find_runs`, and their metrics over seeds, of `build_all_tables`. Numbers are those of
    the tables' CSV files and of the leaderboard."""
    names = sorted({name for run in runs for name in run.references})
    content = {
        "schema": SCHEMA,
        "dataset": runs[0].dataset,
        "preset": runs[0].preset,
        "metrics": {
            column.metric: {
                "table": table.number,
                "name": f"{column.group} {column.part}".strip(),
                "unit": column.unit,
                "better": column.better,
            }
            for table in tables
            for column in table.columns
        },
        "models": [_model(tables, index) for index in range(len(tables[0].rows))],
        "judges": {
            name.removeprefix("judge/"): reference_values(runs, name)
            for name in names
            if name.startswith("judge/")
        },
        "references": {name: reference_values(runs, name) for name in names if not name.startswith("judge/")},
        "warning": tables[0].warning,
        "runs": [_run(run) for run in runs],
    }
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


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
    status, config = run.status, run.config
    return {
        **{key: getattr(run, key) for key in ("model", "title", "label", "seed", "state")},
        "error": status.get("error"),
        "path": f"{run.folder.parent.name}/{run.folder.name}",
        "seconds": {"training": status.get("train_seconds"), "evaluation": status.get("evaluate_seconds")},
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
        "reasons": run.reasons,
        "references": run.references,
    }
