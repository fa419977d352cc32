"""Disks that are full or slow, memory that runs out, clocks that jump."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from nemesis.abilities import CLOCKS, DISKS, MEMORY, SLOW_DISKS
from nemesis.cluster.cluster import Cluster
from nemesis.faults.injection import Inject
from nemesis.layout import CLOCKED, SERVERS, WORKERS
from nemesis.schedule import Card, Fault

_STORING: Final = (*SERVERS, *WORKERS)
_JUMPS_S: Final = (-3_600.0, -60.0, -2.0, 2.0, 60.0, 3_600.0)


@asynccontextmanager
async def _fill(cluster: Cluster, fault: Fault) -> AsyncIterator[str]:
    disk = cluster.disks[fault.target]
    await asyncio.to_thread(disk.fill)
    try:
        yield f"the disk of {fault.target} is full"
    finally:
        await asyncio.to_thread(disk.empty)


@asynccontextmanager
async def _slow(cluster: Cluster, fault: Fault) -> AsyncIterator[str]:
    kb_s = round(8 + 248 * fault.strength)
    groups, device = cluster.groups[fault.target], cluster.disks[fault.target].device
    groups.limit_writes(device, kb_s * 1_024)
    try:
        yield f"{fault.target} writes at most {kb_s} KB/s to its disk"
    finally:
        groups.limit_writes(device, None)


@asynccontextmanager
async def _squeeze(cluster: Cluster, fault: Fault) -> AsyncIterator[str]:
    groups = cluster.groups[fault.target]
    used_mb = groups.used_mb()
    limit_mb = used_mb * (0.85 + 0.2 * fault.strength)
    before = groups.num_killed()
    try:
        # In a thread: the kernel first reclaims what is over the limit.
        await asyncio.to_thread(groups.limit_memory, limit_mb)
        words = f"{fault.target} may use {limit_mb:.0f} MB of memory; it used {used_mb:.0f}"
    except OSError as error:  # not even what could be reclaimed was enough
        words = f"{fault.target} had to give memory back, but could not: {error.strerror}"
    try:
        yield words
    finally:
        groups.limit_memory(None)
        killed = groups.num_killed() - before
        cluster.note(f"the kernel killed {killed} processes of {fault.target} for lack of memory")


@asynccontextmanager
async def jump(cluster: Cluster, fault: Fault) -> AsyncIterator[str]:
    """Move the wall clock of a process, and back."""
    by_s = _JUMPS_S[min(len(_JUMPS_S) - 1, int(fault.strength * len(_JUMPS_S)))]
    clock = cluster.clocks[fault.target]
    clock.jump(by_s)
    try:
        yield f"the clock of {fault.target} jumps by {by_s:+g} s, and back at the end"
    finally:
        clock.jump(0.0)


FAULTS: Final[dict[Card, Inject]] = {
    Card("full disk", "the disk of a worker or of Redis is full", _STORING, frozenset({DISKS})): (
        _fill
    ),
    Card(
        "slow disk",
        "a worker or Redis writes at 8 to 256 KB/s to its disk",
        _STORING,
        frozenset({SLOW_DISKS, DISKS}),
    ): _slow,
    Card(
        "memory pressure",
        "a worker may use 85 to 105 % of the memory that it has in use",
        WORKERS,
        frozenset({MEMORY}),
    ): _squeeze,
    Card(
        "clock jump",
        "the wall clock of one process jumps by 2 s, a minute or an hour, and back",
        CLOCKED,
        frozenset({CLOCKS}),
    ): jump,
}
