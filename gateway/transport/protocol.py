"""The interface to the network, so that the same gather code runs over Redis and in tests."""

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from hedgerow.common.wire.messages import Kind, Reply


class ReplySink(Protocol):
    """Takes the reports about one scatter; called on the event loop."""

    def on_reply(self, reply: Reply, worker: str, now: float) -> None:
        """A reply has arrived; it may be a duplicate, or from a shard that was not asked.

        Args:
            reply: the reply.
            worker: who has sent it.
            now: when it arrived, on the event loop's clock.
        """

    def on_unsent(self, shard: int, reason: str) -> None:
        """The request to `shard` was not sent, as far as is known."""

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
            kind: the kind of request, which determines the queue.
            query_id: unique in this gateway; replies with this id go to `sink`. Several calls for
                the same query have the same sink.
            shards: the shards to ask.
            message: the packed `Request`.
            sink: takes replies, and notices of requests that were not sent, until `release`.
            goes_ahead: whether it goes to the head of the shards' queues.

        Returns:
            Shard → length of its queue right after the request was added, including it. A shard is
            added to the mapping as soon as that is known.
        """

    def ask_queue(
        self, kind: Kind, shard: int, message: bytes, on_answer: Callable[[bool], None]
    ) -> None:
        """Ask whether a request is still in a shard's queue.

        Args:
            kind: the kind of request, which determines the queue.
            shard: the shard's number.
            message: the packed request.
            on_answer: called with the answer; never called if there is none.
        """

    def hedge(self, kind: Kind, shard: int, message: bytes) -> None:
        """Send a second copy, at the head of the shard's queue."""

    def withdraw(
        self, kind: Kind, shard: int, message: bytes, on_answer: Callable[[bool], None]
    ) -> None:
        """Remove a second copy from the queue.

        Args:
            kind: the kind of request, which determines the queue.
            shard: the shard's number.
            message: the packed copy.
            on_answer: called with whether it was still there; never called if that is unknown.
        """

    def cancel(self, query_id: int, shards: Iterable[int], expires_at_ms: int) -> None:
        """Cancel the requests to these shards, queued or running; their replies are not needed.

        Args:
            query_id: the query's id.
            shards: shards that were asked and have not answered.
            expires_at_ms: the requests' deadline, by the Redis server's clock.
        """

    def is_silent(self) -> bool:
        """Whether the server hangs: it owes an answer that takes it microseconds otherwise."""

    def release(self, query_id: int) -> None:
        """Stop waiting for this query; replies that arrive afterwards are late."""
