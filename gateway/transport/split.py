"""The transport over several servers: a `RedisTransport` for each slot, and a clock for all."""

import asyncio
from collections import ChainMap
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple

from hedgerow.common.observability.telemetry import Counters
from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.connection import RedisConnection
from hedgerow.common.redis.handshake import Handshake
from hedgerow.common.redis.keys import Keys
from hedgerow.common.redis.server_clock import ServerClock, keep_clock, read_clock
from hedgerow.common.settings.settings import Settings
from hedgerow.common.wire.messages import Kind, Reply
from hedgerow.gateway.transport.protocol import ReplySink
from hedgerow.gateway.transport.redis import RedisTransport
from hedgerow.gateway.transport.shared_parts import SharedParts


class SplitTransport:
    """Sends each request to the server that has its shard's queue.

    Servers fail one at a time, so a query loses only the shards of a server that is away. Requests
    expire by the clock of the server for everything else, which all workers can reach.

    Attributes:
        reply_to: names this gateway in requests; the channels of the slots follow from it.
        clock: the clock by which requests expire.
        counters: of all servers together.
    """

    def __init__(
        self,
        settings: Settings,
        control: RedisClient,
        keys: Keys,
        gateway_id: str,
        on_backlog: Callable[[int, int, float], None] | None = None,
        on_late: Callable[[Reply], None] | None = None,
    ) -> None:
        """Describe the connections; `start` opens them; see `RedisTransport`."""
        self.gateway_id = gateway_id
        self.reply_to = keys.reply_channel(gateway_id)
        self.clock = ServerClock()
        self.counters = Counters()
        self._by_slot = tuple(
            RedisTransport(
                settings.redis,
                settings.limits,
                keys,
                gateway_id,
                on_backlog,
                on_late,
                client.primary,
                SharedParts(slot, self.clock, self.counters, self._send_again),
            )
            for slot, client in enumerate(control.data_clients)
        )
        self._sinks: dict[int, dict[int, ReplySink]] = {}  # query id → slot → what takes replies
        self._clock_task: asyncio.Task[None] | None = None
        self._clock_connection = RedisConnection(
            control.primary,
            name=f"hedgerow-gateway-clock-{gateway_id}",
            silence_s=settings.redis.command_timeout_s,
            on_connect=self._read_clock,
        )

    @property
    def num_reconnects(self) -> int:
        """How often one of the connections was restored."""
        return sum(one.num_reconnects for one in self._by_slot)

    @property
    def is_connected(self) -> bool:
        """Whether at least one server is there, so that a query could be answered in part."""
        return any(one.is_connected for one in self._by_slot)

    @property
    def num_in_flight(self) -> int:
        """The number of queries whose replies are awaited."""
        return len(self._sinks)

    async def start(self, timeout_s: float | None = None) -> None:
        """Open all connections.

        Raises:
            RedisUnavailableError: not connected within `timeout_s`; the connections keep trying.
        """
        await self._clock_connection.start(timeout_s)
        self._clock_task = asyncio.create_task(
            keep_clock(self._clock_connection, self.clock), name="server clock"
        )
        await asyncio.gather(*(one.start(timeout_s) for one in self._by_slot))

    async def close(self) -> None:
        """Close all connections; tells waiting queries that no reply will arrive."""
        if self._clock_task is not None:
            self._clock_task.cancel()
            await asyncio.gather(self._clock_task, return_exceptions=True)
        await asyncio.gather(*(one.close() for one in self._by_slot))
        await self._clock_connection.close()

    def scatter(
        self,
        kind: Kind,
        query_id: int,
        shards: tuple[int, ...],
        message: bytes,
        sink: ReplySink,
        goes_ahead: bool = False,
    ) -> Mapping[int, int]:
        """Send a packed request to each shard; see `Transport.scatter`."""
        sinks = self._sinks.setdefault(query_id, {})
        backlogs = []
        for slot, some in _by_slot(shards, len(self._by_slot)):
            part = sinks.get(slot)
            if not isinstance(part, _SlotSink):
                part = sinks[slot] = _SlotSink(sink)
            part.open.update(some)
            part.sent.append(_Sent(kind, some, message))
            transport = self._by_slot[slot]
            if not transport.is_moving:
                backlogs.append(transport.scatter(kind, query_id, some, message, part, goes_ahead))
        return ChainMap(*backlogs)  # type: ignore[arg-type]  # it is not written to

    def ask_queue(
        self, kind: Kind, shard: int, message: bytes, on_answer: Callable[[bool], None]
    ) -> None:
        """Look for a request in its queue; see `Transport.ask_queue`."""
        self._of(shard).ask_queue(kind, shard, message, on_answer)

    def hedge(self, kind: Kind, shard: int, message: bytes) -> None:
        """Push a second copy; see `Transport.hedge`."""
        self._of(shard).hedge(kind, shard, message)

    def send_to(
        self, kind: Kind, worker: str, shard: int, query_id: int, message: bytes, sink: ReplySink
    ) -> None:
        """Send a request to one worker only; see `outlier_ejection.Line.send_to`."""
        self._sinks[query_id] = {shard % len(self._by_slot): sink}
        self._of(shard).send_to(kind, worker, shard, query_id, message, sink)

    def withdraw(
        self, kind: Kind, shard: int, message: bytes, on_answer: Callable[[bool], None]
    ) -> None:
        """Remove a second copy from its queue; see `Transport.withdraw`."""
        self._of(shard).withdraw(kind, shard, message, on_answer)

    def cancel(self, query_id: int, shards: Iterable[int], expires_at_ms: int) -> None:
        """Notify the shards' workers; see `Transport.cancel`."""
        for shard in shards:
            self._of(shard).cancel(query_id, (shard,), expires_at_ms)

    def is_silent(self) -> bool:
        """Whether a server hangs; see `Transport.is_silent`."""
        return any(one.is_silent() for one in self._by_slot)

    def release(self, query_id: int) -> None:
        """Forget a query; see `Transport.release`."""
        for slot in self._sinks.pop(query_id, ()):
            self._by_slot[slot].release(query_id)

    def _send_again(self, slot: int) -> None:
        """Send what is open to where a slot is now; a shard that is asked twice answers twice.

        Requests may have gone to where the slot was, and replies of workers that were there.
        """
        transport = self._by_slot[slot]
        for query_id, sinks in list(self._sinks.items()):
            part = sinks.get(slot)
            if isinstance(part, _SlotSink):
                for kind, shards, message in part.sent:
                    if still := tuple(shard for shard in shards if shard in part.open):
                        self.counters.add("requests_sent_again", len(still))
                        transport.scatter(kind, query_id, still, message, part)

    def _of(self, shard: int) -> RedisTransport:
        return self._by_slot[shard % len(self._by_slot)]

    async def _read_clock(self, handshake: Handshake) -> None:
        await read_clock(handshake, self.clock)


GatewayTransport = RedisTransport | SplitTransport


class _Sent(NamedTuple):
    kind: Kind
    shards: tuple[int, ...]
    message: bytes


class _SlotSink:
    """Takes the reports of one server about its part of a scatter.

    Attributes:
        open: the shards that were asked there and have not answered.
        sent: what they were sent.
    """

    __slots__ = ("_sink", "on_unsent", "open", "sent")

    def __init__(self, sink: ReplySink) -> None:
        self._sink = sink
        self.on_unsent = sink.on_unsent
        self.open: set[int] = set()
        self.sent: list[_Sent] = []

    def on_reply(self, reply: Reply, worker: str, now: float) -> None:
        """A reply has arrived."""
        self.open.discard(reply.shard)
        self._sink.on_reply(reply, worker, now)

    def on_lost(self, reason: str) -> None:
        """No reply from this server's shards can arrive any more; the others' can."""
        for shard in list(self.open):
            self.on_unsent(shard, reason)


# Most queries ask the same shards.
@lru_cache(maxsize=256)
def _by_slot(shards: tuple[int, ...], num_slots: int) -> tuple[tuple[int, tuple[int, ...]], ...]:
    """The shards of each slot that has any."""
    found: dict[int, list[int]] = {}
    for shard in shards:
        found.setdefault(shard % num_slots, []).append(shard)
    return tuple((slot, tuple(some)) for slot, some in found.items())
