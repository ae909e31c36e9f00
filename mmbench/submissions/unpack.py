"""A bundle of anybody's, looked through before anything of it is used.

Nothing in it is executed or followed: its files are JSON, CSV and WebP under the names that a run has, no
links, no pickles, no more bytes than runs can have. What it says of itself is computed again.
"""

import hashlib
import io
import json
import re
import stat
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmbench.storage.archives import damage_is_a_value_error
from mmbench.storage.bounds import MOST, check_json, read_file
from mmbench.storage.files import content_hash, write_atomically
from mmbench.storage.history import read_history
from mmbench.storage.records import config_hash, read_metrics
from mmbench.storage.runs import StoredRun, read_run
from mmbench.storage.samples import load_run_samples
from mmbench.submissions.bundle import INDEX, RECORDS, SAMPLES, place_of, shares_samples
from models.errors import InputError

__all__ = ["Submission", "unpack"]

MOST_FILES, MOST_BYTES = 100_000, 2**30  # of one bundle, unpacked
_PART = r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}"
_FILE = r"config\.json|status\.json|metrics\.json|history\.csv|samples/[A-Za-z0-9_+-]{1,200}\.(?:json|webp)"
_NAME = re.compile(rf"(?P<place>{_PART}/{_PART}/{_PART}/seed-\d{{1,19}})/(?:{_FILE})")


@dataclass(frozen=True)
class Submission:
    """A bundle that was found to be good.

    Attributes:
        bundle: the archive.
        sha256: of the archive.
        by: who made it, as they say.
        runs: where they were unpacked.
    """

    bundle: Path
    sha256: str
    by: str
    runs: list[StoredRun]


def unpack(bundle: Path, folder: Path) -> Submission:
    """Unpack a bundle into `folder`, which is new, and check every run in it.

    Raises:
        InputError: for anything that is not as `bundle_runs` writes it.
    """
    try:
        content = read_file(bundle, MOST_BYTES)
        with damage_is_a_value_error(), zipfile.ZipFile(io.BytesIO(content)) as archive:
            files = _read_members(archive)
        by = _check_index(files)
        places = sorted({found["place"] for name in files if (found := _NAME.fullmatch(name))})
        for name, data in files.items():
            write_atomically(folder / name, data)
        runs = [_check_run(folder / place, place) for place in places]
    except (OSError, ValueError, RecursionError) as error:
        reason = str(getattr(error, "strerror", None) or error).replace(f"{folder}/", "")
        raise InputError(
            f"{bundle} is no bundle that can be used: {reason.rstrip('.')}. Ask for it again."
        ) from None
    return Submission(bundle, hashlib.sha256(content).hexdigest(), by, runs)


def _read_members(archive: zipfile.ZipFile) -> dict[str, bytes]:
    """The files of the archive by name, once all of their names, kinds and sizes are those of a bundle.

    Raises:
        ValueError: for the first that is not.
    """
    members = archive.infolist()
    size = sum(member.file_size for member in members)
    if len(members) > MOST_FILES or size > MOST_BYTES:
        raise ValueError(f"it declares {len(members):,} files of {size:,} bytes in all, more than runs have")
    if len({member.filename.casefold() for member in members}) < len(members):
        raise ValueError("two of its files have one name")
    for member in members:
        kind = stat.S_IFMT(member.external_attr >> 16)
        if not (member.filename == INDEX or _NAME.fullmatch(member.filename)):
            raise ValueError(f"it holds {member.filename!r:.200}, which no run has")
        if kind not in (0, stat.S_IFREG) or member.flag_bits & 1:
            raise ValueError(f"{member.filename} is a link, something else that is no file, or encrypted")
        if member.file_size > MOST["sheet"]:
            raise ValueError(f"{member.filename} declares {member.file_size:,} bytes")
    return {member.filename: archive.read(member) for member in members}


def _check_index(files: dict[str, bytes]) -> str:
    """Who made the bundle; the index leaves `files`, which are then those that it names, as it names them."""
    if INDEX not in files:
        raise ValueError(f"it has no {INDEX}")
    index: Any = json.loads(files.pop(INDEX).decode())
    check_json(index)
    if not isinstance(index, dict) or index.pop("checksum", None) != content_hash(index):
        raise ValueError(f"{INDEX} has changed since it was written")
    by, hashes = index.get("by"), index.get("files")
    if not (isinstance(by, str) and by.isprintable() and 0 < len(by) <= 100 and isinstance(hashes, dict)):
        raise ValueError(f"{INDEX} does not say who made it, or what it holds")
    if hashes.keys() != files.keys() or not files:
        raise ValueError(f"its files are not those that {INDEX} names")
    for name, content in files.items():
        if hashlib.sha256(content).hexdigest() != hashes[name]:
            raise ValueError(f"{name} has changed since it was bundled")
    return by


def _check_run(folder: Path, place: str) -> StoredRun:
    """The run in `folder`; an InputError, which is a ValueError, unless it is finished and what it says."""
    run = read_run(folder)
    if run.state != "done":
        raise ValueError(f"the run {place} is not finished")
    if place_of(run) != place:
        raise ValueError(f"the run {place} says that it is {place_of(run)}")
    if config_hash(run.config) != run.config["hash"]:
        raise ValueError(f"the hash of {place} is not that of its configuration")
    if any(folder.glob(f"{SAMPLES}*")) and not shares_samples(run.dataset):
        raise ValueError(f"{place} has samples of {run.dataset}, which may not be passed on")
    named = {*RECORDS, *read_metrics(folder)["files"]}
    if left := {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - named:
        raise ValueError(f"{place} holds {min(left)}, which its metrics.json does not name")
    read_history(folder)
    load_run_samples(folder)
    return run
