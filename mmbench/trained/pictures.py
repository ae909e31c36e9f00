"""Joint draws as a figure."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from metrics.images import as_read, eight_bits
from mmbench.report.pictures.figures import draw_panels, joint_panel
from mmbench.storage.files import write_atomically
from mmbench.storage.samples import SampleSet
from mmbench.storage.tiles import as_tiles
from models.base import Modality

__all__ = ["draw_figure"]


def draw_figure(
    drawn: Mapping[str, Tensor], modalities: Mapping[str, Modality], title: str, caption: str, path: Path
) -> None:
    """Write a PNG of joint draws: the same place in every block is the same draw.

    Args:
        drawn: modality name -> (n, *shape) floats in [0, 1].
        title, caption: above and below the blocks.
    """
    tiles = {
        name: as_tiles(eight_bits(as_read(m, items)).cpu().numpy(), m.symbols, m.polyline)
        for name, items, m in ((name, items, modalities[name]) for name, items in drawn.items())
    }
    picture = draw_panels([[joint_panel(title, SampleSet(tiles, []))]], caption)
    write_atomically(path, picture)
