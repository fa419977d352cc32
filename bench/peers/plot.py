"""The figures as bars, drawn in the simulator's style."""

from collections.abc import Mapping
from typing import Any

from bench.harness.plots import BLUE, BROWN, GREEN, GREY, bars, paint_svg
from bench.peers.catalogue import Kind, Peer
from bench.peers.figures import Row

_COLOURS = {
    Kind.FLOOR: GREY,
    Kind.OURS: GREEN,
    Kind.QUEUE: BROWN,
    Kind.CLUSTER: BLUE,
}


def draw(rows: Mapping[Peer, Row]) -> str:
    """Two panels with a bar for each peer: queries a second with 32 in flight, and median alone.

    Args:
        rows: the figures, in the order of the bars; at least one.
    """
    titles = [peer.title for peer in rows]
    colours = [_COLOURS[peer.kind] for peer in rows]

    def paint(pair: Any) -> None:
        throughput, latency = pair
        bars(
            throughput,
            titles,
            [row.queries_per_s for row in rows.values()],
            colours,
            "queries a second, 32 in flight (more is better)",
        )
        bars(
            latency,
            titles,
            [row.alone_p50_ms for row in rows.values()],
            colours,
            "median alone, ms (less is better)",
        )
        latency.set_yticklabels([])  # they stand beside the bars of the other panel
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
    return paint_svg("peers", paint, "make bench-peers", columns=2, size_in=size_in)
