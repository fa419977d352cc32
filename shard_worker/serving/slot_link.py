"""A worker's connections to one server of the data plane: replies, cancellations and pulls."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from hedgerow.common.redis.connection import RedisConnection
from hedgerow.common.redis.handshake import Handshake
from hedgerow.shard_worker.context import Context
from hedgerow.shard_worker.serving.cancel_listener import CancelListener
from hedgerow.shard_worker.serving.consumer import OWN_QUEUE, Consumer
from hedgerow.shard_worker.serving.forwarding import GiveBack
from hedgerow.shard_worker.serving.in_flight import InFlight
from hedgerow.shard_worker.serving.pull_policy import Lane, PullPolicy
from hedgerow.shard_worker.serving.replier import Replier

START_TIMEOUT_S: Final = 30.0


class SlotLink:
    """Pulls the requests of the shards in one slot, and carries what is said about them.

    A plain server is a single slot. In a Redis Cluster, each slot is pulled from by itself, since
    all keys of a command must be in one. Replies go over the connections that bring the requests.

    Attributes:
        connection: for replies, and for commands about the queues.
        replier: sends the replies.
        searches: pulls searches.
        fetches: pulls fetches.
        give_back: returns searches to their queues.
    """

    def __init__(
        self,
        context: Context,
        slot: int,
        search_lane: Lane,
        fetch_lane: Lane,
        policy: PullPolicy,
        in_flight: InFlight,
        on_connect: Callable[[Handshake], Awaitable[None]] | None,
    ) -> None:
        """Wire the parts; `start` connects them.

        Args:
            context: the worker.
            slot: which of the slots, from 0.
            search_lane: where the searches run.
            fetch_lane: where the fetches run.
            policy: from which end to pull searches.
            in_flight: the requests that run here.
            on_connect: awaited on each new connection for replies.
        """
        settings, worker_id, keys = context.settings, context.worker_id, context.keys
        self._keys = keys
        self._worker_id = worker_id
        self._slot = slot
        primary = context.control.data(slot).primary
        num_links = max(1, keys.num_slots)
        end = f"-{slot}" if keys.num_slots else ""
        self.connection = RedisConnection(
            primary,
            name=f"hedgerow-worker-reply-{worker_id}{end}",
            silence_s=settings.redis.command_timeout_s,
            on_connect=on_connect,
        )
        self._cancel_listener = CancelListener(
            settings.redis,
            primary,
            keys,
            worker_id,
            in_flight,
            context.counters,
            slot,
            self._look_again,
        )
        self.replier = Replier(
            self.connection,
            worker_id,
            context.counters,
            settings.limits.max_message_bytes,
            partial(keys.reply_channel_in, slot) if keys.num_slots else None,
        )
        self.searches = Consumer(
            settings.redis,
            primary,
            f"hedgerow-worker-search-{worker_id}{end}",
            self.connection,
            search_lane,
            self.replier,
            policy,
            num_links,
        )
        self.fetches = Consumer(
            settings.redis,
            primary,
            f"hedgerow-worker-fetch-{worker_id}{end}",
            self.connection,
            fetch_lane,
            self.replier,
            num_sharing=num_links,
        )
        self.give_back = GiveBack(
            self.connection,
            keys,
            settings.redis.queue_expiry_s,
            context.counters,
            self.searches,
        )
        if not keys.num_slots:
            self._add_own_queues()

    @property
    def num_reconnects(self) -> int:
        """How often a connection was restored: of replies, searches, fetches."""
        parts = (self.connection, self.searches, self.fetches)
        return sum(part.num_reconnects for part in parts)

    async def start(self) -> None:
        """Connect.

        Raises:
            RedisUnavailableError: there is no server.
        """
        await self.connection.start(START_TIMEOUT_S)
        await self._cancel_listener.start(START_TIMEOUT_S)

    async def close(self) -> None:
        """Disconnect, once `searches` and `fetches` no longer pull."""
        await self._cancel_listener.close()
        await self.connection.close()

    def add(self, shard: int) -> None:
        """Pull the requests of another shard, unless it is withheld."""
        self._cancel_listener.add(shard)
        # Not before: what comes for this worker alone is about a shard of this slot, too.
        self._add_own_queues()
        self.searches.add(self._keys.search_queue(shard), shard)
        self.fetches.add(self._keys.fetch_queue(shard), shard)

    async def remove(self, shard: int) -> None:
        """Pull a shard's requests no longer; what was pulled has been delivered on return."""
        await asyncio.gather(
            self.searches.remove(self._keys.search_queue(shard)),
            self.fetches.remove(self._keys.fetch_queue(shard)),
        )

    def forget(self, shard: int) -> None:
        """Hear of a shard's cancellations no longer."""
        self._cancel_listener.remove(shard)

    def _look_again(self) -> None:
        self.searches.look_again()
        self.fetches.look_again()

    def _add_own_queues(self) -> None:
        self.searches.add(self._keys.worker_search_queue(self._worker_id, self._slot), OWN_QUEUE)
        self.fetches.add(self._keys.worker_fetch_queue(self._worker_id, self._slot), OWN_QUEUE)
