"""Pictures as SVG, drawn by matplotlib in the simulator's style."""

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from hedgerow.gateway.simulate.plot import render

BLUE, ORANGE, GREEN, RED, GREY = "#4269d0", "#d97706", "#2f8f5b", "#c8372d", "#8a8f98"
BROWN = "#c2703d"


def paint_svg(
    name: str,
    paint: Callable[[Any], None],
    creator: str,
    *,
    columns: int = 1,
    size_in: tuple[float, float] = (8.0, 3.6),
) -> str:
    """Draw what `paint` paints on matplotlib's axes; the same painting gives the same SVG.

    Args:
        name: of the picture; keeps its ids distinct from those of other pictures on a page.
        paint: given the axes; with more than one column, an array of them.
        creator: named in the picture's metadata.
        columns: number of pictures beside each other.
        size_in: width and height of the whole, in inches of 72 pt.
    """
    svg = render(paint, columns=columns, size_in=size_in, salt=name, creator=creator)
    # matplotlib leaves trailing spaces, which editors remove.
    return re.sub(r"[ \t]+$", "", svg, flags=re.MULTILINE)


def tidy(axes: Any, x: str, y: str, title: str = "") -> None:
    """Label the axes, and leave out the upper and right parts of the frame."""
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.set_title(title, fontsize="medium")
    axes.grid(visible=True, which="major", alpha=0.25)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def logarithmic(axis: Any, text: str | Callable[[float, int], str] = "{x:,g}") -> None:
    """Make an axis (`axes.xaxis` or `axes.yaxis`) logarithmic, with labels at the decades."""
    set_scale = axis.axes.set_xscale if axis.axis_name == "x" else axis.axes.set_yscale
    set_scale("log")
    axis.set_major_formatter(text)
    axis.set_minor_formatter("")  # otherwise a short axis labels all of them


def legend(axes: Sequence[Any]) -> None:
    """Draw one legend below all pictures, in which each kind appears once."""
    named: dict[str, Any] = {}
    for one in axes:
        handles, labels = one.get_legend_handles_labels()
        named.update(zip(labels, handles, strict=True))
    axes[0].figure.legend(
        named.values(), named.keys(), loc="outside lower center", ncols=5, frameon=False
    )


def bars(
    axes: Any, titles: Sequence[str], values: Sequence[float], colours: Sequence[str], label: str
) -> None:
    """Paint a bar for each value on a logarithmic scale, the first at the top, with its value.

    Args:
        axes: matplotlib's.
        titles: one for each bar.
        values: the lengths of the bars; at least one.
        colours: one for each bar.
        label: of the scale.
    """
    rows = range(len(values))
    axes.barh(rows, values, color=colours)
    for row, value in zip(rows, values, strict=True):
        shown = f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
        axes.annotate(shown, (value, row), (3, 0), textcoords="offset points", va="center")
    axes.set_yticks(rows, titles)
    axes.invert_yaxis()
    logarithmic(axes.xaxis)
    axes.set_xlim(min(values) / 3, max(values) * 3)
    axes.set_xlabel(label)
    axes.spines[["top", "right"]].set_visible(False)


class Span(NamedTuple):
    """A bar of a timeline; its start and end are in the timeline's unit."""

    row: str
    start: float
    end: float
    color: str
    label: str = ""


def timeline(axes: Any, spans: Sequence[Span], unit: str) -> None:
    """Paint bars over time, with a row for each name in the order of their first appearance."""
    rows = list(dict.fromkeys(span.row for span in spans))
    for span in spans:
        axes.barh(
            rows.index(span.row),
            span.end - span.start,
            left=span.start,
            color=span.color,
            height=0.7,
            label=span.label or None,
        )
    axes.set_yticks(range(len(rows)), rows)
    axes.invert_yaxis()
    tidy(axes, f"time, {unit}", "")
    axes.grid(visible=False, axis="y")


def longer(axes: Any, times: Sequence[float], label: str, color: str) -> None:
    """Paint the share of `times` that were longer than a time, over that time."""
    shares = [1 - at / len(times) for at in range(len(times))]
    axes.plot(sorted(times), shares, color=color, label=label)
