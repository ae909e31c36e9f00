"""Checkpoints: what a training needs to go on, in two files, so that one of them is always whole."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from mmbench.archives import read_torch, torch_bytes
from mmbench.files import exists, write_atomically
from models.base import MultimodalModel
from models.errors import InputError

__all__ = ["Checkpoints", "load_weights"]

REMEDY = "delete it to train again"
KEYS = {"hash", "seconds", "stage", "step", "model", "optimizer", "history", "recorded", "cpu_random_state", "cuda_random_state"}


class _DamagedError(InputError):
    """A checkpoint that is not as it was written."""


class Checkpoints:
    """The newest checkpoint of a training, and the one before it, which stays until the next is on the disk.

    Args:
        path: of the newest; that of the one before has ".previous" in its name.
        hash, seed: of the run's configuration; checkpoints of another run are refused.
    """

    def __init__(self, path: Path, hash: str, seed: int):
        self.path, self.previous, self.hash, self.seed = path, path.with_name(f"{path.stem}.previous{path.suffix}"), hash, seed

    def save(self, state: dict[str, Any]) -> None:
        """Write `state`; WriteError where the disk does not take it."""
        content = torch_bytes({"hash": self.hash, "seed": self.seed, **state})
        write_atomically(self.path, lambda file: file.write(content), self.previous)

    def restore(self, model: MultimodalModel, say: Callable[[str], object]) -> dict[str, Any] | None:
        """Give `model` the weights of the newest checkpoint that is whole; what else that one holds, None where there is none.

        Args:
            say: told about damaged ones.

        Raises:
            InputError: for a whole checkpoint of another run, which is not ours to overwrite.
        """
        found = [path for path in (self.path, self.previous) if exists(path)]
        for path in found:
            try:
                saved = load_weights(model, path, self.hash, self.seed)
            except _DamagedError as error:
                going_on = "the one before it is used" if path == self.path and self.previous in found else "training begins again"
                say(f"{str(error).removesuffix(f': {REMEDY}.')}: {going_on}.")
            else:
                if path == self.previous:  # the next save will keep this one, not a damaged newer one
                    self.path.unlink(missing_ok=True)
                return saved
        return None


def load_weights(model: MultimodalModel, checkpoint: Path, hash: str, seed: int) -> dict[str, Any]:
    """Give `model` the weights in a run's checkpoint; what else the checkpoint holds.

    Raises:
        InputError: for a checkpoint that is damaged, of another configuration or seed, or of a model with other weights; `model` is as it was.
    """
    try:
        saved = read_torch(checkpoint)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise _DamagedError(f"The checkpoint {checkpoint} is damaged ({reason}): {REMEDY}.") from None
    if not (isinstance(saved, dict) and saved.keys() >= KEYS and isinstance(saved["model"], dict)):
        raise _DamagedError(f"The checkpoint {checkpoint} is damaged (it holds no state of a training): {REMEDY}.")
    if saved["hash"] != hash:
        raise InputError(f"The checkpoint {checkpoint} belongs to another configuration ({saved['hash']}, not {hash}): {REMEDY}.")
    if saved.get("seed", seed) != seed:  # older ones do not say
        raise InputError(f"The checkpoint {checkpoint} belongs to seed {saved['seed']}, not {seed}: {REMEDY}.")
    if _shapes(saved["model"]) != _shapes(model.state_dict()):
        raise InputError(f"The checkpoint {checkpoint} has other weights than the model, whose code has changed: {REMEDY}.")
    model.load_state_dict(saved["model"])
    return saved


def _shapes(weights: Mapping[str, Any]) -> dict[str, object]:
    """What two sets of weights must share for the one to take the place of the other."""
    return {name: (value.shape, value.dtype) if isinstance(value, torch.Tensor) else type(value) for name, value in weights.items()}
