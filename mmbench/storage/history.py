"""The history of a training, history.csv: a row of losses for every logging interval, and no wall clock.

The columns are step, stage, learning_rate, loss and the terms of the loss: means, of each term over the steps
that have it. With `--looks` there is also what was computed on validation images while training, under names
that begin with `records.LOOK`.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmbench.storage.bounds import LARGEST, MOST, read_file
from mmbench.storage.files import AGAIN, exists, write_atomically
from mmbench.storage.records import LOOK
from models.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FILE", "has_looks", "read_history", "write_history"]

FILE = "history.csv"  # in the run's folder


def write_history(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the history of the run in `folder`; what a row does not have stays empty."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(folder / FILE, text.getvalue().encode())


def read_history(folder: Path) -> "pd.DataFrame":
    """The history of the run in `folder`; empty where training has not written any.

    Raises:
        InputError: for a file that is no history.
    """
    import pandas as pd  # takes long to import, and those who write histories do without

    path = folder / FILE
    try:
        content = read_file(path, MOST["history"]) if exists(path) else b""
        history = pd.read_csv(io.BytesIO(content)) if content else pd.DataFrame({"step": [], "loss": []})
        numbers = {name: _numbers(history[name]) for name in history if name != "stage"}
        if not numbers["step"].between(0, 2**53).all():
            raise ValueError("its steps are no whole numbers")
        return history.assign(**numbers)
    except (KeyError, OSError, OverflowError, ValueError) as error:  # pandas' parser errors are ValueErrors
        raise InputError(f"The file {path} is no training history ({error}): {AGAIN}.") from None


def _numbers(values: "pd.Series") -> "pd.Series":
    """A column of numbers, those beyond LARGEST as infinities; ValueError for texts."""
    # pandas 2 leaves a column with a number beyond the largest float as texts, which Python reads as infinity
    found = values if values.dtype.kind in "iufb" else values.astype(float)
    if found.dtype.kind not in "iuf":
        raise ValueError(f"its column {values.name!r:.60} holds no numbers")
    return found.mask(found > LARGEST, float("inf")).mask(found < -LARGEST, float("-inf"))


def has_looks(folder: Path) -> bool:
    """Whether the history of the run in `folder` has metrics of validation images, as its first line says.

    To look at one line is quick; pandas takes milliseconds for every history.
    """
    path = folder / FILE
    try:
        head, _, _ = read_file(path, MOST["history"]).partition(b"\n")
    except (OSError, ValueError):  # `read_history` says why
        return False
    return LOOK.encode() in head
