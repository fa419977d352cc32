"""The page docs/peers.md."""

import datetime as dt
import os
from collections.abc import Mapping, Sequence

from bench.harness.report import (
    loads_of,
    machine,
    plain,
    table,
    tell_settings,
    tell_verdicts,
)
from bench.peers.bounds import tell_bounds
from bench.peers.catalogue import Peer
from bench.peers.figures import Row, judge, summarise
from bench.peers.rounds import Measured

PLOT = "peers.svg"

_INTRODUCTION = """# What people would pick instead

One scatter to eight worker processes, and the gathering of their eight small replies: a request of
200 bytes to each, 10 ids and 10 scores back. The raw Redis link and Hedgerow run in the project's
own environment; every other peer has a virtual environment of its own with pinned versions
(`bench/peers/requirements/`). Each has a Redis server of its own, a Valkey on a Unix socket that
keeps nothing on disk (`client-output-buffer-limit` of Pub/Sub 256 MiB, or 64 MiB for 10 s), and is
set up for low latency as its documentation advises; the settings and the reasons are below.
Hedgerow answers through its whole gateway, with deadline, breakers, coverage and merge; the others
only gather. The benchmark writes this page itself; to repeat it, on an otherwise idle machine:

    {command}

Measured on {date}, on {machine}; load average over a minute before each round: {loads}.
{rounds} rounds of {seconds:g} s alone and {seconds:g} s with 32 in flight, after a warm-up, in
turns (A B C, A B C, …); each figure is the median of the rounds. While one is measured, all
processes of the others are stopped (SIGSTOP). CPU is that of all processes of a peer: client,
server and workers.

"""
_COLUMNS = (
    "",
    "queries/s",
    "p50 at 32, ms",
    "p99, ms",
    "p50 alone, ms",
    "p99 alone, ms",
    "CPU s per 1,000 queries",
    "failed",
)


def summaries(results: Sequence[Measured]) -> dict[Peer, Row]:
    """The figures of the peers that have any."""
    rows = {}
    for result in results:
        if any(one.alone.latencies_s and one.together.latencies_s for one in result.rounds):
            rows[result.peer] = summarise(result.rounds)
    return rows


def to_markdown(
    results: Sequence[Measured], command: str, seconds: float, loads: Sequence[float]
) -> str:
    """The whole page.

    Args:
        results: of every peer, in the order of the table.
        command: how to repeat it.
        seconds: length of a measurement.
        loads: the load average before each round.
    """
    rows = summaries(results)
    introduction = _INTRODUCTION.format(
        command=command,
        date=dt.datetime.now(dt.UTC).date().isoformat(),
        machine=machine(),
        loads=loads_of(loads),
        rounds=len(loads),
        seconds=seconds,
    )
    parts = [introduction, _table(results, rows), tell_verdicts(judge(rows))]
    if rows:
        parts.append(f"\n![Queries a second, and the median alone, of every peer]({PLOT})\n")
    parts += [tell_bounds(rows, len(os.sched_getaffinity(0))), _settings(results)]
    return "".join(parts)


def _table(results: Sequence[Measured], rows: Mapping[Peer, Row]) -> str:
    lines: list[Sequence[str]] = []
    notes = []
    for result in results:
        if row := rows.get(result.peer):
            lines.append(
                (
                    result.peer.title,
                    f"{row.queries_per_s:,.0f}",
                    f"{row.p50_ms:.2f}",
                    f"{row.p99_ms:.2f}",
                    f"{row.alone_p50_ms:.2f}",
                    f"{row.alone_p99_ms:.2f}",
                    f"{row.cpu_s_per_1000:.2f}",
                    f"{row.num_failed}",
                )
            )
        else:
            lines.append((result.peer.title, *("—",) * (len(_COLUMNS) - 1)))
        notes += _notes(result)
    shown = table(_COLUMNS, lines)
    return "\n".join([shown, "", *notes, "", ""] if notes else [shown, "", ""])


def _notes(result: Measured) -> list[str]:
    notes = []
    if result.reason:
        notes.append(f"- {result.peer.title}: {plain(result.reason)}")
    failures = [
        load.failure
        for one in result.rounds
        for load in (one.alone, one.together)
        if load.num_failed
    ]
    if failures:
        notes.append(f"- {result.peer.title}, the last failure: `{plain(failures[-1])}`")
    return notes


def _settings(results: Sequence[Measured]) -> str:
    lines = ["\n## Versions and settings\n"]
    told: set[tuple[str, str]] = set()  # several peers of one environment share their settings
    for result in results:
        key = (result.peer.module, result.peer.environment)
        if not result.settings or key in told:
            continue
        told.add(key)
        titles = [
            other.peer.title
            for other in results
            if (other.peer.module, other.peer.environment) == key
        ]
        lines += tell_settings(titles, result.versions, result.settings)
    return "\n".join(lines)
