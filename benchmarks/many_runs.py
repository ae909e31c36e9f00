"""What many runs cost this machine: to plan them, and `mmbench report` over their folders.

    python benchmarks/many_runs.py --runs 10 --runs 1000 --runs 10000

measures seconds and memory of so many synthetic finished runs of four models, with as many seeds as it takes.
They are made of the published runs of `digits`: their files, and metrics of tables 1-3 that differ a little.
Samples and histories are links to one copy, which saves disk but no reading: a report checks the hash of
every file of every run.
"""

import json
import os
import resource
import shutil
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np

from metrics.catalogue import DEFAULT, group_of
from mmbench.data import load_data
from mmbench.plan.environment import describe_environment
from mmbench.plan.job import JobOptions, check_job
from mmbench.plan.planned import announce, plan_runs
from mmbench.storage.files import FORMAT, content_hash, file_hash

PUBLISHED = Path(__file__).parents[1] / "results" / "published" / "digits" / "quick"
SOURCES = ("cnf-mvae", "mopoe", "mmvae", "cada-vae")
GIB = 2**30


def make_runs(root: Path, runs: int, models: int) -> Path:
    """A results folder in `root` with `runs` finished runs: seed after seed of each of `models` models."""
    rng = np.random.default_rng(0)
    for name in SOURCES:
        shutil.copytree(PUBLISHED / name, root / "sources" / name)  # links do not lead to another disk
    for number in range(runs):
        seed, model = divmod(number, models)
        folder = root / "results" / "digits" / "quick" / f"model-{model}" / f"seed-{seed}"
        _make_run(folder, root / "sources" / SOURCES[model % len(SOURCES)] / "seed-0", model, seed, rng)
    return root / "results"


def _make_run(folder: Path, source: Path, model: int, seed: int, rng: np.random.Generator) -> None:
    """A run like that in `source`, with metrics up to a tenth smaller."""
    (folder / "samples").mkdir(parents=True)
    files = {
        path.relative_to(source).as_posix(): path
        for path in (source / "history.csv", *sorted((source / "samples").iterdir()))
    }
    for name, path in files.items():
        os.link(path, folder / name)
    config, status, metrics = (
        json.loads((source / f"{name}.json").read_text()) for name in ("config", "status", "metrics")
    )
    config |= {"model": f"model-{model}", "title": f"Model {model}", "seed": seed, "hash": f"{model:016x}"}
    status |= {"hash": config["hash"], "seed": seed}
    metrics |= {
        "hash": config["hash"],
        "seed": seed,
        "files": {name: file_hash(path) for name, path in files.items()},
    }
    asked = {name: value for name, value in metrics["metrics"].items() if group_of(name) in DEFAULT}
    metrics["metrics"] = {
        name: None if value is None else float(value * rng.uniform(0.9, 1)) for name, value in asked.items()
    }
    for name, content in (("config", config), ("status", status), ("metrics", metrics)):
        content = {key: value for key, value in content.items() if key != "checksum"} | {"format": FORMAT}
        (folder / f"{name}.json").write_text(
            json.dumps(content | {"checksum": content_hash(content)}, indent=1)
        )


def measure_plan(results: Path, runs: int) -> dict[str, float]:
    """CPU seconds and MiB that it takes to plan `runs` runs of four models and write their configurations."""
    seeds = ",".join(map(str, range(-(-runs // len(SOURCES)))))
    options = JobOptions(
        ",".join(SOURCES), "digits", "quick", seeds, results=results, precision="fp32", device="cpu"
    )
    job = check_job(options)
    data = load_data("digits", None, job.configs[0].data)
    began = time.process_time()
    planned = plan_runs(job, data)
    announce(planned, {**describe_environment(job.execution.home), "threads": 1})
    seconds = time.process_time() - began
    tracemalloc.start()  # which slows everything down: seconds are of the first time
    planned = plan_runs(job, data)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return {"CPU seconds": seconds, "MiB": held / 2**20}


def measure_report(root: Path) -> dict[str, float]:
    """Seconds on the clock and of the CPU, and GiB at the peak, of `mmbench report` over `root`."""
    # the process prints its own peak: ru_maxrss of a child begins with that of this process
    code = """
import sys
from mmbench.cli import main
main(["report", "--results", sys.argv[1]], standalone_mode=False)
print(open("/proc/self/status").read().partition("VmHWM:")[2].split()[0])
"""
    before, began = _cpu_seconds(), time.monotonic()
    done = subprocess.run([sys.executable, "-c", code, str(root)], capture_output=True, text=True, check=True)
    return {
        "seconds": time.monotonic() - began,
        "CPU seconds": _cpu_seconds() - before,
        "GiB": int(done.stdout.split()[-1]) * 1024 / GIB,
        "report.html MB": sum(path.stat().st_size for path in root.rglob("report.html")) / 1e6,
        "results.json MB": sum(path.stat().st_size for path in root.rglob("results.json")) / 1e6,
    }


def _cpu_seconds() -> float:
    """CPU time of the finished child processes."""
    used: Any = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@click.command()
@click.option(
    "--runs",
    "counts",
    type=int,
    multiple=True,
    default=(10, 1000),
    show_default=True,
    help="How many; may be repeated.",
)
@click.option("--models", default=4, show_default=True, help="Models that reported runs are of.")
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    help="Where to make them for a while (default: where temporary folders are).",
)
def main(counts: tuple[int, ...], models: int, folder: Path | None) -> None:
    """Measure and print a line for each number of runs."""
    for count in counts:
        with TemporaryDirectory(dir=folder) as root:
            print(f"{count} runs planned: {_spell(measure_plan(Path(root) / 'planned', count))}", flush=True)
            results = make_runs(Path(root), count, models)
            print(f"report of {count} runs of {models} models: {_spell(measure_report(results))}", flush=True)


def _spell(measured: dict[str, float]) -> str:
    return ", ".join(f"{value:.2f} {name}" for name, value in measured.items())


if __name__ == "__main__":
    main()
