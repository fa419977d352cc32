"""Requests for another worker: second copies, and searches that cannot start here soon."""

import asyncio
from collections.abc import Callable
from functools import partial

from msgspec.structs import replace

from hedgerow.common.observability.telemetry import Counters
from hedgerow.common.redis.commands import pack, unanswered
from hedgerow.common.redis.connection import RedisConnection
from hedgerow.common.redis.keys import Keys
from hedgerow.common.wire.messages import Hedge, Kind, Request, pack_request
from hedgerow.shard_worker.serving.consumer import Consumer


class Forwarding:
    """Forwards a second copy that this worker must not run to a worker that may run it."""

    def __init__(
        self,
        connection_of: Callable[[int], RedisConnection],
        keys: Keys,
        worker: str,
        expiry_s: int,
        counters: Counters,
    ) -> None:
        """Forward requests.

        Args:
            connection_of: shard → the connection to the server that has its queues.
            keys: the names of everything in Redis.
            worker: this worker.
            expiry_s: a queue without a push is removed after this time, in s.
            counters: counts what is forwarded.
        """
        self._connection_of = connection_of
        self._keys = keys
        self._worker = worker
        self._expiry_s = expiry_s
        self._counters = counters

    def forward(self, request: Request) -> None:
        """Send a second copy to the next worker on its list; drop it if there is none."""
        hedge = request.hedge
        others = (
            [] if hedge is None else [other for other in hedge.workers if other != self._worker]
        )
        if hedge is None or not others:
            self._counters.add("hedges_unplaced")
            return
        self._counters.add("hedges_handed_over")
        is_search = request.kind == Kind.SEARCH
        keys = self._keys
        key_of = keys.worker_search_queue if is_search else keys.worker_fetch_queue
        queue = key_of(others[0], keys.slot(hedge.shard))
        # No worker is tried twice, so that the request cannot go in circles.
        message = pack_request(replace(request, hedge=Hedge(hedge.shard, others[1:])))
        self._connection_of(hedge.shard).send_now(
            [
                unanswered("RPUSH", queue, message),
                unanswered("EXPIRE", queue, self._expiry_s),
            ],
            [],
        )


class GiveBack:
    """Puts requests back at the head of their shards' queues, where any replica can take them."""

    def __init__(
        self,
        connection: RedisConnection,
        keys: Keys,
        expiry_s: int,
        counters: Counters,
        consumer: Consumer,
    ) -> None:
        """Give the searches of one slot's shards back.

        Args:
            connection: to the server that has their queues.
            keys: the names of everything in Redis.
            expiry_s: a queue without a push is removed after this time, in s.
            counters: counts what is given back.
            consumer: pulls searches here; its waiting pop is ended first, since it would take the
                searches again at once.
        """
        self._connection = connection
        self._keys = keys
        self._expiry_s = expiry_s
        self._counters = counters
        self._consumer = consumer
        self._returned: list[tuple[int, bytes]] = []

    def give_back(self, shard: int, message: bytes) -> None:
        """Give a packed search of a shard back, in the next turn of the loop or soon after."""
        if not self._returned:
            asyncio.get_running_loop().call_soon(self._consumer.between_pulls, self._push)
        self._returned.append((shard, message))

    def _push(self) -> None:
        returned, self._returned = self._returned, []
        self._counters.add("searches_given_back", len(returned))
        queues: dict[int, list[bytes]] = {}
        for shard, message in returned:
            queues.setdefault(shard, []).append(message)
        for shard, messages in queues.items():
            queue = self._keys.search_queue(shard)
            expire = unanswered("EXPIRE", queue, self._expiry_s)
            # In reverse, so that the oldest is at the head again.
            newest_first = messages[::-1]
            if self._keys.num_slots:
                push = pack("LPUSH", queue, *newest_first)
                again = [push, pack("EXPIRE", queue, self._expiry_s)]
                on_pushed = partial(self._consumer.send_where_asked, again)
                self._connection.send_now([push, expire], [on_pushed])
            else:
                self._connection.send_now([unanswered("LPUSH", queue, *newest_first), expire], [])
