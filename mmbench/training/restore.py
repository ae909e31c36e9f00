"""The model that a finished training has left in its checkpoint."""

import traceback
from collections.abc import Sequence
from pathlib import Path

from mmbench.plan.config import RunConfig
from mmbench.training.checkpoints import load_weights
from models.base import Modality, MultimodalModel
from models.errors import InputError, error_words

__all__ = ["build_model", "innermost_line", "restore_model"]


def build_model(
    config: RunConfig, modalities: Sequence[Modality], classes: int, folder: Path
) -> MultimodalModel:
    """The model of the run in `folder`, untrained and on the CPU.

    Args:
        modalities, classes: of the data that it was trained on.

    Raises:
        InputError: where its code cannot do so.
    """
    try:
        return config.entry.build(modalities, config.settings, classes)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise InputError(
            f"The model of the run in {folder} cannot be built: {error_words(error)}{innermost_line(error)}."
        ) from error


def restore_model(
    model: MultimodalModel, config: RunConfig, checkpoint: Path, hash: str, seed: int
) -> MultimodalModel:
    """`model` with the weights that its run has ended with.

    Args:
        model: untrained.
        hash, seed: of the run, which the checkpoint has to be of.

    Raises:
        InputError: for a checkpoint that is damaged, of another run, or of a step before the end of training.
    """
    step = load_weights(model, checkpoint, hash, seed)["step"]
    if step != config.training.steps:
        raise InputError(
            f"The checkpoint {checkpoint} is of step {step}, before the end of training: "
            "delete it to train again."
        )
    return model


def innermost_line(error: BaseException) -> str:
    """Where an error comes from, for the end of a sentence: no folder keeps its traceback."""
    if isinstance(error, InputError):
        return ""
    frame, line = list(traceback.walk_tb(error.__traceback__))[-1]
    return f" ({frame.f_code.co_filename}, line {line}, in {frame.f_code.co_name})"
