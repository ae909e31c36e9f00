"""The same prior for everyone: what joint draws of each model are worth from three kinds of prior.

Its own; a mixture that is learned with the model (runs whose settings say prior=mixture, where nothing else
differs that decides a result); and a mixture fitted to its latents after training.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from metrics.names import MetricName
from mmbench.escape import csv_text, escape_markdown
from mmbench.report.numbers.columns import column_of
from mmbench.report.numbers.render import decimal
from mmbench.report.numbers.tables import Cell, Row, Table
from mmbench.storage.records import DECISIVE
from mmbench.storage.runs import StoredRun

__all__ = ["HEADS", "READING", "PriorRow", "fields", "find_priors", "priors_csv", "priors_markdown"]

SETTING, MIXTURE = "prior", "mixture"
_JOINT, _ENTROPY, _FITTED = (
    MetricName("joint_coherence"),
    MetricName("joint_coherence", part="entropy"),
    MetricName("fitted_coherence"),
)
_KINDS = ("own prior", "learned mixture", "fitted afterwards")
HEADS = ("Model", "Own prior", *(f"{kind[0].upper()}{kind[1:]}" for kind in _KINDS))
READING = (
    "Joint coherence in per cent, mean ± standard deviation over seeds, and in parentheses the entropy of "
    "the agreed class in nats where it is known. Own prior: that of the row's settings. Learned mixture: the "
    "same settings, data and budget but for prior=mixture, trained anew. Fitted afterwards: a mixture of "
    "Gaussians fitted to latents of train data after training with the own prior; it is no part of the model."
)
_NOT_RUN = Cell({}, note="not run")


@dataclass(frozen=True)
class PriorRow:
    """One model, or one variant with a prior of its own that is no other row's learned mixture.

    Attributes:
        name, model, label: as in the tables.
        prior: what its own prior is called, "" where its settings leave it at the model's default.
        cells: joint coherence by the kinds of prior.
        entropies: of the agreed class, beside the first two.
    """

    name: str
    model: str
    label: str
    prior: str
    cells: tuple[Cell, Cell, Cell]
    entropies: tuple[Cell, Cell, Cell]


def find_priors(models: Sequence[Sequence[StoredRun]], table: Table) -> list[PriorRow]:
    """The rows; none where no run has a learned mixture.

    Args:
        models: the runs of each row of the table, in their order.
        table: table 1 of them.
    """
    pairs = [(runs[0], row) for runs, row in zip(models, table.rows, strict=True)]
    learned = [(run, row) for run, row in pairs if _prior(run) == MIXTURE]
    if not learned:
        return []
    found, beside = [], set()
    for run, row in pairs:
        # a variant that names no prior has its model's: it is about something else
        if _prior(run) == MIXTURE or (run.is_variant and not _prior(run)):
            continue
        mixture = next((other for its, other in learned if _but_prior(its) == _but_prior(run)), None)
        if mixture:
            beside.add((mixture.model, mixture.label))
        found.append(_row(run, row, mixture, table))
    alone = [(run, row) for run, row in learned if not run.is_variant or (run.model, run.label) not in beside]
    return found + [_row(run, row, row, table) for run, row in alone]


def _prior(run: StoredRun) -> str:
    return str((run.config.get("settings") or {}).get(SETTING, ""))


def _but_prior(run: StoredRun) -> dict[str, Any]:
    """All that decides its result, without the kind of its prior."""
    settings = {key: value for key, value in (run.config.get("settings") or {}).items() if key != SETTING}
    return {key: run.config.get(key) for key in DECISIVE} | {"settings": settings}


def _row(run: StoredRun, own: Row, mixture: Row | None, table: Table) -> PriorRow:
    """The row of a model with its own prior, and with a learned mixture if that was run."""
    places = {column.metric: index for index, column in enumerate(table.columns)}

    def cell(row: Row | None, metric: MetricName) -> Cell:
        if row is None:
            return _NOT_RUN
        return row.cells[places[str(metric)]] if str(metric) in places else Cell({}, note="not computed")

    return PriorRow(
        *(own.name, own.model, own.label, _prior(run)),
        cells=(cell(own, _JOINT), cell(mixture, _JOINT), cell(own, _FITTED)),
        entropies=(cell(own, _ENTROPY), cell(mixture, _ENTROPY), Cell({})),
    )


def fields(row: PriorRow) -> list[str]:
    """Its texts, under HEADS."""
    joint, entropy = column_of(_JOINT), column_of(_ENTROPY)
    shown = []
    for cell, beside in zip(row.cells, row.entropies, strict=True):
        if not cell.values:
            shown.append("not defined" if cell.undefined else cell.note.rstrip(".") or "—")
            continue
        spread = f" ± {decimal(joint.shown(cell.std))}" if len(cell.values) > 1 else ""
        nats = f" ({decimal(entropy.shown(beside.mean))})" if beside.values else ""
        shown.append(f"{decimal(joint.shown(cell.mean))}{spread}{nats}")
    return [row.name, row.prior or "default", *shown]


def priors_markdown(rows: Sequence[PriorRow], table: Table) -> str:
    """The rows and how they are read, with any warning of `table`, from which they come."""
    lines = [
        READING,
        "",
        f"| {' | '.join(HEADS)} |",
        f"| :-- | :-- |{' --: |' * (len(HEADS) - 2)}",
        *(f"| {' | '.join(map(escape_markdown, fields(row)))} |" for row in rows),
        *(["", f"**Warning.** {escape_markdown(table.warning)}"] if table.warning else []),
    ]
    return "\n".join(lines) + "\n"


def priors_csv(rows: Sequence[PriorRow]) -> str:
    """One line per model and kind of prior, in the units of metrics.json."""
    lines: list[Sequence[object]] = [
        ("model", "label", "title", "prior", "kind", "mean", "std", "n", "entropy")
    ]
    for row in rows:
        for kind, cell, beside in zip(_KINDS, row.cells, row.entropies, strict=True):
            count = len(cell.values)
            figures = [cell.mean if count else None, cell.std if count > 1 else None, count]
            entropy = beside.mean if beside.values else None
            lines.append([row.model, row.label, row.name, row.prior, kind, *figures, entropy])
    return csv_text(lines)
