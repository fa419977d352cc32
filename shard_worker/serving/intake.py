"""What a worker does with a pulled request before an executor gets it."""

import time
from collections.abc import Container, Iterable
from typing import Final, NamedTuple, Protocol, TypeVar

import structlog

from hedgerow.common.errors import WireError
from hedgerow.common.observability.telemetry import Counters, Throttle
from hedgerow.common.redis.server_clock import ServerClock
from hedgerow.common.wire.messages import Request
from hedgerow.shard_worker.serving.consumer import OWN_QUEUE
from hedgerow.shard_worker.serving.forwarding import Forwarding
from hedgerow.shard_worker.serving.in_flight import InFlight
from hedgerow.shard_worker.serving.pull_policy import Pulled
from hedgerow.shard_worker.serving.work_accounting import End, WorkAccounting

log = structlog.get_logger()

# In Python 3.11, looking up an enum's member takes five times as long as a global.
_DROPPED: Final = End.DROPPED.value


class Records(NamedTuple):
    """Where a worker's searches and fetches are recorded.

    Attributes:
        clock: the server's, by which requests expire.
        in_flight: which requests run here, and which were cancelled before they were pulled.
        accounting: what the time was spent on.
        counters: the worker's.
    """

    clock: ServerClock
    in_flight: InFlight
    accounting: WorkAccounting
    counters: Counters


class HasRequest(Protocol):
    """What a service has read of a request."""

    @property
    def request(self) -> Request:
        """The request."""


Read = TypeVar("Read", bound=HasRequest)


class Service(Protocol[Read]):
    """Answers requests of one kind."""

    def read(self, message: bytes, max_bytes: int, /) -> Read:
        """Read a packed request.

        Raises:
            WireError: it is malformed, over `max_bytes`, or of another kind.
        """

    def start(self, shard: int, read: Read, now: float, queue_us: int, is_shared: bool) -> None:
        """Start to answer a request.

        Args:
            shard: which shard is asked.
            read: the request.
            now: when it was pulled, an instant of `time.monotonic()`, in s.
            queue_us: how long it has waited in its queue, in µs.
            is_shared: whether another worker could have pulled it.
        """


class Intake:
    """Drops requests whose caller no longer waits, forwards second copies, and starts the rest."""

    def __init__(
        self,
        records: Records,
        forwarding: Forwarding,
        max_message_bytes: int,
        held: Container[int],
    ) -> None:
        """Start requests.

        Args:
            records: where they are recorded.
            forwarding: forwards second copies of requests that already run here, or of a shard that
                this worker no longer holds.
            max_message_bytes: largest request.
            held: the shards that this worker holds.
        """
        self._max_bytes = max_message_bytes
        self._clock, self._in_flight, self._accounting, self._counters = records
        self._forwarding = forwarding
        self._held = held
        self._throttle = Throttle(60.0)

    def take(self, service: Service[Read], pulled: Iterable[Pulled]) -> float:
        """Start the requests of one pull, in their order; returns `time.monotonic()` before them.

        Args:
            service: answers them.
            pulled: the packed requests, each with the shards of the queues that it was in, or
                `OWN_QUEUE`; a shard that a request names comes first.
        """
        now = time.monotonic()
        now_us = self._clock.server_us(now)
        in_flight, max_bytes = self._in_flight, self._max_bytes
        read, start = service.read, service.start
        for message, shards in pulled:
            for shard in shards:
                try:
                    one = read(message, max_bytes)
                except WireError as error:
                    self.count_malformed(error)
                    continue
                request = one.request
                hedge = request.hedge
                target = shard if hedge is None else hedge.shard
                if request.expires_at_ms * 1000 <= now_us:
                    self._counters.add("expired_at_pull")
                    self._accounting.add(_DROPPED, 0, 0)
                elif in_flight.is_unwanted(target, request):
                    self._counters.add("cancelled_at_pull")
                    self._accounting.add(_DROPPED, 0, 0)
                elif hedge is not None and (
                    target not in self._held or in_flight.has(target, request)
                ):
                    self._forwarding.forward(request)
                else:
                    queue_us = max(0, now_us - request.sent_at_us)
                    start(target, one, now, queue_us, shard != OWN_QUEUE)
        return now

    def count_malformed(self, error: WireError | None) -> None:
        """Count a request that cannot be read; logged at most once a minute."""
        self._counters.add("requests_malformed")
        if self._throttle.allows("malformed", time.monotonic()):
            log.warning("request_malformed", error=str(error))
