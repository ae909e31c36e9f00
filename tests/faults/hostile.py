"""Models that misbehave, in one command with a good one: what comes of each run, and of the good one's bits.

python tests/faults/hostile.py
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from common import environment, finish, outcome, start
from hostile_models import AT_IMPORT, HOSTILE, Hostile

from mmbench.storage.files import read_json

GOOD = "mopoe"


def make(folder: Path, hostile: Sequence[Hostile], jobs: int) -> str:
    """What `mmbench run` says that makes the hostile models and, after them, the good one."""
    results = folder / "results"
    options = [f"--jobs={jobs}", "--set=steps=4", "--metrics=coherence,probe"]
    for each in hostile:
        path = each.write(folder)
        path.write_text(path.read_text().replace("FOLDERS", f"__import__('pathlib').Path({str(results)!r})"))
        options.append(f"--model-file={path}")
    names = ",".join([*(each.name for each in hostile), GOOD])
    process = start(folder, f"--models={names}", *options, stderr=subprocess.PIPE)
    text, errors = process.communicate(timeout=1800)
    assert process.returncode == int(any(each.state == "failed" for each in hostile)), text + errors
    assert "Traceback" not in text + errors, text + errors
    return text + errors


def check(folder: Path, each: Hostile, text: str) -> None:
    """AssertionError unless the run of `each` ended as it must."""
    own = [line for line in text.splitlines() if each.name in line]
    status = folder / "results" / "digits" / "smoke" / each.name / "seed-0" / "status.json"
    found = read_json(status)
    assert (found["state"], each.error in found.get("error", "")) == (each.state, True), (each, found)
    assert status.stat().st_size < 50_000
    assert read_json(status.with_name("config.json"))["model"] == each.name
    for words in each.said:
        assert any(words in line for line in own), (each, own)


def make_all(folder: Path, hostile: Sequence[Hostile], jobs: int) -> str:
    """Make and check these models; the good one must have the bits that it has alone."""
    text = make(folder, hostile, jobs)
    for each in hostile:
        check(folder, each, text)
    alone = folder / "alone"
    alone.mkdir()
    shutil.copytree(folder / "cache", alone / "cache")
    finish(start(alone, f"--models={GOOD}", "--jobs=1", "--set=steps=4", "--metrics=coherence,probe"))
    whole = outcome(alone / "results")
    for name in sorted(set(outcome_of_good(folder)) | set(whole)):
        assert outcome_of_good(folder)[name] == whole[name], name
    failed = sum(each.state == "failed" for each in hostile)
    return f"{len(hostile)} hostile models, {jobs} jobs: {failed} failed alone, {len(hostile) - failed} done"


def outcome_of_good(folder: Path) -> dict[str, str]:
    """`outcome` of the good model's run alone."""
    only = folder / "only" / "digits" / "smoke" / GOOD
    if not only.exists():
        shutil.copytree(folder / "results" / "digits" / "smoke" / GOOD, only)
    return outcome(folder / "only")


def read_all(folder: Path) -> str:
    """Files that fail when they are read: an error that names file and line, and exit code 2."""
    for name, (code, message) in AT_IMPORT.items():
        path = folder / "file.py"
        path.write_text(code)
        command = [sys.executable, "-m", "mmbench", "check", "--model-file", str(path)]
        found = subprocess.run(command, env=environment(folder), capture_output=True, text=True, check=False)
        assert (found.returncode, found.stdout) == (2, ""), (name, found)
        assert found.stderr.startswith(f"Error: The model file {path} "), (name, found.stderr)
        assert message in found.stderr, (name, found.stderr)
    return f"{len(AT_IMPORT)} files that fail when they are read: all named with their line"


if __name__ == "__main__":
    for jobs in (1, 2):
        with tempfile.TemporaryDirectory() as scratch:
            chosen = [each for each in HOSTILE if jobs > 1 or not each.deadly]
            print(make_all(Path(scratch), chosen, jobs), flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        print(read_all(Path(scratch)), flush=True)
