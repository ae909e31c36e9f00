"""A restricted Boltzmann machine with 500 hidden units on MNIST, by persistent contrastive divergence.

python examples/rbm_mnist.py rbm.pt --data-dir DATA                     # trains; goes on where it was stopped
python examples/rbm_mnist.py rbm.pt --data-dir DATA --steps 20000       # a shorter one
python examples/rbm_mnist.py rbm.pt --data-dir DATA --likelihood        # and its likelihood
python examples/rbm_mnist.py rbm.pt --data-dir DATA --pictures docs/pictures

Pixels are probabilities of binary pixels, drawn anew for every batch. The learning rate of plain gradient
descent falls linearly to zero, so that the chains can follow the model. One thread.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from torchvision.utils import save_image

from metrics.partition import SCHEDULE, likelihood_bracket, log_partition, reverse_log_partition
from models.boltzmann.annealing import base_rates
from models.boltzmann.rbm import RBM
from models.boltzmann.units import Bernoulli, sample_bernoulli

HIDDEN = 500
BATCH = 100  # images, and chains
EVERY = 1_000  # steps between checkpoints


def read_images(folder: Path, part: str) -> torch.Tensor:
    """(N, 784) floats in [0, 1] of MNIST's part "train" or "test"."""
    with np.load(folder / f"mnist_{part}.npz") as arrays:
        return torch.from_numpy(arrays["images"]).flatten(1) / 255


def new_rbm(images: torch.Tensor) -> RBM:
    """An RBM whose visible biases are the log-odds of each pixel's mean (Hinton 2012, section 8.1)."""
    rbm = RBM(Bernoulli(images.shape[1]), HIDDEN)
    with torch.no_grad():
        rbm.visible_bias.copy_(images.mean(0).clamp(0.01, 0.99).logit())
    return rbm


def train(images: torch.Tensor, path: Path, steps: int, rate: float) -> RBM:
    """Train up to `steps` in all, from the checkpoint at `path` where there is one."""
    torch.manual_seed(0)
    rbm = new_rbm(images)
    chains = rbm.chains(BATCH)
    optimizer = torch.optim.SGD(rbm.parameters(), lr=rate, fused=True)
    first, seconds = 0, 0.0
    if path.exists():
        saved = torch.load(path)
        rbm.load_state_dict(saved["rbm"])
        chains.load_state_dict(saved["chains"])
        torch.set_rng_state(saved["random_state"])
        first, seconds = saved["step"], saved["cpu_seconds"]
    began = time.process_time() - seconds
    for step in range(first, steps):
        optimizer.param_groups[0]["lr"] = rate * (1 - step / steps)
        v = sample_bernoulli(images[torch.randint(len(images), (BATCH,))])
        loss = rbm.pcd_loss(v, chains)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if (step + 1) % EVERY == 0 or step + 1 == steps:
            state = {
                "rbm": rbm.state_dict(),
                "chains": chains.state_dict(),
                "random_state": torch.get_rng_state(),
                "step": step + 1,
                "cpu_seconds": time.process_time() - began,
            }
            torch.save(state, path.with_suffix(".new"))
            path.with_suffix(".new").replace(path)
            print(f"step {step + 1}, {state['cpu_seconds']:.0f} CPU seconds", flush=True)
    return rbm


def print_likelihood(rbm: RBM, train_images: torch.Tensor, test_images: torch.Tensor) -> None:
    """The bracket of the mean log-likelihood of binarised test images, with the published schedule."""
    generator = torch.Generator().manual_seed(0)
    v = sample_bernoulli(test_images, generator)
    path = rbm.path(base_rates(train_images.mean(0)))
    forward = log_partition(path, SCHEDULE, 100, generator)
    back = reverse_log_partition(path, {"visible": v[:: len(v) // 100]}, SCHEDULE, generator)
    with torch.no_grad():
        bracket = likelihood_bracket(-rbm.free_energy_of(v), forward, back)
    print(f"log Z: {forward.value:.2f} (AIS), {back.value:.2f} (reverse AIS)")
    print(f"test log-likelihood: {bracket.low:.2f} +- {bracket.low_error:.2f} from below,")
    print(
        f"                     {bracket.high:.2f} +- {bracket.high_error:.2f} from above, in nats per image"
    )


def save_pictures(rbm: RBM, folder: Path) -> None:
    """The 60 filters of the largest weights, and 60 chains after 5,000 steps from noise."""
    with torch.no_grad():
        chosen = rbm.weight.norm(dim=0).argsort(descending=True)[:60]
        filters = rbm.weight[:, chosen].T
        drawn = rbm.draw(60, 5_000, torch.Generator().manual_seed(0))
        means = rbm.visible_means(rbm.hidden_means(drawn))
    limit = filters.abs().amax(1, keepdim=True)
    for name, images in (("filters", 0.5 + filters / (2 * limit)), ("samples", means)):
        save_image(images.view(-1, 1, 28, 28), folder / f"rbm-{name}.png", nrow=12, pad_value=0.3)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--data-dir", type=Path, required=True, help="folder with mnist_train.npz")
    parser.add_argument("--steps", type=int, default=48_000)
    parser.add_argument("--rate", type=float, default=0.1, help="the learning rate at first")
    parser.add_argument("--likelihood", action="store_true", help="print the likelihood of the test images")
    parser.add_argument("--pictures", type=Path, help="folder for pictures of filters and samples")
    options = parser.parse_args()
    torch.set_num_threads(1)
    images = read_images(options.data_dir, "train")
    machine = train(images, options.checkpoint, options.steps, options.rate)
    if options.likelihood:
        print_likelihood(machine, images, read_images(options.data_dir, "test"))
    if options.pictures:
        save_pictures(machine, options.pictures)
