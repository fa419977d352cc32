"""What the gather core needs of the network, so that the same core runs over Redis and in tests."""

from collections.abc import Sequence
from typing import Protocol

from common.wire import Kind, Reply


class ReplySink(Protocol):
    """Who a transport reports to, about one scatter; always called on the event loop."""

    def on_reply(self, reply: Reply, worker: str) -> None:
        """A shard's reply has arrived; it may be a duplicate, or from a shard never asked."""

    def on_queued(self, shard: int, backlog: int) -> None:
        """The request lies in the shard's queue, as one of `backlog`."""

    def on_unsent(self, shard: int, reason: str) -> None:
        """The network did not take the request to `shard`, as far as one can know."""

    def on_lost(self, reason: str) -> None:
        """No reply to this scatter can arrive any more."""


class Transport(Protocol):
    """Carries requests to shards and replies back."""

    def scatter(
        self, kind: Kind, query_id: int, messages: Sequence[tuple[int, bytes]], sink: ReplySink
    ) -> None:
        """Send one packed request to each shard, without waiting.

        Args:
            kind: what is asked for; says which queue of a shard.
            query_id: unique in this gateway; replies that bear it go to `sink`.
            messages: shard and packed `Request`, a pair for each shard that is asked.
            sink: told of replies and of what could not be sent, until `release`.
        """

    def release(self, query_id: int) -> None:
        """Nobody waits for this query any more; what still arrives is counted as late."""
