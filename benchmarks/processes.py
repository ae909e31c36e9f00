"""Rows about whole processes: peak memory of a run, and the time until the command line answers."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.bench import Bench, alternate, seconds
from benchmarks.table import Row
from models.errors import InputError

__all__ = ["memory", "start"]

GIB = 2**30

# It prints the kernel's own high-water mark of the process: what getrusage says of a child includes the
# parent that it was forked from.
RUN = """
import sys
from pathlib import Path
from mmbench.cli import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    if end.code:
        raise
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(int(peak.split()[1]) * 1024)
"""


def run_peak(arguments: list[str], cache: Path, threads: int) -> int:
    """Peak resident bytes of `mmbench` with these arguments, in a process of its own."""
    environment = {**os.environ, "MMBENCH_CACHE": str(cache), "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(
        [sys.executable, "-c", RUN, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"`mmbench {' '.join(arguments)}` failed:\n{done.stdout}{done.stderr}")
    return int(done.stdout.split()[-1])


def memory(bench: Bench) -> list[Row]:
    """A whole run on mnist-svhn with few training steps: training, judges, evaluation and report.

    Memory does not grow with the number of steps.
    """
    if bench.data_dir is None:
        raise InputError(
            "The row on memory is about mnist-svhn: name the folder of its images with --data-dir."
        )
    if not Path("/proc/self/status").exists():
        raise InputError("The row on memory reads /proc, which only Linux has: leave it out of --rows.")
    splits = (bench.data.train, bench.data.validation, bench.data.test)
    images = sum(items.nbytes for split in splits for items in split.items.values()) / GIB
    steps = bench.work.steps
    sizes = {
        "steps": steps,
        "batch_size": bench.work.batch,
        "latent_size": bench.work.latent,
        "judge_steps": steps,
        "draws": 2 * bench.work.draws,
        "joint_draws": bench.work.draws,
    }
    words = ["run", "--models", "mopoe", "--dataset", "mnist-svhn", "--preset", "quick", "--jobs", "1"]
    words += [word for name, value in sizes.items() for word in ("--set", f"{name}={value}")]

    def peak() -> float:
        with TemporaryDirectory() as folder:
            arguments = [*words, "--results", folder, "--data-dir", str(bench.data_dir)]
            return run_peak(arguments, Path(folder) / "cache", bench.threads) / GIB

    found = [peak() for _ in range(min(2, bench.repeats))]
    work = (
        f"`mmbench run` of MoPoE on mnist-svhn with {steps} steps, its judges, evaluation and report (ours) "
        "against its uint8 images (theirs)"
    )
    return [Row("peak resident memory", "GiB", found, [images] * len(found), "excess", 1.2, None, work)]


def start(bench: Bench) -> list[Row]:
    """`mmbench models`, which reads the registry, against what any program with PyTorch waits for."""

    def call(*arguments: str) -> float:
        return seconds(
            partial(subprocess.run, [sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
        )

    sides = {"ours": partial(call, "-m", "mmbench", "models"), "theirs": partial(call, "-c", "import torch")}
    alternate(sides, 1)  # files come from the disk once
    found = alternate(sides, bench.repeats + 2)
    work = "processes of `mmbench models` (ours) and `import torch` (theirs), from start to end"
    return [Row("start", "s", found["ours"], found["theirs"], "excess", 0.3, None, work)]
