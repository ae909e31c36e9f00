"""Training steps per second on a GPU: launched one by one, recorded as a CUDA graph, compiled and recorded.

    python benchmarks/gpu.py gpu.csv --data-dir DATA --minutes 12

measures MNIST-SVHN in batches of 256, row by row in order of worth, until the minutes are over. A row is
written as soon as it is there, and what the file holds for this device is not measured again: the same
command goes on. `--device cpu` tries the script where there is no GPU.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import click
import pandas as pd
import torch

import mmbench
from mmbench.data.base import MultimodalData
from mmbench.data.batches import Batches
from mmbench.plan.choices import pick_device
from mmbench.plan.environment import describe_environment
from mmbench.plan.presets import Training
from mmbench.training.memory import PeakMemory
from mmbench.training.recorded import wait_for
from mmbench.training.trainer import Trainer, Watch
from models.errors import InputError
from models.names import find_models

__all__ = ["measure", "rows"]

COLUMNS = ["device", "model", "settings", "precision", "step"]
SECONDS = 4.0  # of steps behind a figure
WARM = 10  # steps before them: kernels are loaded, graphs recorded
SETTINGS: dict[str, dict[str, object]] = {
    "": {},
    "K=30 Laplace": {"samples": 30, "posterior": "laplace"},
}


def rows(device: torch.device) -> Iterator[tuple[str, str, str, str]]:
    """(model, settings, precision, step) of every measurement, the most telling first."""
    graphs = ["captured", "compiled"] if device.type == "cuda" else ["compiled"]
    names = [entry.name for entry in find_models("all")]
    first = ["cnf-mvae", "mopoe"]
    for name in first:
        yield from ((name, "", "bf16", step) for step in ("eager", *graphs))
    yield from (("mmvae", "K=30 Laplace", "bf16", step) for step in graphs)
    for step in ("eager", *graphs[:1]):
        yield from ((name, "", "bf16", step) for name in names if name not in first)
    yield from ((name, "", precision, graphs[0]) for name in first for precision in ("fp32", "tf32"))
    adapted = ("multivae-mopoe", "multivae-mmvae")
    yield from ((name, "", "fp32", "eager") for name in adapted)


def measure(
    data: MultimodalData, name: str, settings: str, precision: str, step: str, device: torch.device
) -> dict[str, float | str]:
    """Steps per second, seconds of compiling and recording, peak memory in MiB, and what the trainer said."""
    model = mmbench.make_model(name, data, 0, **SETTINGS[settings]).to(device)
    batches = Batches(data.train, data.modalities, 256, 0, device, model.uses_labels)
    memory, ends, said = PeakMemory(device), [], []

    def enough() -> bool:
        if len(ends) < WARM or len(ends) % 10 == 0:  # a wait for every step would slow them down
            wait_for(device)
        ends.append(time.monotonic())
        return len(ends) > WARM and ends[-1] - ends[WARM - 1] > SECONDS

    budget, watch = Training(steps=1_000_000, batch_size=256), Watch(stop=enough, say=said.append)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    trainer = Trainer(model, batches, budget, None, precision if precision == "bf16" else "fp32", watch, step)
    trainer.run()
    wait_for(device)
    rate = (len(ends) - WARM) / (time.monotonic() - ends[WARM - 1])
    return {
        "steps_per_second": round(rate, 1),
        "compile_seconds": round(trainer.compile_seconds, 1),
        **memory.found(),
        "said": " ".join(said),
    }


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
    for row in rows(place):
        key = (str(here["device"]), *row)
        if key in set(table[COLUMNS].itertuples(index=False, name=None)):
            continue
        if time.monotonic() > end:
            click.echo("The time is up: the same command goes on from here.")
            break
        try:
            found = measure(data, *row, place)
        except (RuntimeError, InputError) as error:  # one model that fails is no reason to lose the others
            found = {"said": f"failed: {error}".splitlines()[0]}
        added = pd.DataFrame([{**dict(zip(COLUMNS, key, strict=True)), **found, "torch": here["torch"]}])
        table = added if table.empty else pd.concat([table, added], ignore_index=True)
        table.to_csv(file, index=False, lineterminator="\n")
        click.echo(f"{' '.join(filter(None, row))}: {found}")
    click.echo(table.to_string())


if __name__ == "__main__":
    main()
