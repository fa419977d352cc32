"""Shards that are split meanwhile, or almost: some splits are cancelled.

Some faults strike at a turn of the split: when a worker has moved it on to a certain state.
"""

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from nemesis.cluster.cluster import Cluster
from nemesis.cluster.split_turns import SplitTurns
from nemesis.faults.injection import Inject, Spared
from nemesis.history import SplitBegan
from nemesis.layout import WORKERS
from nemesis.schedule import Card, Fault

_MOST_SHARDS: Final = 16  # each is an index and a dozen connections, on two cores
_CANCELLED: Final = 0.3  # of the splits, if they still copy then
_TURN_S: Final = 120.0
_PATIENCE_S: Final = 240.0  # a split gives way; on a busy machine, to everything else
_POLL_S: Final = 0.5
KIND: Final = "split the shards"
# At which a fault strikes; writes are held back in the second and third.
_TURNS: Final = ("copying", "sealed", "switched", "retiring", "removing")


@asynccontextmanager
async def _split(cluster: Cluster, fault: Fault) -> AsyncIterator[str | Spared]:
    """Double the number of shards; the fault ends with the split, however long that takes."""
    number = (await cluster.shards()).get("num_shards", _MOST_SHARDS)
    if 2 * number > _MOST_SHARDS:
        yield Spared(f"there are {number} shards, which are not split any further")
        return
    # Before it is asked for: gateways may search the new shards before the answer is here.
    cluster.record(SplitBegan(at=time.monotonic(), num_shards=2 * number))
    status = await cluster.operate("POST", "/v1/split")
    is_cancelled = fault.strength < _CANCELLED
    more = ", which is later cancelled" if is_cancelled else ""
    try:
        yield f"a split from {number} to {2 * number} shards{more} (HTTP {status})"
        if is_cancelled:
            await cluster.operate("DELETE", "/v1/split")
    finally:
        await _until_settled(cluster)


@asynccontextmanager
async def _kill_driver(cluster: Cluster, fault: Fault) -> AsyncIterator[str | Spared]:
    state, worker = await reach_a_turn(cluster, fault)
    if worker is None:
        yield Spared(f"no split got to {state}")
        return
    pid = cluster.programs[worker].signal(signal.SIGKILL)
    if not pid:
        yield Spared(f"{worker}, which had a split {state}, was not running")
        return
    yield f"SIGKILL to {worker} ({pid}), which had a split {state}"


async def reach_a_turn(cluster: Cluster, fault: Fault) -> tuple[str, str | None]:
    """Wait for the state at which a fault strikes: the state, and the worker that told of it.

    No worker if the split ends without it, or does not get there.
    """
    state = _TURNS[min(len(_TURNS) - 1, int(fault.strength * len(_TURNS)))]
    turns = SplitTurns({worker: cluster.log(worker) for worker in WORKERS})
    return state, await turns.reach(state, _TURN_S)


async def _until_settled(cluster: Cluster) -> None:
    give_up_at = time.monotonic() + _PATIENCE_S
    while time.monotonic() < give_up_at:
        found = await cluster.shards()
        if found and found["split"] is None:
            return
        await asyncio.sleep(_POLL_S)
    cluster.note(f"the split has not ended: {found}")


FAULTS: Final[dict[Card, Inject]] = {
    Card(
        KIND,
        "the number of shards is doubled; some splits are cancelled",
        ("the shards",),
        seldom=1 / 5,
    ): _split,
    Card(
        "kill the driver",
        "SIGKILL to the worker that moves a split on, when it has got to a certain state",
        ("the driver",),
        lasts=False,
        seldom=0.6,
        beside=KIND,
    ): _kill_driver,
}
