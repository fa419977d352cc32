"""The part of a worker that answers requests: what pulls them, and the services that answer."""

import asyncio
from contextlib import AsyncExitStack
from functools import partial
from typing import Final

from hedgerow.common.redis.connection import RedisConnection
from hedgerow.common.redis.handshake import Handshake
from hedgerow.common.redis.server_clock import keep_clock, read_clock
from hedgerow.common.wire.pull_order import PullOrder
from hedgerow.shard_worker.context import Context
from hedgerow.shard_worker.serving.cancel_listener import CancelListener
from hedgerow.shard_worker.serving.consumer import OWN_QUEUE, Consumer, PullPolicy
from hedgerow.shard_worker.serving.fetch import FetchLanes, FetchService
from hedgerow.shard_worker.serving.forwarding import Forwarding, GiveBack
from hedgerow.shard_worker.serving.in_flight import InFlight
from hedgerow.shard_worker.serving.intake import Intake, Records
from hedgerow.shard_worker.serving.replier import Replier
from hedgerow.shard_worker.serving.search import SearchService
from hedgerow.shard_worker.serving.search_request import spent_share
from hedgerow.shard_worker.serving.served_profiles import ServedProfiles
from hedgerow.shard_worker.serving.shard_state import ShardStates
from hedgerow.shard_worker.serving.shard_stores import ShardStores
from hedgerow.shard_worker.serving.turn import IsCurrent, Turn
from hedgerow.shard_worker.serving.work_accounting import WorkAccounting

START_TIMEOUT_S: Final = 30.0


class Answering:
    """Pulls the requests of a worker's shards and answers them, in one `Turn`."""

    def __init__(
        self,
        context: Context,
        served: ServedProfiles,
        fetch_lanes: FetchLanes,
        states: ShardStates,
        stores: ShardStores,
        accounting: WorkAccounting,
        is_current: IsCurrent,
    ) -> None:
        """Wire the parts; `start` connects them.

        Args:
            context: the worker.
            served: the rank profiles, and the scorers that retrieve and rank.
            fetch_lanes: read documents and enrich them.
            states: what the shards hold.
            stores: the shards' documents.
            accounting: adds up what the time was spent on.
            is_current: whether what the shards hold may be answered from.
        """
        settings, worker_id, keys = context.settings, context.worker_id, context.keys
        counters, expiry_s = context.counters, settings.redis.queue_expiry_s
        max_bytes = settings.limits.max_message_bytes
        self._context = context
        self._connection = RedisConnection(
            context.control.primary,
            name=f"hedgerow-worker-reply-{worker_id}",
            silence_s=settings.redis.command_timeout_s,
            on_connect=self._read_clock,
        )
        in_flight = InFlight(context.clock, counters, max_bytes)
        self._in_flight = in_flight
        self._cancel_listener = CancelListener(
            settings.redis, context.control.primary, keys, worker_id, in_flight, counters
        )
        replier = Replier(self._connection, worker_id, counters, max_bytes)
        self._turn = Turn(replier, is_current)
        # The only callback of the turn: the pool knows when results have come together.
        served.call_after_ends(self._turn.end)
        self._searches = Consumer(
            settings.redis,
            context.control.primary,
            f"hedgerow-worker-search-{worker_id}",
            self._connection,
            served,
            replier,
            PullPolicy(PullOrder(), partial(spent_share, context.clock, max_bytes)),
        )
        self._fetches = Consumer(
            settings.redis,
            context.control.primary,
            f"hedgerow-worker-fetch-{worker_id}",
            self._connection,
            fetch_lanes.reading,
            replier,
        )
        self._searches.add(keys.worker_search_queue(worker_id), OWN_QUEUE)
        self._fetches.add(keys.worker_fetch_queue(worker_id), OWN_QUEUE)
        records = Records(context.clock, in_flight, accounting, counters)
        forwarding = Forwarding(self._connection, keys, worker_id, expiry_s, counters)
        intake = Intake(records, forwarding, max_bytes, states)
        self._search_service = SearchService(
            served,
            replier,
            states,
            served.by_name,
            records,
            intake,
            GiveBack(self._connection, keys, expiry_s, counters, self._searches),
        )
        if context.tracing is not None:
            context.tracing.provide_tracers()  # after the users' modules were imported
        self._fetch_service = FetchService(
            fetch_lanes,
            self._turn,
            stores.read,
            served.enrich,
            records,
            intake,
            settings.limits,
            context.tracing,
        )

    @property
    def num_reconnects(self) -> int:
        """How often a connection to Redis was restored: of replies, searches, fetches."""
        parts = (self._connection, self._searches, self._fetches)
        return sum(part.num_reconnects for part in parts)

    async def start(self, started: AsyncExitStack) -> None:
        """Connect to Redis; the connections are closed by `started`.

        Raises:
            RedisUnavailableError: there is no server.
        """
        started.push_async_callback(self._connection.close)
        await self._connection.start(START_TIMEOUT_S)
        started.push_async_callback(self._cancel_listener.close)
        await self._cancel_listener.start(START_TIMEOUT_S)

    async def serve(self) -> None:
        """Pull and answer until `stop_pulling`."""
        async with asyncio.TaskGroup() as group:
            group.create_task(
                self._turn.serve(self._searches, self._search_service.handle),
                name="search consumer",
            )
            group.create_task(
                self._turn.serve(self._fetches, self._fetch_service.handle),
                name="fetch consumer",
            )

    async def keep_clock(self) -> None:
        """Keep the server's clock known until cancelled."""
        await keep_clock(self._connection, self._context.clock)

    def add(self, shard: int) -> None:
        """Pull the requests of another shard, unless it is withheld."""
        keys = self._context.keys
        self._cancel_listener.add(shard)
        self._searches.add(keys.search_queue(shard), shard)
        self._fetches.add(keys.fetch_queue(shard), shard)

    async def remove(self, shard: int) -> None:
        """Pull a shard's requests no longer, and answer those that were pulled."""
        keys = self._context.keys
        await asyncio.gather(
            self._searches.remove(keys.search_queue(shard)),
            self._fetches.remove(keys.fetch_queue(shard)),
        )
        await self._in_flight.drain(shard, self._context.settings.worker.drain_timeout_s)
        self._cancel_listener.remove(shard)

    def withhold(self, shards: frozenset[int]) -> None:
        """Pull for all shards except these; see `Consumer.withhold`."""
        self._searches.withhold(shards)
        self._fetches.withhold(shards)

    async def stop_pulling(self) -> None:
        """Stop pulling; requests that wait in Redis are left to other replicas."""
        await asyncio.gather(self._searches.drain(), self._fetches.drain())

    async def finish_fetches(self, timeout_s: float) -> None:
        """Wait for the fetches in flight, then cancel the rest; searches end with their lane."""
        await self._fetch_service.drain(timeout_s)

    async def _read_clock(self, handshake: Handshake) -> None:
        await read_clock(handshake, self._context.clock)
