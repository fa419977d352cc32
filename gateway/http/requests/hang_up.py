"""Notices a client that hangs up while its answer is on the way."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar, cast

from starlette.types import Receive

T = TypeVar("T")

# Most answers leave before, and a task that watches costs as much as a tenth of them.
WATCH_AFTER_S = 0.01


class ClientLeftError(Exception):
    """The client has hung up; nobody will read an answer."""


async def unless_client_leaves(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """What `work` returns; it is cancelled when the client hangs up.

    The request's body must have been read: what comes after it can only be the end.

    Raises:
        ClientLeftError: the client has hung up, and `work` has ended.
    """
    mine = cast("asyncio.Task[Any]", asyncio.current_task())
    loop = asyncio.get_running_loop()
    watchers: list[asyncio.Task[None]] = []
    has_left = False

    async def watch() -> None:
        nonlocal has_left
        while (await receive())["type"] != "http.disconnect":
            pass
        has_left = True
        mine.cancel()

    def start() -> None:
        watchers.append(loop.create_task(watch(), name="hang-up"))

    timer = loop.call_later(WATCH_AFTER_S, start)
    try:
        return await work
    except asyncio.CancelledError:
        # Somebody else's wish to cancel this task counts for more.
        if has_left and mine.uncancel() == 0:
            raise ClientLeftError from None
        raise
    finally:
        timer.cancel()
        for watcher in watchers:
            watcher.cancel()
        if watchers:
            await asyncio.gather(*watchers, return_exceptions=True)
