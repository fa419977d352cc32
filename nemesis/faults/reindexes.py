"""The documents that are written get into another collection meanwhile, or almost."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from nemesis.cluster.cluster import Cluster
from nemesis.faults.injection import Inject, Spared
from nemesis.layout import FIELDS, REGISTERS
from nemesis.schedule import LONGEST_S, Card, Fault

_CANCELLED: Final = 0.3  # of the reindexes, if they still copy then
_OTHERS_S: Final = LONGEST_S + 6.0  # then the other faults of a round are over, and known to be
_PATIENCE_S: Final = 60.0  # for a reindex on a busy machine, after the other faults
_POLL_S: Final = 0.5
_COLLECTIONS: Final = "/v1/collections"
_REINDEX: Final = "/v1/reindex"


@asynccontextmanager
async def _reindex(cluster: Cluster, fault: Fault) -> AsyncIterator[str | Spared]:
    """Replace the collection behind the alias; the fault ends with the reindex."""
    alias = await cluster.shown(f"/v1/aliases/{REGISTERS}")
    if not alias:
        yield Spared("no gateway says what the alias stands for")
        return
    old = alias["collection"]
    number = int(old.rpartition("-")[2])
    new = f"{REGISTERS}-{number + 1}"
    await cluster.operate("PUT", f"{_COLLECTIONS}/{new}", json.dumps(FIELDS))
    body = {"from": old, "to": new, "alias": REGISTERS}
    status = await cluster.operate("POST", _REINDEX, json.dumps(body))
    is_cancelled = fault.strength < _CANCELLED
    more = ", which is later cancelled" if is_cancelled else ""
    began = time.monotonic()
    try:
        yield f"a reindex of {old} into {new}{more} (HTTP {status})"
        if is_cancelled:
            await cluster.operate("DELETE", _REINDEX)
    finally:
        await _until_over(cluster)
        # A gateway that is stopped in this round may not know yet what the alias stands for.
        await asyncio.sleep(max(0.0, began + _OTHERS_S - time.monotonic()))
        await _remove_other(cluster, old, new)


async def _remove_other(cluster: Cluster, old: str, new: str) -> None:
    """Remove the collection that the alias does not stand for, which ends the reindex."""
    alias = await cluster.shown(f"/v1/aliases/{REGISTERS}")
    left = {old: new, new: old}.get(alias.get("collection", ""))
    if left is not None:
        await cluster.operate("DELETE", f"{_COLLECTIONS}/{left}")


async def _until_over(cluster: Cluster) -> None:
    give_up_at = time.monotonic() + _PATIENCE_S
    state = "unknown"
    while time.monotonic() < give_up_at:
        if found := await cluster.shown(_REINDEX):
            state = (found["reindex"] or {"state": "ended"})["state"]
            if state in {"switched", "ended", "cancelled"}:
                return
        await asyncio.sleep(_POLL_S)
    cluster.note(f"the reindex has not ended: {state}")


FAULTS: Final[dict[Card, Inject]] = {
    Card(
        "reindex",
        "the collection that is written to is reindexed; some reindexes are cancelled",
        ("the documents",),
        seldom=1 / 6,
    ): _reindex,
}
