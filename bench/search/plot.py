"""The figures as pictures, drawn in the simulator's style."""

from collections.abc import Sequence
from typing import Any

from bench.harness.plots import BLUE, BROWN, GREEN, GREY, bars, logarithmic, paint_svg, tidy
from bench.search.catalogue import Kind
from bench.search.figures import Curve, Row

_COLOURS = {
    Kind.LIMIT: GREY,
    Kind.OURS: GREEN,
    Kind.RIVAL: BROWN,
    Kind.OTHER: BLUE,
}
_LINES = (GREEN, GREY)
_AXES = {
    "documents": "documents",
    "k": "hits wanted (k)",
    "in-flight": "queries in flight",
    "shards": "shards",
}


def draw_comparison(subjects: Sequence[Row]) -> str:
    """A bar for each subject: queries a second with 32 in flight, on a logarithmic scale.

    Args:
        subjects: those that were measured, in the order of the bars; at least one.
    """

    def paint(axes: Any) -> None:
        bars(
            axes,
            [one.title for one in subjects],
            [one.per_s() for one in subjects],
            [_COLOURS[one.kind] for one in subjects],
            "queries a second, 32 in flight (more is better)",
        )

    size_in = (8.0, 0.9 + 0.3 * len(subjects))
    return paint_svg("search", paint, "make bench-search", size_in=size_in)


def draw_curve(curve: Curve) -> str:
    """Two pictures beside each other, over what grows: throughput, and median and p99 latency."""

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
            logarithmic(axes.xaxis)
            logarithmic(axes.yaxis)
            tidy(axes, _AXES[curve.name], "", title)
        throughput.legend(fontsize="small")
        latency.legend(fontsize="small", ncols=max(1, len(curve.series)))

    name = f"search-{curve.name}"
    return paint_svg(name, paint, "make bench-search", columns=2, size_in=(8.0, 3.4))
