"""Publishes which queries are cancelled, those of one turn of the loop in one message a shard."""

import asyncio
from collections.abc import Callable, Iterable

from hedgerow.common.redis.commands import unanswered
from hedgerow.common.redis.connection import RedisConnection
from hedgerow.common.wire.messages import Cancellation, pack_cancellation


class Cancellations:
    """Collects the cancellations of a turn, and publishes them at its end."""

    def __init__(
        self,
        push: RedisConnection,
        channel: Callable[[int], tuple[str, str]],
        reply_to: str,
        before: Callable[[], None],
    ) -> None:
        """Nothing is cancelled yet.

        Args:
            push: the connection that requests are pushed on.
            channel: shard → the command that publishes, and the channel that its workers listen to.
            reply_to: names the gateway whose queries they are.
            before: pushes the requests of the turn, so that they precede their cancellation.
        """
        self._push = push
        self._channel = channel
        self._reply_to = reply_to
        self._before = before
        self._cancelled: dict[int, list[tuple[int, int]]] = {}

    def add(self, query_id: int, shards: Iterable[int], expires_at_ms: int) -> None:
        """Cancel a query, which expires at this time, in these shards."""
        if not self._cancelled:
            asyncio.get_running_loop().call_soon(self._publish)
        for shard in shards:
            self._cancelled.setdefault(shard, []).append((query_id, expires_at_ms))

    def _publish(self) -> None:
        cancelled, self._cancelled = self._cancelled, {}
        self._before()
        commands = []
        for shard, queries in cancelled.items():
            command, channel = self._channel(shard)
            message = pack_cancellation(Cancellation(self._reply_to, queries))
            commands.append(unanswered(command, channel, message))
        self._push.send_now(commands, [])
