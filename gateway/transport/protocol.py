"""What the gather core needs of the network, so that the same core runs over Redis and in tests."""

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from hedgerow.common.wire.messages import Kind, Reply


class ReplySink(Protocol):
    """Who a transport reports to, about one scatter; always called on the event loop."""

    def on_reply(self, reply: Reply, worker: str) -> None:
        """A shard's reply has arrived; it may be a duplicate, or from a shard never asked."""

    def on_unsent(self, shard: int, reason: str) -> None:
        """The network did not take the request to `shard`, as far as one can know."""

    def on_lost(self, reason: str) -> None:
        """No reply to this scatter can arrive any more."""


class Transport(Protocol):
    """Carries requests to shards and replies back."""

    def scatter(
        self,
        kind: Kind,
        query_id: int,
        shards: tuple[int, ...],
        message: bytes,
        sink: ReplySink,
        goes_ahead: bool = False,
    ) -> Mapping[int, int]:
        """Send a packed request to each shard, without waiting.

        Args:
            kind: what is asked for; says which queue of a shard.
            query_id: unique in this gateway; replies that bear it go to `sink`. What several
                calls send for the same query has the same sink.
            shards: those that are asked.
            message: the packed `Request`.
            sink: told of replies and of what could not be sent, until `release`.
            goes_ahead: whether it goes ahead of all that waits in the shards' queues.

        Returns:
            Shard → how many requests lay in its queue once this one did, itself and those ahead of
            it. A shard is in it as soon as that is known.
        """

    def ask_queue(
        self, kind: Kind, shard: int, message: bytes, on_answer: Callable[[bool], None]
    ) -> None:
        """Ask whether a request that was sent to a shard still waits in its queue.

        Args:
            kind: what was asked for; says which queue of the shard.
            shard: which shard.
            message: the packed request.
            on_answer: given the answer; never called when none can be had.
        """

    def hedge(self, kind: Kind, shard: int, message: bytes) -> None:
        """Send a second copy, ahead of all that waits in the shard's queue."""

    def withdraw(
        self, kind: Kind, shard: int, message: bytes, on_answer: Callable[[bool], None]
    ) -> None:
        """Take a second copy off the queue again.

        Args:
            kind: what was asked for; says which queue of the shard.
            shard: which shard.
            message: the packed copy.
            on_answer: told whether it was still there; never called when that cannot be known.
        """

    def cancel(self, query_id: int, shards: Iterable[int], expires_at_ms: int) -> None:
        """Nobody waits for these shards' parts any more: what is queued or runs need not.

        Args:
            query_id: the query's.
            shards: those that were asked and have not answered.
            expires_at_ms: the requests' deadline, on the Redis server's clock.
        """

    def release(self, query_id: int) -> None:
        """Nobody waits for this query any more; what still arrives is late."""
