"""Training steps per second on a GPU: launched one by one, recorded as a CUDA graph, compiled and recorded;
of one run, and of several at once.

    python benchmarks/gpu.py gpu.csv --data-dir DATA --minutes 12

measures MNIST-SVHN in batches of 256, row by row in order of worth, until the minutes are over. A row is
written as soon as it is there, and what the file holds for this device is not measured again: the same
command goes on. `--device cpu` tries the script where there is no GPU.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click
import pandas as pd
import torch

import mmbench
from mmbench.console import Console
from mmbench.data.base import MultimodalData
from mmbench.data.batches import Batches
from mmbench.execution.signals import Stop
from mmbench.execution.together import take_turns
from mmbench.plan.choices import pick_device
from mmbench.plan.environment import describe_environment
from mmbench.plan.presets import Training
from mmbench.storage.files import write_atomically
from mmbench.training.memory import PeakMemory
from mmbench.training.recorded import wait_for
from mmbench.training.trainer import Trainer, Watch
from models.errors import InputError
from models.names import find_models

__all__ = ["measure", "rows"]

COLUMNS = ["device", "model", "settings", "precision", "step", "at_once"]
SECONDS = 4.0  # of steps behind a figure
FAILED = "failed"  # what a row says that is to be tried again
WARM = 10  # steps before them: kernels are loaded, graphs recorded
SETTINGS: dict[str, dict[str, object]] = {
    "": {},
    "K=30 Laplace": {"samples": 30, "posterior": "laplace"},
}


class Row(NamedTuple):
    """What is measured: a model with settings, its precision, its steps, and how many such runs at once."""

    model: str
    settings: str
    precision: str
    step: str
    at_once: int = 1


def rows(device: torch.device) -> Iterator[Row]:
    """Every measurement, the most telling first."""
    graphs = ["captured", "compiled"] if device.type == "cuda" else ["compiled"]
    names = [entry.name for entry in find_models("all")]
    first = ["cnf-mvae", "mopoe"]
    for name in first:
        yield from (Row(name, "", "bf16", step) for step in ("eager", *graphs))
    yield from (Row("mmvae", "K=30 Laplace", "bf16", step) for step in graphs)
    yield from (Row("cnf-mvae", "", "bf16", graphs[0], count) for count in (8, 4, 2))
    for step in ("eager", *graphs[:1]):
        yield from (Row(name, "", "bf16", step) for name in names if name not in first)
    yield from (Row(name, "", precision, graphs[0]) for name in first for precision in ("fp32", "tf32"))
    yield Row("cnf-mvae", "", "bf16", graphs[-1], 8)  # late: every one of them is compiled
    adapted = ("multivae-mopoe", "multivae-mmvae")
    yield from (Row(name, "", "fp32", "eager") for name in adapted)


def measure(data: MultimodalData, row: Row, device: torch.device) -> dict[str, float | str]:
    """Steps per second of all runs together, seconds of compiling and recording of the longest, peak memory
    of the process in MiB, and what the trainers said.

    Raises:
        RuntimeError: where a run fails.
    """
    memory, trainers, rates = PeakMemory(device), [], []
    said: list[str] = []
    problems: list[str] = []

    def work(number: int, console: Console, turn: Stop) -> bool:
        trainer, rate = _train(data, row, device, turn, said)
        trainers.append(trainer)
        rates.append(rate)
        return True

    def lost(number: int, how: str) -> None:
        problems.append(how)

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = row.precision == "tf32"
    take_turns(range(row.at_once), work, row.at_once, device, Console(), Stop(), lost)
    if problems:
        raise RuntimeError(problems[0])
    return {
        "steps_per_second": round(sum(rates), 1),
        "compile_seconds": round(max(trainer.compile_seconds for trainer in trainers), 1),
        **memory.found(),
        "said": " ".join(said),
    }


def _train(
    data: MultimodalData, row: Row, device: torch.device, turn: Stop, said: list[str]
) -> tuple[Trainer, float]:
    """The trainer of one run, and its steps per second."""
    model = mmbench.make_model(row.model, data, 0, **SETTINGS[row.settings]).to(device)
    batches = Batches(data.train, data.modalities, 256, 0, device, model.uses_labels)
    ends: list[float] = []

    def enough() -> bool:
        if len(ends) < WARM or len(ends) % 10 == 0:  # a wait for every step would slow them down
            wait_for(device)
        ends.append(time.monotonic())
        turn.check()
        return len(ends) > WARM and ends[-1] - ends[WARM - 1] > SECONDS

    budget, watch = Training(steps=1_000_000, batch_size=256), Watch(stop=enough, say=said.append)
    precision = row.precision if row.precision == "bf16" else "fp32"
    trainer = Trainer(model, batches, budget, None, precision, watch, row.step)
    trainer.run()
    wait_for(device)
    return trainer, (len(ends) - WARM) / (time.monotonic() - ends[WARM - 1])


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--data-dir", type=click.Path(path_type=Path), envvar="MMBENCH_DATA", help="Where images are.")
@click.option("--dataset", default="mnist-svhn", show_default=True)
@click.option("--device", default="cuda", show_default=True)
@click.option("--minutes", type=click.FloatRange(0), default=12.0, show_default=True)
def main(file: Path, data_dir: Path | None, dataset: str, device: str, minutes: float) -> None:
    """Write steps per second to FILE."""
    end = time.monotonic() + 60 * minutes
    try:
        place = pick_device(device)
        data = mmbench.load_data(dataset, data_dir)
    except InputError as error:
        raise click.UsageError(str(error)) from None
    here = describe_environment(place)
    table = pd.read_csv(file, keep_default_na=False) if file.exists() else pd.DataFrame(columns=COLUMNS)
    table = table[~table["said"].astype(str).str.startswith(FAILED)] if len(table) else table  # tried again
    for row in rows(place):
        key = (str(here["device"]), *row)
        if key in set(table[COLUMNS].itertuples(index=False, name=None)):
            continue
        if time.monotonic() > end:
            click.echo("The time is up: the same command goes on from here.")
            break
        try:
            found = measure(data, row, place)
        except (RuntimeError, InputError) as error:  # one model that fails is no reason to lose the others
            found = {"said": f"{FAILED}: {error}".splitlines()[0]}
        added = pd.DataFrame([{**dict(zip(COLUMNS, key, strict=True)), **found, "torch": here["torch"]}])
        table = added if table.empty else pd.concat([table, added], ignore_index=True)
        write_atomically(file, table.to_csv(index=False, lineterminator="\n").encode())
        click.echo(f"{' '.join(str(part) for part in row if part)}: {found}")
    click.echo(table.to_string())


if __name__ == "__main__":
    main()
