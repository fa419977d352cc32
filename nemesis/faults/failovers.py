"""Failovers: the primary of Redis is away for so long that the sentinels make its replica one."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from nemesis.abilities import NAMESPACES
from nemesis.cluster.cluster import Cluster
from nemesis.faults.injection import Inject, Spared
from nemesis.schedule import Card, Fault

_LEAST_S: Final = 6.0  # until the sentinels have switched


@asynccontextmanager
async def _kill(cluster: Cluster, fault: Fault) -> AsyncIterator[str | Spared]:
    name = await cluster.primary()
    if name is None:
        yield Spared("no sentinel names a primary")
        return
    program = cluster.programs[name]
    program.hold()
    program.signal(signal.SIGKILL)
    try:
        yield f"SIGKILL to {name}, the primary, which stays away"
        await _until_switched(fault)
    finally:
        program.start()


@asynccontextmanager
async def _stop(cluster: Cluster, fault: Fault) -> AsyncIterator[str | Spared]:
    name = await cluster.primary()
    if name is None:
        yield Spared("no sentinel names a primary")
        return
    program = cluster.programs[name]
    pid = program.signal(signal.SIGSTOP)
    try:
        yield f"SIGSTOP to {name}, the primary"
        await _until_switched(fault)
    finally:
        if program.pid == pid:
            program.signal(signal.SIGCONT)


async def _until_switched(fault: Fault) -> None:
    await asyncio.sleep(max(0.0, _LEAST_S - fault.for_s))


_NEEDS: Final = frozenset({NAMESPACES})
_PRIMARY: Final = ("the primary",)
FAULTS: Final[dict[Card, Inject]] = {
    Card(
        "kill the primary", "SIGKILL to the primary of Redis, which stays away", _PRIMARY, _NEEDS
    ): _kill,
    Card(
        "stop the primary", "SIGSTOP to the primary of Redis, later SIGCONT", _PRIMARY, _NEEDS
    ): _stop,
}
