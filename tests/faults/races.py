"""Several commands at once on the same results and the same cache: all finish, and nothing is made twice.

python tests/faults/races.py [ROUNDS]
"""

import re
import sys
import tempfile
import time
from pathlib import Path

from common import finish, outcome, start


def race(folder: Path, commands: int, jobs: int) -> str:
    """Start `commands` equal jobs of two models at once, with `jobs` processes each; AssertionError where they do not share the work."""
    began = time.monotonic()
    options = ("--models", "mopoe,cada-vae", "--set", "steps=12", "--jobs", str(jobs))
    racing = [start(folder, *options) for _ in range(commands)]
    texts = [finish(process) for process in racing]
    assert [process.returncode for process in racing] == [0] * commands, "\n".join(texts)
    made = sorted(line.split(" finds ")[0] for text in texts for line in text.splitlines() if line.startswith("The judge of"))
    assert made == ["The judge of handwritten", "The judge of street"], made
    trained = sorted(found for text in texts for found in re.findall(r"^(\S+ seed \d+): .*training,", text, re.M))
    assert trained == ["cada-vae seed 0", "mopoe seed 0"], trained
    waited = sum("waiting for another command" in line.lower() for text in texts for line in text.splitlines())
    assert not list(folder.rglob("*.part"))
    return f"{commands} commands of {jobs} jobs: each judge and each run made once, {waited} times waited, {time.monotonic() - began:.0f} s."


if __name__ == "__main__":
    found = []
    for number in range(int((*sys.argv[1:], "3")[0])):
        with tempfile.TemporaryDirectory() as scratch:
            print(race(Path(scratch), commands=2 + number % 2, jobs=1 + number % 2), flush=True)
            found.append(outcome(Path(scratch) / "results"))
    assert all(each == found[0] for each in found), "two rounds differ"
    print(f"{len(found)} rounds, all with the same bits.")
