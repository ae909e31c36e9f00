"""How many CPU threads torch computes with: part of a result's last bits."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["computing_threads"]


@contextmanager
def computing_threads(count: int) -> Iterator[None]:
    """Have torch compute with `count` threads inside of the block."""
    usual = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(usual)
