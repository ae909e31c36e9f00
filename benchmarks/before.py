"""How fast training is beside another version of this repository, in one sitting on one machine.

    git worktree add ../before COMMIT
    python benchmarks/before.py ../before --data-dir DATA

Each version is a process of its own, which makes the same steps from the same weights. They take turns, A B A
B, so that whatever else the machine does falls on both; a ratio is taken within each round.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np

HERE = Path(__file__).resolve().parent.parent
WORKER = """
import json, sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])
import torch

import mmbench
from benchmarks import ours
from benchmarks.bench import Bench, Work
from mmbench.data.batches import Batches

for module in (mmbench, ours):
    assert Path(module.__file__).is_relative_to(sys.argv[1])  # and not what is installed
torch.set_num_threads(int(sys.argv[2]))
data = Bench(Work(), 1, 1, Path(sys.argv[3]) if sys.argv[3] else None).data
batches, models = Batches(data.train, data.modalities, 256, seed=0), {}
for line in sys.stdin:
    asked = json.loads(line)
    key = asked["model"], asked["precision"]
    if key not in models:
        models = {key: ours.make_model(asked["model"], data.modalities)}
    print(ours.train(models[key], batches, asked["steps"], asked["precision"]), flush=True)
"""


@dataclass(frozen=True)
class Asked:
    """Steps that a worker is asked to make."""

    model: str
    precision: str
    steps: int


class Version:
    """A process that trains with the code of one folder."""

    def __init__(self, root: Path, threads: int, data_dir: Path | None):
        words = [str(root.resolve()), str(threads), str(data_dir.resolve()) if data_dir else ""]
        self.root = root
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> "Version":
        return self

    def __exit__(self, *_: Any) -> None:
        self.process.kill()
        self.process.wait()

    def seconds(self, asked: Asked) -> float:
        """How long the steps took.

        Raises:
            click.ClickException: where the process ended instead.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps(asdict(asked)) + "\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            raise click.ClickException(f"{self.root} could not train {asked}: its error stands above.")
        return float(answer)


def ratios(now: Version, before: Version, asked: Asked, repeats: int) -> list[float]:
    """Rates of this version in those of the other one, round by round: above 1 where this one is faster."""
    from benchmarks.bench import alternate

    for version in (now, before):
        version.seconds(Asked(asked.model, asked.precision, 2))  # libraries choose their kernels at first
    sides = {"now": partial(now.seconds, asked), "before": partial(before.seconds, asked)}
    found = alternate(sides, repeats)
    return [old / new for old, new in zip(found["before"], found["now"], strict=True)]


def show(asked: Asked, found: Sequence[float]) -> str:
    """A line of the table."""
    low, median, high = np.quantile(found, [0.25, 0.5, 0.75])
    return f"| {asked.model} | {asked.precision} | {median:.3f} | {low:.3f} to {high:.3f} | {len(found)} |"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("other", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--models", default="cnf-mvae,mopoe,mmvae,cada-vae,mvae", show_default=True)
@click.option("--precisions", default="fp32,bf16", show_default=True)
@click.option("--steps", default=10, show_default=True, type=click.IntRange(1), help="Of a round.")
@click.option("--repeats", default=7, show_default=True, type=click.IntRange(1), help="Rounds.")
@click.option("--threads", default=1, show_default=True, type=click.IntRange(1), help="Of either version.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Of MNIST and SVHN; else embedded digits.")
def main(
    other: Path,
    models: str,
    precisions: str,
    steps: int,
    repeats: int,
    threads: int,
    data_dir: Path | None,
) -> None:
    """Compare the rate of training with that of the version in the folder OTHER."""
    click.echo("| model | precision | rate now / before: median | quartiles | rounds |")
    click.echo("| :-- | :-- | --: | --: | --: |")
    with ExitStack() as stack:
        now, before = (
            stack.enter_context(Version(root, threads, data_dir)) for root in (HERE, other.resolve())
        )
        for model in models.split(","):
            for precision in precisions.split(","):
                asked = Asked(model, precision, steps)
                click.echo(show(asked, ratios(now, before, asked, repeats)))


if __name__ == "__main__":
    sys.path[0] = str(HERE)  # of a script it is the script's own folder
    main()
