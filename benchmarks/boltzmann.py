"""What a training step of a restricted Boltzmann machine costs beside its matrix products.

python benchmarks/boltzmann.py --threads 1

CD-1 of a 784-500 machine at batch 256, with plain gradient descent. Its products: v W twice and h W' once for
the chain, v'h twice for the gradient, so that a step takes 5/3 of the chain's at least. Both sides take turns
in one process, the ratio is taken within each round and its median printed.
"""

from statistics import median

import click
import torch

from benchmarks.bench import alternate, seconds
from models.boltzmann.rbm import RBM
from models.boltzmann.units import Bernoulli, sample_bernoulli

VISIBLE, HIDDEN = 784, 500


def make_step(batch: int):
    """A function that takes one CD-1 step."""
    torch.manual_seed(0)
    rbm = RBM(Bernoulli(VISIBLE), HIDDEN)
    v = sample_bernoulli(torch.full((batch, VISIBLE), 0.13))
    optimizer = torch.optim.SGD(rbm.parameters(), lr=0.01, fused=True)

    def step() -> None:
        loss = rbm.cd_loss(v)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step


def make_products(batch: int, gradient: bool):
    """A function that computes the products of the chain, with or without those of the gradient."""
    v, h, weight = torch.rand(batch, VISIBLE), torch.rand(batch, HIDDEN), torch.randn(VISIBLE, HIDDEN)

    def products() -> None:
        v @ weight
        h @ weight.T
        v @ weight
        if gradient:
            v.T @ h
            v.T @ h

    return products


@click.command(help=__doc__)
@click.option("--threads", default=1, show_default=True, help="of either side")
@click.option("--batch", default=256, show_default=True)
@click.option("--steps", default=50, show_default=True, help="between two looks at the clock")
@click.option("--repeats", default=9, show_default=True, help="rounds")
def main(threads: int, batch: int, steps: int, repeats: int) -> None:
    torch.set_num_threads(threads)
    sides = {
        "step": make_step(batch),
        "chain's three products": make_products(batch, gradient=False),
        "all five products": make_products(batch, gradient=True),
    }
    times = alternate(
        {
            name: lambda side=side: seconds(lambda: [side() for _ in range(steps)]) / steps
            for name, side in sides.items()
        },
        repeats,
    )
    for name, found in times.items():
        ratio = median(step / each for step, each in zip(times["step"], found, strict=True))
        click.echo(f"{name}: {1000 * median(found):.2f} ms, the step takes {ratio:.2f} times as long")


if __name__ == "__main__":
    main()
