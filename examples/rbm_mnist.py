"""A restricted Boltzmann machine with 500 hidden units on MNIST, trained by persistent contrastive divergence.

python examples/rbm_mnist.py rbm.pt --data-dir DATA                     # trains; goes on where it was stopped
python examples/rbm_mnist.py rbm.pt --data-dir DATA --steps 20000       # a shorter one

Pixels are probabilities of binary pixels, drawn anew for every batch. The learning rate of plain gradient descent falls
linearly to zero, so that the chains can follow the model. One thread.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch

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


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--data-dir", type=Path, required=True, help="folder with mnist_train.npz")
    parser.add_argument("--steps", type=int, default=60_000)
    parser.add_argument("--rate", type=float, default=0.1, help="the learning rate at first")
    options = parser.parse_args()
    torch.set_num_threads(1)
    train(read_images(options.data_dir, "train"), options.checkpoint, options.steps, options.rate)
