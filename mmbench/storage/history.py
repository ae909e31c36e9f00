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

from mmbench.storage.files import DELETE, write_atomically
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
    write_atomically(folder / FILE, lambda file: file.write(text.getvalue().encode()))


def read_history(folder: Path) -> "pd.DataFrame":
    """The history of the run in `folder`; empty where training has not written any.

    Raises:
        InputError: for a file that is no history.
    """
    import pandas as pd  # takes long to import, and those who write histories do without

    path = folder / FILE
    if not path.exists() or not path.stat().st_size:
        return pd.DataFrame({"step": [], "loss": []})
    try:
        history = pd.read_csv(path)
        return history.assign(step=pd.to_numeric(history["step"]))
    except (KeyError, ValueError) as error:  # pandas' parser errors are ValueErrors
        raise InputError(f"The file {path} is no training history ({error}): {DELETE}.") from None


def has_looks(folder: Path) -> bool:
    """Whether the history of the run in `folder` has metrics of validation images, as its first line says.

    To read one line is quick; pandas takes milliseconds for every history.
    """
    path = folder / FILE
    if not path.exists():
        return False
    with path.open(errors="replace") as file:
        return LOOK in file.readline()
