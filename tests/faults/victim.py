"""`mmbench`, killed with SIGKILL from within: `victim.py PHASE FRACTION LOG -- ARGUMENTS`.

FRACTION of the time that PHASE took when it was last seen whole (in LOG) after its beginning, the process is
gone. PHASE "none" kills
nothing and writes the times to LOG. What is lost goes there too: the seconds of training since the last
checkpoint.
"""

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import torch

import metrics.references.judges
import mmbench.execution.cached_references
import mmbench.execution.run_job
import mmbench.report
import mmbench.storage.files
import mmbench.training.trainer
from mmbench.cli import main
from mmbench.training.checkpoints import Checkpoints

PHASES = ("data", "judge", "training", "checkpoint", "evaluation", "report")
CHECKPOINT_SECONDS = 0.3


class Victim:
    def __init__(self, phase: str, fraction: float, log: Path):
        self.phase, self.fraction, self.log = phase, fraction, log
        self.times = json.loads(log.read_text()) if log.exists() else {}
        self.safe = None  # when training last began, or was last saved

    def wrap(self, phase, function):
        """`function`, with the clock running."""

        def wrapped(*args, **kwargs):
            began = time.monotonic()
            checkpoints = {"training": lambda: args[0].checkpoints, "checkpoint": lambda: args[0]}.get(phase)
            # the short training behind an estimate
            if checkpoints and "seed-" not in str(checkpoints().path):
                return function(*args, **kwargs)
            if phase == self.phase:
                timer = threading.Timer(self.fraction * self.times.get(phase, 1.0), self.kill)
                timer.daemon = True  # not after the end
                timer.start()
            if phase == "training":
                self.safe = began
            found = function(*args, **kwargs)
            if phase == "checkpoint":
                self.safe = time.monotonic()
            if self.phase == "none":
                self.times[phase] = time.monotonic() - began
                self.log.write_text(json.dumps(self.times))
            return found

        return wrapped

    def kill(self):
        lost = time.monotonic() - self.safe if self.phase in ("training", "checkpoint") and self.safe else 0.0
        with self.log.with_suffix(".kills").open("a") as file:
            file.write(json.dumps({"phase": self.phase, "lost": lost}) + "\n")
        os.kill(os.getpid(), signal.SIGKILL)


def slowly(write):
    """Checkpoints as a slow disk takes them: in pieces, so that some kills find one half-written."""

    def wrapped(path, content, previous=None):
        def in_pieces(file):
            size = len(content) // 8 + 1
            for first in range(0, len(content), size):
                file.write(content[first : first + size])
                file.flush()
                time.sleep(0.02)

        return write(path, in_pieces, previous)

    return wrapped


if __name__ == "__main__":
    victim = Victim(sys.argv[1], float(sys.argv[2]), Path(sys.argv[3]))
    torch.set_num_threads(1)
    mmbench.training.trainer.CHECKPOINT_SECONDS = CHECKPOINT_SECONDS
    mmbench.execution.run_job.load_data = victim.wrap("data", mmbench.execution.run_job.load_data)
    metrics.references.judges.train_judge = victim.wrap("judge", metrics.references.judges.train_judge)
    mmbench.training.trainer.Trainer.run = victim.wrap("training", mmbench.training.trainer.Trainer.run)
    import mmbench.training.checkpoints

    mmbench.training.checkpoints.write_atomically = slowly(mmbench.training.checkpoints.write_atomically)
    Checkpoints.save = victim.wrap("checkpoint", Checkpoints.save)
    import mmbench.execution.train

    mmbench.execution.train.evaluate_run = victim.wrap("evaluation", mmbench.execution.train.evaluate_run)
    mmbench.report.write_report = victim.wrap("report", mmbench.report.write_report)
    main(sys.argv[5:])
