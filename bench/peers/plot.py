"""The figures as bars on logarithmic scales, in SVG."""

import math
from collections.abc import Mapping, Sequence
from html import escape

from bench.peers.catalogue import Kind, Peer
from bench.peers.figures import Row

_COLOURS = {
    Kind.FLOOR: "#9a9a9a",
    Kind.OURS: "#2c7a3f",
    Kind.QUEUE: "#c2703d",
    Kind.CLUSTER: "#4a6fa5",
}
_ROW, _TOP, _LEFT, _PANEL, _GAP = 24, 46, 178, 270, 66


def to_svg(rows: Mapping[Peer, Row]) -> str:
    """Two panels of a bar a peer: queries a second with 32 in flight, and the median alone.

    Args:
        rows: the figures, in the order of the bars; at least one.
    """
    peers = list(rows)
    width = _LEFT + 2 * (_PANEL + _GAP)
    height = _TOP + _ROW * len(peers) + 34
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}"',
        f' viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for number, peer in enumerate(peers):
        y = _TOP + _ROW * number + 15
        parts.append(f'<text x="{_LEFT - 8}" y="{y}" text-anchor="end">{escape(peer.title)}</text>')
    parts += _panel(
        *(_LEFT, "queries a second, 32 in flight (more is better)", peers),
        [rows[peer].queries_per_s for peer in peers],
    )
    parts += _panel(
        *(_LEFT + _PANEL + _GAP, "median alone, ms (less is better)", peers),
        [rows[peer].alone_p50_ms for peer in peers],
    )
    x = _LEFT
    for kind, colour in _COLOURS.items():
        parts.append(f'<rect x="{x}" y="{height - 20}" width="11" height="11" fill="{colour}"/>')
        parts.append(f'<text x="{x + 16}" y="{height - 10}">{escape(kind.value)}</text>')
        x += 120
    return "\n".join([*parts, "</svg>", ""])


def _panel(left: int, title: str, peers: Sequence[Peer], values: Sequence[float]) -> list[str]:
    first, last = decades(values)
    bottom = _TOP + _ROW * len(peers)
    parts = [f'<text x="{left}" y="18" font-weight="bold">{escape(title)}</text>']
    for power in range(first, last + 1):
        x = left + _PANEL * (power - first) / (last - first)
        parts.append(f'<path d="M{x:.1f} {_TOP - 4}V{bottom}" stroke="#ddd"/>')
        parts.append(
            f'<text x="{x:.1f}" y="{_TOP - 8}" text-anchor="middle">{10.0**power:,g}</text>'
        )
    for number, (peer, value) in enumerate(zip(peers, values, strict=True)):
        length = _PANEL * (math.log10(value) - first) / (last - first)
        y = _TOP + _ROW * number
        shown = f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
        parts.append(
            f'<rect x="{left}" y="{y + 3}" width="{length:.1f}" height="{_ROW - 8}" '
            f'fill="{_COLOURS[peer.kind]}"/>'
        )
        parts.append(f'<text x="{left + length + 4:.1f}" y="{y + 15}">{shown}</text>')
    return parts


def decades(values: Sequence[float]) -> tuple[int, int]:
    """The powers of ten that a scale for the values starts and ends with; they differ."""
    first = math.floor(math.log10(min(values)))
    # A bar for the least value must be there to be seen, even where it is a power of ten.
    if math.log10(min(values)) - first < 0.05:
        first -= 1
    return first, max(math.ceil(math.log10(max(values))), first + 1)
