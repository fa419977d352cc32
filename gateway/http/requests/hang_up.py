"""Notices a client that disconnects while its request is being answered."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar, cast

from starlette.types import Receive

T = TypeVar("T")

# Most answers are sent before, and a task that watches costs a tenth of an answer.
WATCH_AFTER_S = 0.01


class ClientLeftError(Exception):
    """The client has disconnected and will not read an answer."""


async def unless_client_leaves(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """Return the result of `work`; it is cancelled if the client disconnects.

    The request's body must have been read: the next message can only be the disconnection.

    Raises:
        ClientLeftError: the client has disconnected, and `work` has ended.
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
        # If this task was also cancelled from elsewhere, that takes precedence.
        if has_left and mine.uncancel() == 0:
            raise ClientLeftError from None
        raise
    finally:
        timer.cancel()
        for watcher in watchers:
            watcher.cancel()
        if watchers:
            await asyncio.gather(*watchers, return_exceptions=True)
