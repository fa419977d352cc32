"""What the gather core needs of the network, so that the same core runs over Redis and in tests."""

from collections.abc import Sequence
from typing import Protocol

from common.wire import Reply


class ReplySink(Protocol):
    """Who a transport reports to, about one scatter; always called on the event loop."""

    def on_reply(self, reply: Reply, worker: str) -> None:
        """A shard's reply has arrived; it may be a duplicate, or from a shard never asked."""

    def on_unsent(self, shard: int, reason: str) -> None:
        """The request to `shard` could not be handed to the network."""

    def on_queued(self, shard: int, backlog: int) -> None:
        """The request lies in the shard's queue, as one of `backlog`."""


class Transport(Protocol):
    """Carries requests to shards and replies back."""

    def scatter(
        self, query_id: int, messages: Sequence[tuple[int, bytes]], sink: ReplySink, kind: int
    ) -> None:
        """Send one packed request to each shard, without waiting.

        Args:
            query_id: unique in this gateway; replies that bear it go to `sink`.
            messages: shard and packed `Request`, a pair for each shard that is asked.
            sink: told of replies and of what could not be sent, until `release`.
            kind: a `common.wire.Kind`; says which queue of the shard.
        """

    def release(self, query_id: int) -> None:
        """Nobody waits for this query any more; what still arrives is counted as late."""
