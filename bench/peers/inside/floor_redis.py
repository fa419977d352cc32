"""Floor: a bare asyncio client over raw hiredis connections, in the shape that Hedgerow has."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bench.harness.floor import run_floor
from bench.harness.load import Run
from bench.harness.pipe import Setting
from bench.harness.server import Server
from bench.peers.inside.serving import asking, serve
from bench.peers.inside.work import next_query

SETTINGS = (
    Setting(
        "shape",
        "one list a shard, all requests of a loop turn in one write, BLMPOP up to 64, Pub/Sub",
        "as in bench/harness/floor.py; no deadline, outcomes, breaker or merge",
    ),
)


@asynccontextmanager
async def connect(socket: str) -> AsyncIterator[Run]:
    """A client in this process and eight echoing workers."""
    server = Server(socket, os.getppid())
    async with run_floor(server, is_batched=False, shards_a_worker=1, query=next_query()) as floor:
        yield asking(floor.ask)


if __name__ == "__main__":
    serve(connect, ("hiredis", "msgpack"), SETTINGS)
