"""Hedgerow, through its whole gateway: `… -m bench.peers.inside.hedgerow SOCKET LANE [WORKERS]`."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bench.harness.cluster import (
    DEADLINE_MS,
    LOOP_LANE,
    PROCESS_LANE,
    PROFILES,
    Asker,
    run_cluster,
)
from bench.harness.cluster import connect as connect_gateway
from bench.harness.load import Run
from bench.harness.pipe import Setting
from bench.peers.inside.serving import asking, serve
from bench.peers.inside.work import NUM_SHARDS, next_query
from hedgerow.common.lifecycle import calm_collector

_PROFILES = {"loop": LOOP_LANE, "process": PROCESS_LANE}
# Long enough that a worker which the driver has stopped still counts as live.
_HEARTBEAT_EXPIRY_S = 600.0
SETTINGS = (
    Setting(
        "rank profile",
        "first_phase noop",
        "the first ids, from the loop lane or from a scorer process; fields false, so ids and "
        "scores alone, as of the others",
    ),
    Setting(
        "profiles of the workers",
        "that one and the built-in ones",
        "with a second phase among them, each worker would start a spare scorer",
    ),
    Setting("deadline_ms", f"{DEADLINE_MS:g}", "each query has one; none is reached"),
    Setting("breaker, hedging, probation", "as they are", "their defaults"),
    Setting("admission.enabled", "false", "what a query costs is measured, so none is refused"),
    Setting(
        "workers",
        f"{NUM_SHARDS} of one shard; in the row of 2 workers, 2 of four",
        "as many as the others have; as many as there are cores",
    ),
    Setting(
        "worker.workers_on_host",
        "as many as there are",
        "so each has its share of the cores for scorer processes, and one at least",
    ),
    Setting(
        "worker.heartbeat_expiry_s",
        f"{_HEARTBEAT_EXPIRY_S:g}",
        "workers that are stopped while others are measured still count as live",
    ),
    Setting("gateway.write_timeout_s", "600", "for the documents that are loaded before"),
    Setting("log_level", "error", "workers log nothing else"),
    Setting("Python's garbage collector", "calmed in the gateway", "as `gateway serve` does"),
)


@asynccontextmanager
async def connect(_: str) -> AsyncIterator[Run]:
    """A gateway in this process, and workers with a server of their own."""
    num_workers = int(sys.argv[3]) if len(sys.argv) > 3 else NUM_SHARDS
    layout = [tuple(range(NUM_SHARDS))[number::num_workers] for number in range(num_workers)]
    # The text of a query is as long as the others' requests; its number is added to it.
    text = next_query()[:-6]
    profiles = {PROCESS_LANE: PROFILES[PROCESS_LANE]}
    with run_cluster(layout, profiles=profiles, heartbeat_expiry_s=_HEARTBEAT_EXPIRY_S) as cluster:
        async with connect_gateway(cluster) as gateway:
            calm_collector()  # as `gateway serve` does
            yield asking(Asker(gateway, _PROFILES[sys.argv[2]], text=text).ask)


if __name__ == "__main__":
    serve(connect, ("hedgerow",), SETTINGS)
