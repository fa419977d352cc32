"""Sends one query's requests to its shards, and cancels those that are not answered in time."""

from typing import Final

from hedgerow.common.outcome import Outcome
from hedgerow.common.wire.messages import Attach, Kind, Request, pack_request
from hedgerow.gateway.policies.shard_result import NO_TIME
from hedgerow.gateway.search.gather import Gather
from hedgerow.gateway.search.hedger import Watched
from hedgerow.gateway.transport.messenger import Messenger

_CANCELLED: Final = Outcome.CANCELLED


class Scatter:
    """Sends a query's requests; `close` ends the wait for their replies.

    Call `close` in a `finally`: it must also run when the wait is cancelled, or the transport would
    remember the query for ever. If the deadline leaves no time, every part has ended from the
    start, and there is nothing to send.

    Attributes:
        gather: collects the replies.
        deadline: until when to wait for replies, on the event loop's clock.
        query_id: unique in this gateway.
        expires_at_ms: when the requests expire, on the Redis server's clock.
    """

    __slots__ = (
        "_kind",
        "_late_ms",
        "_reply_to",
        "_sent_at_us",
        "_trace",
        "_transport",
        "deadline",
        "expires_at_ms",
        "gather",
        "query_id",
    )

    def __init__(
        self,
        kind: Kind,
        messenger: Messenger,
        gather: Gather,
        started: float,
        deadline: float,
        late_ms: int = 0,
        trace: bytes | None = None,
    ) -> None:
        """Send over `messenger`, and have the replies collected by `gather`.

        Args:
            kind: what is asked for.
            messenger: the gateway's way to the shards.
            gather: collects the replies.
            started: now, on the event loop's clock, in s.
            deadline: until when to wait for replies, on the same clock.
            late_ms: how long after the deadline shards may go on, so that the gateway learns how
                long they take, in ms.
            trace: the context of its trace that the workers get, packed; None for none.
        """
        self.gather = gather
        self.deadline = deadline
        self.query_id = messenger.next_id()
        sent_at_us = messenger.clock.server_us(started)
        self.expires_at_ms = (sent_at_us + int((deadline - started) * 1e6)) // 1000 + late_ms
        self._kind = kind
        self._transport = messenger.transport
        self._reply_to = messenger.reply_to
        self._sent_at_us = sent_at_us
        self._late_ms = late_ms
        self._trace = trace
        if deadline <= started:  # a request that has expired is not worth sending
            gather.end(Outcome.TIMED_OUT, "the deadline left no time", NO_TIME)

    def close(self) -> None:
        """Cancel the parts that have not ended, in their workers too, and forget the query."""
        transport, gather = self._transport, self.gather
        transport.release(self.query_id)
        if gather.num_ok < len(gather.asked):
            gather.end(_CANCELLED, "the caller has left")
            if unwanted := gather.cancelled():
                transport.cancel(self.query_id, unwanted, self.expires_at_ms)

    def request(self, payload: bytes, attach: Attach | None = None) -> Request:
        """Make a request of this query.

        Args:
            payload: the packed payload.
            attach: the documents that replies to a search should include.
        """
        return Request(
            self._kind,
            self.query_id,
            self.expires_at_ms,
            self._sent_at_us,
            self._reply_to,
            payload,
            None,  # a first copy
            self._late_ms,
            attach,
            self._trace,
        )

    def send(self, request: Request, shards: tuple[int, ...], goes_ahead: bool = False) -> Watched:
        """Send a request to `shards`.

        Args:
            request: a request made by `request`.
            shards: its recipients.
            goes_ahead: whether it goes ahead of all requests that wait in the shards' queues.

        Returns:
            What a `Hedger` needs to know in order to send second copies.
        """
        message = pack_request(request)
        gather = self.gather
        gather.sent(
            self._transport.scatter(
                self._kind, self.query_id, shards, message, gather, goes_ahead=goes_ahead
            ),
            self._transport.is_silent,
        )
        return Watched(gather, shards, request, message, gather.started, self.deadline)
