"""What bounds Hedgerow's throughput, derived from the figures of the run; pure."""

from collections.abc import Mapping

from bench.harness.report import table
from bench.peers.catalogue import GRAPHS, Kind, Peer
from bench.peers.figures import Row

_COLUMNS = (
    "",
    "CPU per query, µs",
    "cores' time per query, µs",
    "cores unused",
    "wakeups per query",
)
_HEADING = """
## What bounds Hedgerow

The time that the cores have for a query is the interval between two answers, times the {num_cores}
cores. Where a query uses all of it, CPU bounds the throughput; the rest is spent waiting for other
processes of the same peer, or is taken by other programs on a busy machine. A wakeup is counted
whenever a thread of one of the peer's processes, which had nothing to do, starts to run again.

"""
_BETWEEN = """
Ray's compiled graphs run the function in the very process that receives the message, as Hedgerow's
loop lane does. The process lane puts a process between, so that the worker survives a function that
crashes or hangs; that is what the difference between the lanes pays for.
"""
_TRIED = """
[What the process lane costs](lanes.md#what-the-process-lane-costs) describes what was tried.
"""


def tell_bounds(rows: Mapping[Peer, Row], num_cores: int) -> str:
    """A section with a row for each Hedgerow peer, and Ray's compiled graphs; empty without any."""
    # The median of a peer that failed in most rounds is 0, which says nothing about CPU.
    rows = {peer: row for peer, row in rows.items() if row.queries_per_s and row.cores_used}
    ours = [peer for peer in rows if peer.kind is Kind.OURS]
    if not ours:
        return ""
    graphs = [peer for peer in rows if peer.name == GRAPHS]
    lines = [(peer.title, *_cells(rows[peer], num_cores)) for peer in ours + graphs]
    parts = [_HEADING.format(num_cores=num_cores), table(_COLUMNS, lines) + "\n"]
    in_loop = [peer for peer in ours if peer.arguments[0] == "loop"]
    apart = [peer for peer in ours if peer.arguments[0] == "process"]
    if in_loop and apart:
        parts.append("\n")
        parts += [_compare(peer, rows[peer], in_loop[0], rows[in_loop[0]]) for peer in apart]
    if apart and graphs:
        parts.append(_BETWEEN)
    if apart:
        parts.append(_TRIED)
    return "".join(parts)


def _cells(row: Row, num_cores: int) -> tuple[str, ...]:
    return (
        f"{1000 * row.cpu_s_per_1000:,.0f}",
        f"{1e6 * num_cores / row.queries_per_s:,.0f}",
        f"{max(0.0, 1 - row.cores_used / num_cores):.0%}",
        f"{row.wakeups:.1f}",
    )


def _compare(peer: Peer, row: Row, other: Peer, others: Row) -> str:
    times = f"{row.cpu_s_per_1000 / others.cpu_s_per_1000:.1f} times the CPU"
    if others.wakeups:  # not every kernel counts them
        times += f" and {row.wakeups / others.wakeups:.1f} times the wakeups"
    return f"- {peer.title}: {times} per query of {other.title}.\n"
