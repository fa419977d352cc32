"""The part of a worker that answers requests: what pulls them, and the services that answer."""

import asyncio
from contextlib import AsyncExitStack
from functools import partial

from hedgerow.common.redis.connection import RedisConnection
from hedgerow.common.redis.handshake import Handshake
from hedgerow.common.redis.server_clock import keep_clock, read_clock
from hedgerow.common.wire.pull_order import PullOrder
from hedgerow.shard_worker.context import Context
from hedgerow.shard_worker.serving.fetch import FetchLanes, FetchService
from hedgerow.shard_worker.serving.forwarding import Forwarding
from hedgerow.shard_worker.serving.in_flight import InFlight
from hedgerow.shard_worker.serving.intake import Intake, Records
from hedgerow.shard_worker.serving.pull_policy import PullPolicy
from hedgerow.shard_worker.serving.replier import Replies, SlotRepliers
from hedgerow.shard_worker.serving.search import SearchService
from hedgerow.shard_worker.serving.search_request import spent_share
from hedgerow.shard_worker.serving.served_profiles import ServedProfiles
from hedgerow.shard_worker.serving.shard_state import ShardStates
from hedgerow.shard_worker.serving.shard_stores import ShardStores
from hedgerow.shard_worker.serving.slot_link import START_TIMEOUT_S, SlotLink
from hedgerow.shard_worker.serving.turn import IsCurrent, Turn
from hedgerow.shard_worker.serving.work_accounting import WorkAccounting


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
        in_flight = InFlight(context.clock, counters, max_bytes)
        self._in_flight = in_flight
        # Requests expire by the clock of the server that has the heartbeats; gateways use the same.
        self._clock_connection: RedisConnection | None = None
        if context.control.is_split:
            self._clock_connection = RedisConnection(
                context.control.primary,
                name=f"hedgerow-worker-clock-{worker_id}",
                silence_s=settings.redis.command_timeout_s,
                on_connect=self._read_clock,
            )
        self._links = tuple(
            SlotLink(
                context,
                slot,
                served,
                fetch_lanes.reading,
                PullPolicy(PullOrder(), partial(spent_share, context.clock, max_bytes)),
                in_flight,
                on_connect=None if context.control.is_split else self._read_clock,
            )
            for slot in range(max(1, keys.num_slots))
        )
        replier: Replies = self._links[0].replier
        if len(self._links) > 1:
            replier = SlotRepliers([link.replier for link in self._links])
        self._turn = Turn(replier, is_current)
        # The only callback of the turn: the pool knows when results have come together.
        served.call_after_ends(self._turn.end)
        records = Records(context.clock, in_flight, accounting, counters)
        forwarding = Forwarding(
            lambda shard: self._link(shard).connection, keys, worker_id, expiry_s, counters
        )
        intake = Intake(records, forwarding, max_bytes, states)
        self._search_service = SearchService(
            served,
            replier,
            states,
            served.by_name,
            records,
            intake,
            lambda shard, message: self._link(shard).give_back.give_back(shard, message),
        )
        if context.tracing is not None:
            context.tracing.provide_tracers()  # after the users' modules were imported
        self._fetch_service = FetchService(
            fetch_lanes,
            self._turn,
            stores,
            served.enrich,
            records,
            intake,
            settings.limits,
            context.tracing,
        )

    @property
    def num_reconnects(self) -> int:
        """How often a connection to Redis was restored: of replies, searches, fetches."""
        return sum(link.num_reconnects for link in self._links)

    async def start(self, started: AsyncExitStack) -> None:
        """Connect to Redis; the connections are closed by `started`.

        Raises:
            RedisUnavailableError: there is no server.
        """
        if self._clock_connection is not None:
            started.push_async_callback(self._clock_connection.close)
            await self._clock_connection.start(START_TIMEOUT_S)
        for link in self._links:
            started.push_async_callback(link.close)
        await asyncio.gather(*(link.start() for link in self._links))

    async def serve(self) -> None:
        """Pull and answer until `stop_pulling`."""
        async with asyncio.TaskGroup() as group:
            for link in self._links:
                group.create_task(
                    self._turn.serve(link.searches, self._search_service.handle),
                    name="search consumer",
                )
                group.create_task(
                    self._turn.serve(link.fetches, self._fetch_service.handle),
                    name="fetch consumer",
                )

    async def keep_clock(self) -> None:
        """Keep the server's clock known until cancelled."""
        connection = self._clock_connection or self._links[0].connection
        await keep_clock(connection, self._context.clock)

    def add(self, shard: int) -> None:
        """Pull the requests of another shard, unless it is withheld."""
        self._link(shard).add(shard)

    async def remove(self, shard: int) -> None:
        """Pull a shard's requests no longer, and answer those that were pulled."""
        await self._link(shard).remove(shard)
        await self._in_flight.drain(shard, self._context.settings.worker.drain_timeout_s)
        self._link(shard).forget(shard)

    def withhold(self, shards: frozenset[int]) -> None:
        """Pull for all shards except these; see `Consumer.withhold`."""
        for link in self._links:
            link.searches.withhold(shards)
            link.fetches.withhold(shards)

    async def stop_pulling(self) -> None:
        """Stop pulling; requests that wait in Redis are left to other replicas."""
        consumers = [one for link in self._links for one in (link.searches, link.fetches)]
        await asyncio.gather(*(consumer.drain() for consumer in consumers))

    async def finish_fetches(self, timeout_s: float) -> None:
        """Wait for the fetches in flight, then cancel the rest; searches end with their lane."""
        await self._fetch_service.drain(timeout_s)

    def _link(self, shard: int) -> SlotLink:
        return self._links[shard % len(self._links)]

    async def _read_clock(self, handshake: Handshake) -> None:
        await read_clock(handshake, self._context.clock)
