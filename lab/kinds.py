"""The three kinds of work, and the handler that runs them in a scorer process."""

import asyncio
import time
from collections.abc import Callable

from hedgerow.shard_worker.executors.process_pool.budget import Budget
from lab.compute import compute

IO_S = 0.02


async def wait_async() -> None:
    """I/O by an async library: the loop runs other tasks meanwhile."""
    await asyncio.sleep(IO_S)


def wait_blocking() -> None:
    """I/O by a blocking library: the thread waits."""
    time.sleep(IO_S)


def make_handler(_config: object) -> Callable[[bytes, Budget], bytes]:
    """The handler of a scorer process, which runs the kind of work that the payload names."""

    def handle(payload: bytes, _budget: Budget) -> bytes:
        kind, *arguments = payload.decode().split()
        match kind:
            case "async":
                asyncio.run(wait_async())
            case "blocking":
                wait_blocking()
            case "cpu":
                compute(*map(int, arguments))
        return payload

    return handle
