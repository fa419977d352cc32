"""Pictures of experiments, by the simulator's way of drawing."""

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from hedgerow.gateway.simulate.plot import render
from lab.finding import Plot

BLUE, ORANGE, GREEN, RED, GREY = "#4269d0", "#d97706", "#2f8f5b", "#c8372d", "#8a8f98"
_WIDTH_IN = 8.0


class Span(NamedTuple):
    """A bar of a timeline: from when to when, in the timeline's unit."""

    row: str
    start: float
    end: float
    color: str
    label: str = ""


def draw(
    name: str,
    alt: str,
    paint: Callable[[Any], None],
    *,
    columns: int = 1,
    height_in: float = 3.6,
) -> Plot:
    """Draw a picture, whose name also keeps its ids apart from those of others on the page."""
    svg = render(
        paint,
        columns=columns,
        size_in=(_WIDTH_IN, height_in),
        salt=name,
        creator="make lab",
    )
    # Trailing spaces are matplotlib's, and no editor keeps them.
    return Plot(f"lab-{name}.svg", alt, re.sub(r"[ \t]+$", "", svg, flags=re.MULTILINE))


def tidy(axes: Any, x: str, y: str, title: str = "") -> None:
    """Name the axes, and leave out the frame that says nothing."""
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.set_title(title, fontsize="medium")
    axes.grid(visible=True, which="major", alpha=0.25)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def logarithmic(axis: Any, text: str | Callable[[float, int], str] = "{x:,g}") -> None:
    """Make an axis (`axes.xaxis` or `axes.yaxis`) logarithmic, with numbers at the decades."""
    set_scale = axis.axes.set_xscale if axis.axis_name == "x" else axis.axes.set_yscale
    set_scale("log")
    axis.set_major_formatter(text)
    axis.set_minor_formatter("")  # else a short axis names all of them


def timeline(axes: Any, spans: Sequence[Span], unit: str) -> None:
    """Paint bars over time, a row for each name, in the order in which the names come."""
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


def legend(axes: Any) -> None:
    """One legend under all of the pictures, which names each kind once."""
    named: dict[str, Any] = {}
    for one in axes:
        handles, labels = one.get_legend_handles_labels()
        named.update(zip(labels, handles, strict=True))
    axes[0].figure.legend(
        named.values(), named.keys(), loc="outside lower center", ncols=5, frameon=False
    )
