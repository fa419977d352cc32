"""The figures as bars, by the simulator's way of drawing."""

from collections.abc import Mapping
from typing import Any

from bench.harness.plots import paint_bars, tidy
from bench.peers.catalogue import Kind, Peer
from bench.peers.figures import Row
from gateway.simulate.plot import render

_COLOURS = {
    Kind.FLOOR: "#8a8f98",
    Kind.OURS: "#2f8f5b",
    Kind.QUEUE: "#c2703d",
    Kind.CLUSTER: "#4269d0",
}


def draw(rows: Mapping[Peer, Row]) -> str:
    """Two panels of a bar a peer: queries a second with 32 in flight, and the median alone.

    Args:
        rows: the figures, in the order of the bars; at least one.
    """
    titles = [peer.title for peer in rows]
    colours = [_COLOURS[peer.kind] for peer in rows]

    def paint(pair: Any) -> None:
        throughput, latency = pair
        paint_bars(
            *(throughput, titles, [row.queries_per_s for row in rows.values()], colours),
            "queries a second, 32 in flight (more is better)",
        )
        paint_bars(
            *(latency, titles, [row.alone_p50_ms for row in rows.values()], colours),
            "median alone, ms (less is better)",
        )
        latency.set_yticklabels([])  # they stand beside the bars of the other
        kinds = [kind for kind in Kind if any(peer.kind is kind for peer in rows)]
        firsts = [next(n for n, peer in enumerate(rows) if peer.kind is kind) for kind in kinds]
        throughput.figure.legend(
            [throughput.patches[first] for first in firsts],
            [kind.value for kind in kinds],
            loc="outside lower center",
            ncols=len(kinds),
            frameon=False,
        )

    size_in = (10.0, 1.3 + 0.3 * len(rows))
    svg = render(paint, columns=2, size_in=size_in, salt="peers", creator="make bench-peers")
    return tidy(svg)
