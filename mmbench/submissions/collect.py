"""Bundles of several people in one folder of results with one leaderboard: `mmbench collect`.

    leaderboard.md                                     all rows, and where each comes from
    provenance.csv                                     every run: who, which bundle, machine, versions, commit
    protocol-1a2b3c4d/<dataset>/<preset>/<model>/...   the runs, as `mmbench report` reads them

Runs of one protocol (data, budget, judges, evaluation) share a folder, others stand apart. In it, runs of one
hash are one row, whoever made them: their seeds are pooled. Models of one name but of different hashes are
different rows, whose labels then end with the beginning of the hash. A seed that is there twice counts once.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import rmtree
from typing import Any, NamedTuple, TypeAlias

from mmbench.escape import csv_text, escape_markdown
from mmbench.report.numbers.further import build_all_tables
from mmbench.report.numbers.leaderboard import build_leaderboard, name_of
from mmbench.report.numbers.provenance import budget_of
from mmbench.report.numbers.render import decimal
from mmbench.report.numbers.results import find_runs
from mmbench.report.numbers.tables import Cell
from mmbench.storage.files import check_new, content_hash, new_folder, read_json, write_atomically, write_json
from mmbench.storage.runs import StoredRun, read_run
from mmbench.submissions.bundle import place_of
from mmbench.submissions.unpack import Submission, unpack
from models.errors import InputError

__all__ = ["Collected", "collect_bundles"]

_PROTOCOL = ("dataset", "data", "protocol", "judge")  # of a configuration, beside its budget
_HEAD = ("protocol", "dataset", "preset", "row", "hash", "seed", "by", "bundle", "sha256", "counted")
_MACHINE = ("device", "mmbench", "python", "torch", "git_commit", "code", "model_code")  # of an environment


class Row(NamedTuple):
    """What a row of the leaderboard is called, before hashes tell rows of one name apart."""

    protocol: str
    dataset: str
    preset: str
    model: str
    label: str


Labels: TypeAlias = dict[tuple[Row, str], str]
"""Row and hash -> the label that the runs get."""

Makers: TypeAlias = dict[Row, dict[str, list[int]]]
"""Row -> who made its runs -> their seeds."""


@dataclass(frozen=True)
class _Entry:
    """A run of a bundle: `counted` unless an earlier bundle has it too."""

    run: StoredRun
    of: Submission
    counted: bool

    @property
    def hash(self) -> str:
        return self.run.config["hash"]

    @property
    def row(self) -> Row:
        parts = {key: self.run.config.get(key) for key in _PROTOCOL} | {"training": budget_of(self.run)}
        return Row(content_hash(parts)[:8], self.run.dataset, self.run.preset, self.run.model, self.run.label)


@dataclass(frozen=True)
class Collected:
    """What was collected: the folder, how many runs in how many protocols, and what did not count."""

    folder: Path
    runs: int
    protocols: list[str]
    twice: list[str]


def collect_bundles(bundles: Sequence[Path], folder: Path) -> Collected:
    """Merge bundles into the new `folder`, whole or not at all.

    Raises:
        InputError: for the first bundle that is not as `bundle_runs` writes it, and for a folder that holds
            something.
        WriteError: where the disk does not take it.
    """
    check_new(folder, "folder to collect in")
    if len({bundle.name for bundle in bundles}) < len(bundles):
        raise InputError("Two bundles have one file name, by which rows are told apart: rename one of them.")
    with new_folder(folder) as part:
        inbox = part / "inbox"
        submissions = [unpack(bundle, inbox / str(n)) for n, bundle in enumerate(bundles)]
        entries = _entries(submissions)
        labels = _labels(entries)
        for entry in entries:
            if entry.counted:
                _place(entry, labels, part)
        rmtree(inbox)
        protocols = sorted({entry.row.protocol for entry in entries})
        for name, text in (
            ("leaderboard.md", "\n".join(_leaderboard(part, protocols, entries, labels)) + "\n"),
            ("provenance.csv", csv_text(_provenance(entries, labels))),
        ):
            write_atomically(part / name, text.encode())
    twice = [f"{place_of(e.run)} of {e.of.bundle.name}" for e in entries if not e.counted]
    return Collected(folder, len(entries) - len(twice), protocols, twice)


def _entries(submissions: Sequence[Submission]) -> list[_Entry]:
    """All runs, in the order of the bundles; of one hash and seed the first counts."""
    seen: set[tuple[str, ...]] = set()
    entries = []
    for submission in submissions:
        for run in submission.runs:
            entry = _Entry(run, submission, counted=True)
            key = (*entry.row, entry.hash, str(run.seed))
            entries.append(replace(entry, counted=key not in seen))
            seen.add(key)
    return entries


def _labels(entries: Sequence[_Entry]) -> Labels:
    """The label of each row and hash: its own, with the hash where a protocol has several of that name."""
    hashes: dict[Row, set[str]] = defaultdict(set)
    for entry in entries:
        hashes[entry.row].add(entry.hash)
    found = {}
    for row, several in hashes.items():
        for hash in several:
            apart = [hash[:6]] if len(several) > 1 else []
            found[row, hash] = "-".join(filter(None, [row.label, *apart]))
    return found


def _place(entry: _Entry, labels: Labels, folder: Path) -> None:
    """Move a run to where it belongs; its configuration then has the label of its row."""
    label = labels[entry.row, entry.hash]
    if label != entry.run.label:
        path = entry.run.folder / "config.json"
        write_json(path, read_json(path) | {"label": label})
    target = folder / f"protocol-{entry.row.protocol}" / place_of(read_run(entry.run.folder))
    target.parent.mkdir(parents=True, exist_ok=True)
    entry.run.folder.rename(target)


def _leaderboard(
    folder: Path, protocols: Sequence[str], entries: Sequence[_Entry], labels: Labels
) -> Iterator[str]:
    """The lines of leaderboard.md: a table for every protocol, data set and preset."""
    yield from ("# Leaderboard", "", "Tables of different protocols cannot be compared with each other.")
    makers: Makers = defaultdict(lambda: defaultdict(list))
    for entry in entries:
        if entry.counted:
            row = entry.row._replace(label=labels[entry.row, entry.hash])
            makers[row][f"{entry.of.by} ({entry.of.bundle.name})"].append(entry.run.seed)
    for protocol in protocols:
        runs = find_runs(folder / f"protocol-{protocol}")
        for dataset, preset in dict.fromkeys((run.dataset, run.preset) for run in runs):
            own = [run for run in runs if (run.dataset, run.preset) == (dataset, preset)]
            yield from ("", f"## {dataset}, preset {preset}, protocol {protocol}", "")
            yield from _table(protocol, own, makers)


def _table(protocol: str, runs: Sequence[StoredRun], makers: Makers) -> Iterator[str]:
    """The rows of one data set and preset, with who made which seed; any warning and the protocol under them.

    Its columns are the metrics of which more, or less, is better.
    """
    tables = build_all_tables(runs)
    rows = tables[0].rows
    of_row = [[run for run in runs if (run.model, run.label) == (row.model, row.label)] for row in rows]
    board = build_leaderboard(tables, of_row)
    yield _bar(["Model", "Seeds", "From", *(name_of(each) for each in board.columns if each.better)])
    yield _bar([":--", "--:", ":--", *("--:" for each in board.columns if each.better)])
    for line, row, own in zip(board.lines, rows, of_row, strict=True):
        made = makers[Row(protocol, own[0].dataset, own[0].preset, row.model, row.label)]
        by = "; ".join(f"{maker}: seed {', '.join(map(str, sorted(seeds)))}" for maker, seeds in made.items())
        cells = [_shown(each.column.shown, each.cell) for each in line.entries if each.column.better]
        yield _bar([escape_markdown(line.name), str(line.seeds), escape_markdown(by), *cells])
    if warning := tables[0].warning:  # judges of two machines, for one, are no part of what folders share
        yield from ("", f"**Warning.** {escape_markdown(warning)}")
    yield from ("", f"Protocol. {escape_markdown(tables[0].sentences)}")


def _shown(unit: Any, cell: Cell) -> str:
    """A cell: mean ± standard deviation over seeds, bold where it is the best."""
    if not cell.values:
        return "not defined" if cell.undefined else "—"
    spread = f" ± {decimal(unit(cell.std))}" if len(cell.values) > 1 else ""
    return f"**{decimal(unit(cell.mean))}**{spread}" if cell.best else f"{decimal(unit(cell.mean))}{spread}"


def _bar(fields: Sequence[str]) -> str:
    return f"| {' | '.join(fields)} |"


def _provenance(entries: Sequence[_Entry], labels: Labels) -> list[list[object]]:
    """The lines of provenance.csv, with its head."""
    lines: list[list[object]] = [[*_HEAD, *_MACHINE]]
    for entry in entries:
        run, of = entry.run, entry.of
        label = labels[entry.row, entry.hash]
        row = f"{run.model}+{label}" if label else run.model
        environment = run.config.get("environment") or {}
        lines.append(
            [
                *(entry.row.protocol, run.dataset, run.preset, row, entry.hash, run.seed),
                *(of.by, of.bundle.name, of.sha256, "yes" if entry.counted else "no"),
                *(environment.get(key) for key in _MACHINE),
            ]
        )
    return lines
