"""Looks for single requests in the queues of shards, and removes them."""

from collections.abc import Callable
from typing import Any, Final

from hedgerow.common.redis.commands import pack
from hedgerow.common.redis.connection import RedisConnection

# Entries of a queue that are compared, at about 10 ns each, to find a request.
MOST_LOOKED_AT: Final = 256


class QueuedRequests:
    """The requests that wait in Redis; `on_answer` is called only if the server answers."""

    def __init__(self, push: RedisConnection) -> None:
        """Ask over the connection that requests are pushed on, so that pushes come first."""
        self._push = push

    def look_for(self, queue: str, message: bytes, on_answer: Callable[[bool], None]) -> None:
        """Find out whether a request is still in its queue.

        A queue that would be too long to search counts as backed up, without a search.
        """
        is_long = False

        def on_length(length: Any) -> None:
            nonlocal is_long
            is_long = isinstance(length, int) and length > MOST_LOOKED_AT

        def on_position(position: Any) -> None:
            if position is None:
                on_answer(is_long)
            elif isinstance(position, int):
                on_answer(True)

        self._push.send(pack("LLEN", queue), on_length)
        self._push.send(pack("LPOS", queue, message, "MAXLEN", MOST_LOOKED_AT), on_position)

    def remove(self, queue: str, message: bytes, on_answer: Callable[[bool], None]) -> None:
        """Remove one copy of a request; `on_answer` gets whether there was one."""

        def on_removed(removed: Any) -> None:
            if isinstance(removed, int):
                on_answer(removed > 0)

        self._push.send(pack("LREM", queue, 1, message), on_removed)
