"""Requests that another worker is to take: second copies, and what cannot start here."""

import asyncio
from collections.abc import Callable

from msgspec.structs import replace

from hedgerow.common.observability.telemetry import Counters
from hedgerow.common.redis.connection import RedisConnection, unanswered
from hedgerow.common.redis.keys import Keys
from hedgerow.common.wire.messages import Hedge, Kind, Request, pack_request


class Forwarding:
    """Hands second copies that were pulled by the wrong worker to one that may have them."""

    def __init__(
        self, link: RedisConnection, keys: Keys, worker: str, expiry_s: int, counters: Counters
    ) -> None:
        """Hand over, by `link`, what `worker` must not run; queues live for `expiry_s`, in s."""
        self._link = link
        self._keys = keys
        self._worker = worker
        self._expiry_s = expiry_s
        self._counters = counters

    def __call__(self, request: Request) -> None:
        """Give a second copy to the next worker on its list; drop it when there is none."""
        hedge = request.hedge
        others = [] if hedge is None else [one for one in hedge.workers if one != self._worker]
        if hedge is None or not others:
            self._counters.add("hedges_unplaced")
            return
        self._counters.add("hedges_handed_over")
        is_search = request.kind == Kind.SEARCH
        keys = self._keys
        key_of = keys.worker_search_queue if is_search else keys.worker_fetch_queue
        queue = key_of(others[0])
        # Nobody to whom it was offered is asked again, so that it cannot go in circles.
        message = pack_request(replace(request, hedge=Hedge(hedge.shard, others[1:])))
        self._link.send_now(
            [
                unanswered("RPUSH", queue, message),
                unanswered("EXPIRE", queue, self._expiry_s),
            ],
            [],
        )


class GiveBack:
    """Puts requests back to the head of their shards' queues, where any replica takes them."""

    def __init__(
        self,
        link: RedisConnection,
        keys: Keys,
        expiry_s: int,
        counters: Counters,
        after_pull: Callable[[Callable[[], None]], None],
    ) -> None:
        """Give searches back by `link`; queues live for `expiry_s`, in s.

        Args:
            link: to Redis.
            keys: the names under which everything lies.
            expiry_s: a queue that nobody pushes to vanishes after so long, in s.
            counters: counts what is given back.
            after_pull: ends the pull under way and then calls; this worker's own would take at
                once what it has just given back.
        """
        self._link = link
        self._keys = keys
        self._expiry_s = expiry_s
        self._counters = counters
        self._after_pull = after_pull
        self._returned: list[tuple[int, bytes]] = []

    def __call__(self, shard: int, message: bytes) -> None:
        """Give a packed search of a shard back, in the next turn of the loop or soon after."""
        if not self._returned:
            asyncio.get_running_loop().call_soon(self._after_pull, self._push)
        self._returned.append((shard, message))

    def _push(self) -> None:
        returned, self._returned = self._returned, []
        self._counters.add("searches_given_back", len(returned))
        queues: dict[int, list[bytes]] = {}
        for shard, message in returned:
            queues.setdefault(shard, []).append(message)
        commands = []
        for shard, messages in queues.items():
            queue = self._keys.search_queue(shard)
            # The last first, so that the oldest is at the head again.
            commands.append(unanswered("LPUSH", queue, *reversed(messages)))
            commands.append(unanswered("EXPIRE", queue, self._expiry_s))
        self._link.send_now(commands, [])
