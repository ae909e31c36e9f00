"""Finished runs in one archive, to be given to somebody else: `mmbench bundle`.

A bundle is a zip archive. Beside the files of each run, in folders as `mmbench run` makes them, it holds

    bundle.json     who made it, and the SHA-256 of every other file

Of a run there are configuration, status, history and metrics, no weights. Samples are there only of data sets
whose licence lets items be passed on: conditions are items of the data.
"""

import hashlib
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, NamedTuple

from mmbench.data.base import DATASETS
from mmbench.storage.bounds import MOST, read_file
from mmbench.storage.files import check_writable, exists, json_bytes, read_json, write_atomically
from mmbench.storage.records import find_folders
from mmbench.storage.run_folder import RunFolder
from mmbench.storage.runs import StoredRun, read_run
from models.errors import InputError

__all__ = ["INDEX", "RECORDS", "Bundled", "bundle_runs", "place_of", "shares_samples"]

INDEX = "bundle.json"
RECORDS = ("config.json", "status.json", "metrics.json", "history.csv")
SAMPLES = "samples/"
_WRITTEN = (1980, 1, 1, 0, 0, 0)  # of every member: the same runs give the same bytes


class Bundled(NamedTuple):
    """What was written: the archive, its runs, those of them without samples, and folders left out."""

    path: Path
    runs: list[StoredRun]
    bare: list[StoredRun]
    unfinished: list[StoredRun]


def bundle_runs(results: Path, out: Path, by: str) -> Bundled:
    """Write the finished runs at or below `results` into the archive `out`.

    Args:
        by: who made them, for the leaderboard.

    Raises:
        InputError: for a folder without finished runs, damaged files, two runs of one place, and an archive
            that is there already.
        WriteError: where the disk does not take it.
    """
    if exists(out):
        raise InputError(f"{out} is there already: name a new file with --out.")
    if not (by.strip() and by.isprintable() and len(by) <= 100):
        raise InputError(f"--by {by!r} is no name: expected one line of at most 100 letters.")
    check_writable(out.parent, "folder of the bundle", "name another one with --out")
    found = [read_run(folder) for folder in find_folders(results)]
    runs = [run for run in found if run.state == "done"]
    if not runs:
        raise InputError(
            f"No run in {results} is finished: `mmbench status {results}` says how far they are."
        )
    bare = [run for run in runs if not shares_samples(run.dataset)]
    files: dict[str, bytes] = {}
    for run in runs:
        place = place_of(run)
        if f"{place}/{RECORDS[0]}" in files:
            raise InputError(f"There are two runs {place} in {results}: bundle one of them at a time.")
        files |= {f"{place}/{name}": content for name, content in _files(run, run in bare).items()}
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    index = json_bytes({"by": by, "files": hashes})
    write_atomically(out, lambda file: _write(file, {INDEX: index, **files}))
    return Bundled(out, runs, bare, [run for run in found if run.state != "done"])


def shares_samples(dataset: str) -> bool:
    """Whether items of a data set may be passed on; not of one that is not known here."""
    return any(entry.name == dataset and entry.shareable for entry in DATASETS)


def place_of(run: StoredRun) -> str:
    """Where a run lies in a folder of results, "digits/quick/mopoe/seed-0"."""
    own = (run.dataset, run.preset, run.model, run.label or None, run.seed)
    return RunFolder.of(Path(), *own).path.as_posix()


def _files(run: StoredRun, bare: bool) -> dict[str, bytes]:
    """The files of a run by name; `bare` without samples, which its list of files does not name then."""
    results = read_json(run.folder / "metrics.json")
    listed = results.get("files") or {}
    named = {name: hash for name, hash in listed.items() if not (bare and name.startswith(SAMPLES))}
    names: Iterable[str] = dict.fromkeys((*RECORDS, *named))
    try:
        found = {name: read_file(run.folder / name, MOST["sheet"]) for name in names}
    except (OSError, ValueError) as error:
        raise InputError(f"A file of the run in {run.folder} cannot be read ({error}).") from None
    return found | ({"metrics.json": json_bytes(results | {"files": named})} if bare else {})


def _write(file: IO[bytes], files: Mapping[str, bytes]) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, _WRITTEN), content, zipfile.ZIP_DEFLATED)
