"""Sends replies: those that are ready together leave as one message to each gateway."""

from collections.abc import Callable, Sequence
from typing import Protocol

from msgspec.structs import replace

from hedgerow.common.errors import FailureCode
from hedgerow.common.observability.telemetry import Counters
from hedgerow.common.redis.commands import unanswered
from hedgerow.common.redis.connection import RedisConnection
from hedgerow.common.wire.messages import Failure, Reply, Status, pack_body, pack_replies

# What MessagePack adds at most: to a body, an array of eight with five numbers of 64 bits and two
# small ones; to the worker's name, an array of three with a version and two lengths.
_REPLY_BYTES = 64
_MESSAGE_BYTES = 16


class Replies(Protocol):
    """Takes replies, and sends them when `Turn` decides."""

    @property
    def has_ready(self) -> bool:
        """Whether there is something to send."""

    def add(self, reply_to: str, reply: Reply) -> None:
        """Add a reply, which leaves with the next `flush` or with a pull."""

    def flush(self) -> None:
        """Send what is ready now."""


class Replier:
    """Collects replies, and publishes them when `Turn` decides.

    Pub/Sub stores nothing: a reply to a gateway that has died costs nothing, and a reply that is
    lost with the connection costs its shard's share of one query.

    A gateway refuses a message over the limit, with all replies in it. So replies that are too
    large together leave as several messages, and a reply that is too large alone becomes a failure.
    """

    def __init__(
        self,
        connection: RedisConnection,
        worker: str,
        counters: Counters,
        max_message_bytes: int,
        channel_of: Callable[[str], str] | None = None,
    ) -> None:
        """Reply over a connection.

        Args:
            connection: to Redis.
            worker: in whose name.
            counters: counts the replies.
            max_message_bytes: largest message.
            channel_of: returns the sharded channel on which the gateway that a request names takes
                replies from the slot that `connection` is for; None without Redis Cluster, where
                the request names the channel.
        """
        self._connection = connection
        self._channel_of = channel_of
        self._publish = "PUBLISH" if channel_of is None else "SPUBLISH"
        self._worker = worker
        self._counters = counters
        self._max_bytes = max_message_bytes - _MESSAGE_BYTES - len(worker.encode())
        self._ready: dict[str, list[Reply]] = {}

    @property
    def has_ready(self) -> bool:
        """Whether there is something to send."""
        return bool(self._ready)

    def add(self, reply_to: str, reply: Reply) -> None:
        """Add a reply, which leaves with the next `flush` or `take`."""
        ready = self._ready
        if reply_to in ready:
            ready[reply_to].append(reply)
        else:
            ready[reply_to] = [reply]

    def flush(self) -> None:
        """Send what is ready now; without a connection, it waits for the next pull."""
        if self._ready and self._connection.is_connected:
            self._connection.send_now(self.take(), [])

    def take(self) -> list[bytes]:
        """Take the packed commands that send the replies, for a caller that is about to write."""
        ready, self._ready = self._ready, {}
        commands: list[bytes] = []
        for reply_to, replies in ready.items():
            self._counters.add("replies", len(replies))
            channel = reply_to if self._channel_of is None else self._channel_of(reply_to)
            commands += [
                unanswered(self._publish, channel, pack_replies(self._worker, part))
                for part in self._split(replies)
            ]
        return commands

    def _split(self, replies: list[Reply]) -> list[list[Reply]]:
        """Split replies into messages within the limit, in order; none is empty."""
        num_bytes = sum([len(reply.body) for reply in replies]) + _REPLY_BYTES * len(replies)
        if num_bytes <= self._max_bytes:
            return [replies]
        parts: list[list[Reply]] = [[]]
        num_bytes = 0
        for reply in map(self._checked, replies):
            size = len(reply.body) + _REPLY_BYTES
            num_bytes += size
            if num_bytes > self._max_bytes and parts[-1]:
                parts.append([])
                num_bytes = size
            parts[-1].append(reply)
        return parts

    def _checked(self, reply: Reply) -> Reply:
        """The reply, or a failure in its place if it does not fit into any message."""
        size = len(reply.body)
        if size + _REPLY_BYTES <= self._max_bytes:
            return reply
        self._counters.add("failed_too_large")
        reason = f"the reply has {size} bytes, over limits.max_message_bytes"
        body = pack_body(Failure(FailureCode.TOO_LARGE, reason))
        return replace(reply, status=Status.FAILED.value, body=body)


class SlotRepliers:
    """The repliers of several slots of a Redis Cluster: each has its own shards' replies."""

    def __init__(self, repliers: Sequence[Replier]) -> None:
        """Reply by `repliers`, in the order of the slots."""
        self._repliers = tuple(repliers)

    @property
    def has_ready(self) -> bool:
        """Whether there is something to send."""
        return any(replier.has_ready for replier in self._repliers)

    def add(self, reply_to: str, reply: Reply) -> None:
        """Add a reply to those of its shard's slot."""
        self._repliers[reply.shard % len(self._repliers)].add(reply_to, reply)

    def flush(self) -> None:
        """Send what is ready now."""
        for replier in self._repliers:
            replier.flush()
