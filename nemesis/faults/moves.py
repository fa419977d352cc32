"""Shards that move meanwhile: workers that are drained, added and removed, and a rebalance."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from nemesis.cluster.cluster import Cluster
from nemesis.faults.injection import Inject
from nemesis.layout import SPARE, WORKERS
from nemesis.schedule import Card, Fault

_PATIENCE_S: Final = 60.0  # until a worker that is to be removed holds nothing any more
_POLL_S: Final = 0.5


@asynccontextmanager
async def _drain(cluster: Cluster, fault: Fault) -> AsyncIterator[str]:
    """Drain a worker, and let it keep its shards in the end, however far that has got."""
    path = f"/v1/placement/draining/{fault.target}"
    status = await cluster.operate("PUT", path)
    try:
        yield f"{fault.target} is drained (HTTP {status})"
    finally:
        await cluster.operate("DELETE", path)


@asynccontextmanager
async def _add(cluster: Cluster, _fault: Fault) -> AsyncIterator[str]:
    """Add a worker, and remove it in order; what it has stored stays on its disk."""
    program = cluster.programs[SPARE]
    if program.is_wanted:  # the same fault, twice in a round
        yield f"{SPARE} is there already"
        return
    program.start()
    try:
        yield f"{SPARE} joins, and is later drained and stopped"
    finally:
        await cluster.operate("PUT", f"/v1/placement/draining/{SPARE}")
        await _until_drained(cluster)
        await program.drain()


async def _until_drained(cluster: Cluster) -> None:
    give_up_at = time.monotonic() + _PATIENCE_S
    while time.monotonic() < give_up_at:
        placement = await cluster.placement()
        workers = placement.get("workers", [])
        if placement and not any(
            one["id"] == SPARE and (one["owns"] or one["joining"]) for one in workers
        ):
            return
        await asyncio.sleep(_POLL_S)
    cluster.note(f"{SPARE} still holds shards, and is stopped all the same")


@asynccontextmanager
async def _rebalance(cluster: Cluster, _fault: Fault) -> AsyncIterator[str]:
    status = await cluster.operate("POST", "/v1/placement/rebalance")
    yield f"workers that are lost are waited for no longer (HTTP {status})"


FAULTS: Final[dict[Card, Inject]] = {
    Card("drain a worker", "a worker is drained, and later keeps its shards", WORKERS): _drain,
    Card("add a worker", "one more worker joins, and is later drained and stopped", (SPARE,)): _add,
    Card(
        "rebalance", "shards of workers that are lost move at once", ("the placement",), lasts=False
    ): _rebalance,
}
