"""Checkpoints: what a training needs to go on, in two files, so that one of them is always whole.

Each is looked through before any of it is used: torch checks neither that the weights are those of the model
nor that the moments of Adam fit its parameters, and its kernels would write over other memory.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from mmbench.storage.archives import read_torch, torch_bytes
from mmbench.storage.files import exists, write_atomically
from models.base import MultimodalModel, Stage
from models.errors import InputError

__all__ = ["Checkpoints", "kinds", "load_weights", "previous_path"]

REMEDY = "delete it to train again"
TYPES = {
    "hash": str,
    "seed": int,
    "seconds": float,
    "stage": int,
    "step": int,
    "optimizer": dict,
    "history": list,
    "recorded": dict,
}
MOMENTS = ("exp_avg", "exp_avg_sq")  # of Adam
CUDA_RANDOM_STATE = 16  # bytes: a seed and an offset


class _DamagedError(InputError):
    """A checkpoint that is not as it was written."""

    def __init__(self, path: Path, what: object):
        super().__init__(f"The checkpoint {path} is damaged ({what}): {REMEDY}.")


class Checkpoints:
    """The newest checkpoint of a training, and the one before it, which stays until the next is on the disk.

    Args:
        path: of the newest; that of the one before has ".previous" in its name.
        hash, seed: of the run's configuration; checkpoints of another run are refused.
    """

    def __init__(self, path: Path, hash: str, seed: int):
        self.path, self.previous, self.hash, self.seed = path, previous_path(path), hash, seed

    def save(self, state: dict[str, Any]) -> None:
        """Write `state`; WriteError where the disk does not take it."""
        content = torch_bytes({"hash": self.hash, "seed": self.seed, **state})
        write_atomically(self.path, content, self.previous)

    def restore(self, model: MultimodalModel, say: Callable[[str], object]) -> dict[str, Any] | None:
        """Give `model` the weights of the newest checkpoint that is whole.

        Args:
            say: told about damaged ones.

        Returns:
            What else that checkpoint holds; None where there is none.

        Raises:
            InputError: for a whole checkpoint of another run, which is not ours to overwrite.
        """
        found = [path for path in (self.path, self.previous) if exists(path)]
        for path in found:
            try:
                saved = load_weights(model, path, self.hash, self.seed)
            except _DamagedError as error:
                going_on = (
                    "the one before it is used"
                    if path == self.path and self.previous in found
                    else "training begins again"
                )
                say(f"{str(error).removesuffix(f': {REMEDY}.')}: {going_on}.")
            else:
                if path == self.previous:  # the next save will keep this one, not a damaged newer one
                    self.path.unlink(missing_ok=True)
                return saved
        return None


def previous_path(path: Path) -> Path:
    """Where the checkpoint before the one at `path` is kept."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def load_weights(model: MultimodalModel, checkpoint: Path, hash: str, seed: int) -> dict[str, Any]:
    """Give `model` the weights in a run's checkpoint, and return what else the checkpoint holds.

    Raises:
        InputError: for a checkpoint that is damaged, cannot be read, is of another configuration or seed, or
            of a model with other weights; `model` is as it was.
    """
    try:
        saved = read_torch(checkpoint)
    except OSError as error:  # of the disk or of the system: nothing is known of the content
        reason = error.strerror or type(error).__name__
        raise InputError(
            f"The checkpoint {checkpoint} cannot be read ({reason}): "
            "mend that, or move it away to train again."
        ) from None
    except ValueError as error:
        raise _DamagedError(checkpoint, error) from None
    if not _is_state(saved):
        raise _DamagedError(checkpoint, "it holds no state of a training")
    if problem := _belongs_elsewhere(saved, model, hash, seed):
        raise InputError(f"The checkpoint {checkpoint} {problem}: {REMEDY}.")
    stages = model.stages()
    if not _continues(saved, stages):
        raise _DamagedError(checkpoint, "its state of a training is not that of this model")
    model.load_state_dict(saved["model"])
    for number, moments in saved["optimizer"]["state"].items():
        parameter = stages[saved["stage"]].parameters[number]
        # Adam's kernels walk through the moments and the parameter alike, as they lie in memory.
        for name in MOMENTS:
            moments[name] = torch.empty_like(parameter, device="cpu").copy_(moments[name].detach())
    return saved


def _belongs_elsewhere(saved: dict[str, Any], model: MultimodalModel, hash: str, seed: int) -> str | None:
    """Why a whole checkpoint is not one of this run, in a clause; None where it is."""
    if saved["hash"] != hash:
        return f"belongs to another configuration ({saved['hash']}, not {hash})"
    if saved["seed"] != seed:
        return f"belongs to seed {saved['seed']}, not {seed}"
    if kinds(saved["model"]) != kinds(model.state_dict()):
        return "has other weights than the model, whose code has changed"
    return None


def kinds(values: Mapping[str, Any]) -> dict[str, object]:
    """What two sets of tensors must share for the one to take the place of the other."""
    return {name: _kind(value) for name, value in values.items()}


def _kind(value: Any) -> object:
    """The type of a value; of a tensor that has its numbers in memory, its shape and dtype."""
    if not isinstance(value, torch.Tensor):
        return type(value)
    if value.is_nested or value.is_meta or value.layout != torch.strided:
        return "no dense tensor"
    return value.shape, value.dtype


def _is_state(saved: Any) -> bool:
    """Whether it holds what a training saves, as far as that can be told without the model."""
    keys = TYPES.keys() | {"model", "cpu_random_state", "cuda_random_state"}
    return (
        isinstance(saved, dict)
        and saved.keys() >= keys
        and isinstance(saved["model"], dict)
        and all(type(saved[key]) is kind for key, kind in TYPES.items())
    )


def _continues(saved: dict[str, Any], stages: tuple[Stage, ...]) -> bool:
    """Whether a training in these stages can go on from `saved`."""
    if not (0 <= saved["stage"] < len(stages) and saved["step"] >= 0 and 0 <= saved["seconds"] < math.inf):
        return False
    return (
        all(_is_row(row) for row in saved["history"])
        and _is_kept(saved.get("kept"), saved["model"])
        and _is_record(saved["recorded"])
        and _is_adam(saved["optimizer"].get("state"), stages[saved["stage"]].parameters)
        and _are_random_states(saved["cpu_random_state"], saved["cuda_random_state"])
    )


def _is_kept(found: Any, weights: Mapping[str, Any]) -> bool:
    """Whether it is None, or what `mmbench.training.kept.Kept.state` gives of a model with such weights."""
    if found is None:
        return True
    if not (isinstance(found, dict) and isinstance(found.get("weights"), dict)):
        return False
    known, kept = kinds(weights), kinds(found["weights"])
    if found.keys() == {"count", "weights"}:  # an average, of parameters alone
        return type(found["count"]) is int and kept.items() <= known.items()
    if type(found.get("step")) is not int or type(found.get("value")) is not float:
        return False
    return not kept or kept == known


def _is_row(row: Any) -> bool:
    return isinstance(row, dict) and all(isinstance(value, (int, float, str)) for value in row.values())


def _is_record(recorded: dict[str, Any]) -> bool:
    """Whether it holds the names of each step's loss terms, and rows of a number for each."""
    steps, rows = recorded.get("names"), recorded.get("rows")
    if not (isinstance(steps, list) and isinstance(rows, list) and len(steps) == len(rows)):
        return False
    return all(
        isinstance(names, list)
        and all(isinstance(name, str) for name in names)
        and _kind(row) == ((len(names),), torch.float32)
        for names, row in zip(steps, rows, strict=True)
    )


def _are_random_states(cpu: Any, cuda: Any) -> bool:
    """Whether generators take them; that of a GPU may not be there to ask."""
    try:
        torch.Generator().set_state(cpu)
    except (RuntimeError, TypeError):
        return False
    return cuda is None or _kind(cuda) == ((CUDA_RANDOM_STATE,), torch.uint8)


def _is_adam(state: Any, parameters: Sequence[torch.Tensor]) -> bool:
    """Whether it is Adam's for these parameters: number of a parameter -> a step and two moments."""
    if not isinstance(state, dict):
        return False
    for number, found in state.items():
        if type(number) is not int or not 0 <= number < len(parameters) or not isinstance(found, dict):
            return False
        if kinds(found) != kinds({"step": torch.zeros(()), **dict.fromkeys(MOMENTS, parameters[number])}):
            return False
    return True
