"""What a run leaves for TensorBoard: its history while it is trained, and its samples at the end.

None of it is part of the run's results.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmbench.storage.samples import CROSS_COLUMNS, JOINT_COLUMNS, SampleSet
from mmbench.storage.tiles import Tiles, tile

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

__all__ = ["Board"]


class Board:
    """Writes into a folder, or nothing where it is None. A context: what was written is complete at its end.

    The first row of every sitting withdraws the points that an earlier one has left from that step on: a run
    that goes on from its checkpoint makes the same rows again.
    """

    def __init__(self, folder: Path | None):
        self.folder = folder
        self._writer: SummaryWriter | None = None
        self._step = 0

    def add_row(self, row: Mapping[str, Any]) -> None:
        """The numbers of a row of history: loss terms under train/, those of looks under their own names."""
        if self.folder is None:
            return
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self.folder), purge_step=row["step"])
        self._step = row["step"]
        for name, value in row.items():
            if name != "step" and isinstance(value, (int, float)):
                self._writer.add_scalar(_tag(name if "/" in name else f"train/{name}"), value, self._step)

    def add_samples(self, samples: SampleSet, row: Mapping[str, Any]) -> None:
        """Sample grids, at the step of the history's last `row`.

        The row is added too where nothing was left to train.
        """
        if self._writer is None:
            self.add_row(row)
        for name, tiles in samples.joint.items():
            self._add_tiles(f"joint/{name}", tiles, JOINT_COLUMNS)
        for cross in samples.cross:
            for part, tiles in (("conditions", cross.conditions), ("outputs", cross.outputs)):
                self._add_tiles(f"cross/{cross.source}->{cross.target}/{part}", tiles, CROSS_COLUMNS)

    def _add_tiles(self, name: str, tiles: Tiles, columns: int) -> None:
        """A grid of images, or texts as a block of Markdown code, which keeps their blanks."""
        if self._writer is None:
            return
        if isinstance(tiles, list):
            code = "\n".join(f"    {text}" for text in tiles)
            self._writer.add_text(_tag(name), code, self._step)
        else:
            self._writer.add_image(_tag(name), tile(tiles, columns), self._step, dataformats="HWC")

    def __enter__(self) -> "Board":
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()


def _tag(name: str) -> str:
    """`name` in the characters that TensorBoard takes."""
    return name.replace("->", "_to_").replace("+", "_and_")
