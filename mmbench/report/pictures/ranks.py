"""The critical-difference diagram of models ranked over data sets (Demsar 2006, figure 1)."""

import numpy as np

from mmbench.report.numbers.across import Ranking
from mmbench.report.pictures.canvas import WIDTH, Picture, figure_png, framed, plain_style, shorten

__all__ = ["draw_ranks"]

_LINE, _TOP, _BARS = 0.2, 0.55, 0.14  # inches of a name, of the axis, and of a bar
_NAME = 1.45  # inches at either side


def draw_ranks(ranking: Ranking) -> Picture:
    """Mean ranks on an axis, the best at the left, and bars that join models that do not differ."""
    order = np.argsort(ranking.means, kind="stable")
    groups, count = ranking.alike(), len(order)
    rows = -(-count // 2)
    height = _TOP + _BARS * (len(groups) + 1) + _LINE * (rows + 1)
    with plain_style():
        figure, axes = framed(height, (_NAME / WIDTH, 0, 1 - 2 * _NAME / WIDTH, 1))
        axes.set_xlim(1, count)
        axes.set_ylim(height, 0)  # inches from the top
        axes.set_axis_off()
        axes.hlines(_TOP, 1, count, color="0.3", linewidth=0.8)
        for tick in range(1, count + 1):
            axes.vlines(tick, _TOP - 0.04, _TOP, color="0.3", linewidth=0.8)
            axes.text(tick, _TOP - 0.06, str(tick), ha="center", va="bottom", fontsize=7)
        width = min(ranking.critical, count - 1)
        axes.hlines(0.16, 1, 1 + width, color="0.1", linewidth=1.2)
        more = "" if width == ranking.critical else ", more than the axis"
        axes.text(1, 0.12, f"CD {ranking.critical:.2f}{more}", va="bottom", fontsize=7)
        for row, group in enumerate(groups):
            found = [ranking.means[ranking.models.index(name)] for name in group]
            y = _TOP + _BARS * (row + 1)
            axes.hlines(y, min(found) - 0.03, max(found) + 0.03, color="0.1", linewidth=2.5, clip_on=False)
        for place, i in enumerate(order):
            left = place < rows
            line = place if left else count - 1 - place
            y = _TOP + _BARS * (len(groups) + 1) + _LINE * (line + 0.5)
            mean, edge = ranking.means[i], 1 if left else count
            axes.plot([mean, mean, edge], [_TOP, y, y], color="0.5", linewidth=0.7, clip_on=False)
            name = shorten(ranking.models[i], _NAME - 0.1, 7)
            shift = (-3 if left else 3, 0)
            axes.annotate(
                name,
                (edge, y),
                xytext=shift,
                textcoords="offset points",
                ha="right" if left else "left",
                va="center",
                fontsize=7,
                annotation_clip=False,
            )
        title = f"Mean ranks by {ranking.title}"
        words = "; ".join(f"{ranking.models[i]} {ranking.means[i]:.2f}" for i in order)
        return figure_png(figure, title, f"{title}, over {', '.join(ranking.datasets)}: {words}.")
