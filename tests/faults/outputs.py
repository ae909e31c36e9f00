"""Outputs that cannot be written: results are made all the same, with one sentence and the usual exit code.

python tests/faults/outputs.py
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from common import JOB, environment

OPTIONS = ("--models", "mvae", "--set", "steps=4", "--jobs", "1")
SENTENCE = "The output cannot be written ("
MMBENCH = f"'{sys.executable}' -m mmbench"
WAYS = {  # how a shell starts a command, and whether it says that its output is lost
    "a full disk": ("{} > /dev/full", True),
    "a closed output": ("{} >&-", True),
    "an output that may only be read": ("{} 1< /dev/null", True),
    "a pipe without a reader": ("{{ {}; echo $? > code; }} | true; exit $(cat code)", None),
    "a full disk behind both": ("{} > /dev/full 2>&1", False),
    "a closed error stream": ("{} 2>&-", False),
    "both closed": ("{} >&- 2>&-", False),
    "all three closed": ("{} <&- >&- 2>&-", False),
    "an ASCII terminal": ("PYTHONIOENCODING=ascii {}", False),
    "a strict encoding of Windows": ("PYTHONIOENCODING=cp1252:strict {}", False),
}


def call(way: str, command: str, folder: Path) -> subprocess.CompletedProcess:
    """The command as `way` starts it; it shows no traceback, and says that its output is lost where it is."""
    form, says = WAYS[way]
    here = {**environment(folder), "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))}
    done = subprocess.run(
        form.format(command), shell=True, cwd=folder, env=here, capture_output=True, timeout=600, check=False
    )
    text = (done.stdout + done.stderr).decode(errors="replace")
    for word in ("Traceback", "Exception ignored", "Error:"):
        assert word not in text, (way, text)
    assert says is None or text.count(SENTENCE) == says, (way, text)
    return done


def lose_outputs(folder: Path, commands: dict[str, str], ways=WAYS) -> str:
    """Every command in every way: its exit code is the usual one. How many there were, in a sentence."""
    for name, command in commands.items():
        usual = subprocess.run(
            command, shell=True, cwd=folder, env=environment(folder), capture_output=True, check=False
        )
        for way in ways:
            assert call(way, command, folder).returncode == usual.returncode, (name, way)
    return (
        f"{len(commands)} commands with {len(ways)} outputs each: the exit code was the usual one every time."
    )


def make_runs(folder: Path, ways=WAYS) -> str:
    """`mmbench run` in every way, into a folder whose name few encodings have: all results are there."""
    for number, way in enumerate(ways):
        results = folder / f"Ergebnisse-für-日本-{number}"
        words = " ".join([*JOB, *OPTIONS, "--device", "cpu", "--results", f"'{results}'"])
        assert call(way, f"{MMBENCH} {words}", folder).returncode == 0, way
        assert len(list(results.rglob("metrics.json"))) == 1, way
        assert len(list(results.rglob("report.html"))) == 1, way
    return f"{len(ways)} runs with such outputs: made, with their reports."


if __name__ == "__main__":
    commands = {name: f"{MMBENCH} {name}" for name in ("datasets", "models --json", "--help", "run --help")}
    with tempfile.TemporaryDirectory() as scratch:
        print(lose_outputs(Path(scratch), commands))
        print(make_runs(Path(scratch)))
