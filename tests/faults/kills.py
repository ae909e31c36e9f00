"""Kills `mmbench run` with SIGKILL at random moments of every phase and starts it again.

The end must be that of a run that nobody killed.

python tests/faults/kills.py [KILLS] [SEED]
"""

import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import JOB, environment, outcome
from victim import CHECKPOINT_SECONDS, PHASES

STEPS = 24


def run(folder: Path, log: Path, phase: str, fraction: float) -> tuple[int, str]:
    """One sitting of the job, killed in `phase`; its exit code and what it printed."""
    job = [
        *JOB,
        "--models",
        "mopoe",
        "--set",
        f"steps={STEPS}",
        "--jobs",
        "1",
        "--results",
        str(folder / "results"),
    ]
    victim = [
        sys.executable,
        str(Path(__file__).with_name("victim.py")),
        phase,
        str(fraction),
        str(log),
        "--",
    ]
    ended = subprocess.run(
        [*victim, *job], env=environment(folder), capture_output=True, text=True, timeout=600, check=False
    )
    assert "Traceback" not in ended.stdout + ended.stderr, ended.stdout + ended.stderr
    return ended.returncode, ended.stdout


def kill_often(folder: Path, kills: int, seed: int) -> str:
    """Kill `kills` times over as many jobs as that takes; AssertionError where something is lost.

    What happened, in a sentence.
    """
    chance, log, began = random.Random(seed), folder / "times.json", time.monotonic()
    code, text = run(folder / "whole", log, "none", 0)
    assert code == 0, text
    whole = outcome(folder / "whole" / "results")
    killed = dict.fromkeys(PHASES, 0)
    jobs = 0
    while sum(killed.values()) < kills:
        jobs += 1
        assert jobs <= kills // 2 + 5, f"most jobs are over before they are killed: {killed}"
        left = kills - sum(killed.values())
        for phase in sorted(chance.sample(PHASES, min(left, len(PHASES))), key=PHASES.index):
            code, text = run(folder / f"job{jobs}", log, phase, chance.random())
            assert code in (0, -9), text
            killed[phase] += code == -9  # some phases are over before
        code, text = run(folder / f"job{jobs}", log, "done", 0)
        assert code == 0, text
        assert outcome(folder / f"job{jobs}" / "results") == whole, f"job {jobs} of seed {seed} differs"
        assert not list((folder / f"job{jobs}").rglob("*.part"))
    lines = [json.loads(line) for line in log.with_suffix(".kills").read_text().splitlines()]
    lost = [line["lost"] for line in lines if line["phase"] in ("training", "checkpoint")] or [0.0]
    times = json.loads(log.read_text())
    # a step and the writing come on top
    allowed = CHECKPOINT_SECONDS + times["training"] / STEPS + times["checkpoint"]
    # three times, for other work on the machine
    assert max(lost) <= 3 * allowed, f"{max(lost):.2f} s of training lost, {allowed:.2f} s expected at most"
    where = ", ".join(f"{phase} {count}" for phase, count in killed.items())
    return (
        f"{len(lines)} kills ({where}) in {jobs} jobs, all of which ended with the bits of the job that "
        "nobody killed, in "
        f"{time.monotonic() - began:.0f} s; lost per kill in training or at a checkpoint: "
        f"mean {sum(lost) / len(lost):.2f} s, at most {max(lost):.2f} s, with a checkpoint every "
        f"{CHECKPOINT_SECONDS} s."
    )


if __name__ == "__main__":
    count, seed = (int(word) for word in (*sys.argv[1:], *("30", "0")[len(sys.argv) - 1 :]))
    with tempfile.TemporaryDirectory() as scratch:
        print(kill_often(Path(scratch), count, seed))
