"""The peer's end of the pipe to the driver: it reads words, and writes a JSON object a line.

    → 32 1.0                   in flight, seconds
    ← {"seconds": 1.002, "latencies_us": [410, …], "num_failed": 0, "failure": "", …}

The first line is written once the peer has answered a query, and has its versions and settings. The
peer ends when the commands end.
"""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from importlib import metadata
from typing import Any

from bench.harness.load import Ask, Run, closed_loop
from bench.harness.pipe import Pipe, Setting
from bench.peers.inside.work import NUM_SHARDS, check, next_query

_START_TIMEOUT_S = 90.0


def asking(ask: Ask) -> Run:
    """A load from a coroutine function that asks one query."""
    return partial(closed_loop, ask)


def asking_shards(one: Callable[[int, str], Awaitable[Any]]) -> Run:
    """A load from a coroutine function that asks one shard and returns its reply."""

    async def ask() -> None:
        query = next_query()
        check(await asyncio.gather(*(one(shard, query) for shard in range(NUM_SHARDS))))

    return asking(ask)


def serve(
    connect: Callable[[str], AbstractAsyncContextManager[Run]],
    packages: tuple[str, ...],
    settings: tuple[Setting, ...],
    run_worker: Callable[[str, int], None] | None = None,
) -> None:
    """Start the peer, and obey the driver until it hangs up.

    If the command line names a shard after the socket, run that shard's worker instead.

    Args:
        connect: starts the peer's workers and its client, given the path of a Redis server's
            Unix socket, and stops both at its end.
        packages: whose versions are reported.
        settings: what was tuned, and why.
        run_worker: serves a shard until it is stopped; for a peer whose workers are this module.
    """
    if run_worker is not None and len(sys.argv) > 2:
        run_worker(sys.argv[1], int(sys.argv[2]))
        return
    pipe = Pipe()

    async def main() -> None:
        async with connect(sys.argv[1]) as run:
            await _first_answer(run)
            pipe.say(
                {
                    "versions": {name: metadata.version(name) for name in packages},
                    "settings": [[one.name, one.value, one.reason] for one in settings],
                }
            )
            loop, lines = asyncio.get_running_loop(), pipe.lines()
            while line := await loop.run_in_executor(None, next, lines, None):
                in_flight, seconds = line.split()
                pipe.say((await run(int(in_flight), float(seconds))).to_json())

    asyncio.run(main())


async def _first_answer(run: Run) -> None:
    """Wait until a query is answered: workers take their time to start."""
    give_up_at = time.monotonic() + _START_TIMEOUT_S
    while not (load := await run(1, 0.01)).latencies_s:
        if time.monotonic() > give_up_at:
            raise TimeoutError(
                f"no query was answered within {_START_TIMEOUT_S:g} s: {load.failure}"
            )
        await asyncio.sleep(0.1)
