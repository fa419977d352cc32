"""The figures as pictures, by the simulator's way of drawing."""

from collections.abc import Sequence
from typing import Any

from bench.harness.plots import paint_bars, tidy
from bench.search.catalogue import Kind
from bench.search.figures import Curve, Rounds
from gateway.simulate.plot import render

_COLOURS = {
    Kind.LIMIT: "#8a8f98",
    Kind.OURS: "#2f8f5b",
    Kind.RIVAL: "#c2703d",
    Kind.OTHER: "#4269d0",
}
_LINES = ("#2f8f5b", "#8a8f98")
_AXES = {
    "documents": "documents",
    "k": "hits wanted (k)",
    "in-flight": "queries in flight",
    "shards": "shards",
}


def draw_comparison(subjects: Sequence[Rounds]) -> str:
    """A bar a subject: queries a second with 32 in flight, on a logarithmic scale.

    Args:
        subjects: those that were measured, in the order of the bars; at least one.
    """

    def paint(axes: Any) -> None:
        paint_bars(
            axes,
            [one.title for one in subjects],
            [one.queries_per_s for one in subjects],
            [_COLOURS[one.kind] for one in subjects],
            "queries a second, 32 in flight (more is better)",
        )

    size_in = (8.0, 0.9 + 0.3 * len(subjects))
    return tidy(render(paint, size_in=size_in, salt="search", creator="make bench-search"))


def draw_curve(curve: Curve) -> str:
    """Two pictures beside each other, over what grows: throughput, and the median and 99th."""

    def paint(pair: Any) -> None:
        throughput, latency = pair
        for series, colour in zip(curve.series, _LINES, strict=False):
            xs = [x for x, _ in series.points]
            found = [one for _, one in series.points]
            throughput.plot(
                xs, [one.queries_per_s for one in found], "o-", color=colour, label=series.title
            )
            latency.plot(xs, [one.p50_ms for one in found], "o-", color=colour, label="median")
            latency.plot(xs, [one.p99_ms for one in found], "o:", color=colour, label="99th")
        for axes, title in ((throughput, "queries a second"), (latency, "latency, ms")):
            axes.set_xscale("log")
            axes.set_yscale("log")
            axes.xaxis.set_major_formatter("{x:,g}")
            axes.yaxis.set_major_formatter("{x:,g}")
            axes.yaxis.set_minor_formatter("")
            axes.xaxis.set_minor_formatter("")
            axes.set_xlabel(_AXES[curve.name])
            axes.set_title(title, fontsize="medium")
            axes.grid(visible=True, which="major", alpha=0.25)
            axes.spines[["top", "right"]].set_visible(False)
        throughput.legend(fontsize="small")
        latency.legend(fontsize="small", ncols=max(1, len(curve.series)))

    name = f"search-{curve.name}"
    svg = render(paint, columns=2, size_in=(8.0, 3.4), salt=name, creator="make bench-search")
    return tidy(svg)
