"""Bars on a logarithmic scale, for pictures that compare."""

import re
from collections.abc import Sequence
from typing import Any


def paint_bars(
    axes: Any, titles: Sequence[str], values: Sequence[float], colours: Sequence[str], label: str
) -> None:
    """Paint a bar a value, the first at the top, with the value at its end.

    Args:
        axes: matplotlib's.
        titles: one a bar.
        values: their lengths; at least one.
        colours: one a bar.
        label: of the scale.
    """
    rows = range(len(values))
    axes.barh(rows, values, color=colours)
    for row, value in zip(rows, values, strict=True):
        shown = f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
        axes.annotate(shown, (value, row), (3, 0), textcoords="offset points", va="center")
    axes.set_yticks(rows, titles)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlim(min(values) / 3, max(values) * 3)
    axes.xaxis.set_major_formatter("{x:,g}")
    axes.xaxis.set_minor_formatter("")
    axes.set_xlabel(label)
    axes.spines[["top", "right"]].set_visible(False)


def tidy(svg: str) -> str:
    """Without trailing spaces, which are matplotlib's, and which no editor keeps."""
    return re.sub(r"[ \t]+$", "", svg, flags=re.MULTILINE)
