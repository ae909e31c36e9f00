"""Several commands at once on the same results and the same cache: all finish, and nothing is made twice.

python tests/faults/races.py [ROUNDS]
"""

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import JOB, environment, finish, outcome

# `mmbench`, which says when it makes statistics of real images
TELLING = """
import mmbench.execution.cached_references
from mmbench.cli import main
make = mmbench.execution.cached_references.build_feature_space
def tell(name, *rest):
    print(f"Statistics made: {name}", flush=True)
    return make(name, *rest)
mmbench.execution.cached_references.build_feature_space = tell
main()
"""


def start(folder: Path, *options: str) -> subprocess.Popen:
    command = [sys.executable, "-c", TELLING, *JOB, "--results", str(folder / "results"), *options]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, env=environment(folder), start_new_session=True, **streams)


def race(folder: Path, commands: int, jobs: int) -> str:
    """Start `commands` equal jobs of two models at once, with `jobs` processes each.

    AssertionError where they do not share the work.
    """
    began = time.monotonic()
    options = ("--models", "mopoe,cada-vae", "--set", "steps=12", "--jobs", str(jobs))
    racing = [start(folder, *options) for _ in range(commands)]
    texts = [finish(process) for process in racing]
    assert [process.returncode for process in racing] == [0] * commands, "\n".join(texts)
    made = sorted(
        line.split(" finds ")[0]
        for text in texts
        for line in text.splitlines()
        if line.startswith("The judge of")
    )
    assert made == ["The judge of handwritten", "The judge of street"], made
    statistics = [line for text in texts for line in text.splitlines() if line.startswith("Statistics made:")]
    assert statistics == ["Statistics made: fd_clf"], statistics
    trained = sorted(
        found for text in texts for found in re.findall(r"^(\S+ seed \d+) is done: .*training,", text, re.M)
    )
    assert trained == ["cada-vae seed 0", "mopoe seed 0"], trained
    waited = sum(
        "waiting for another command" in line.lower() for text in texts for line in text.splitlines()
    )
    assert not list(folder.rglob("*.part"))
    took = f"{time.monotonic() - began:.0f} s"
    return (
        f"{commands} commands of {jobs} jobs: each judge, the statistics and each run made once, {waited} "
        f"times waited, {took}."
    )


if __name__ == "__main__":
    found = []
    for number in range(int((*sys.argv[1:], "3")[0])):
        with tempfile.TemporaryDirectory() as scratch:
            print(race(Path(scratch), commands=2 + number % 2, jobs=1 + number % 2), flush=True)
            found.append(outcome(Path(scratch) / "results"))
    assert all(each == found[0] for each in found), "two rounds differ"
    print(f"{len(found)} rounds, all with the same bits.")
