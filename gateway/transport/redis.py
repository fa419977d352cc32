"""The transport over Redis: a list per shard for requests, one Pub/Sub channel for replies."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple

import structlog

from hedgerow.common.errors import RedisUnavailableError, WireError
from hedgerow.common.observability.telemetry import Counters, Throttle
from hedgerow.common.redis.asked_nodes import AskedNodes
from hedgerow.common.redis.commands import (
    OnReply,
    asked_node,
    has_moved,
    pack,
    pack_for_each,
    unanswered,
)
from hedgerow.common.redis.connection import LEFT, MESSAGES, SUBSCRIBED, RedisConnection
from hedgerow.common.redis.endpoint import Endpoint
from hedgerow.common.redis.handshake import Handshake
from hedgerow.common.redis.keys import Keys
from hedgerow.common.redis.primary import Primary
from hedgerow.common.redis.server_clock import ServerClock, keep_clock, read_clock
from hedgerow.common.settings.limits import LimitSettings
from hedgerow.common.settings.redis import RedisSettings
from hedgerow.common.wire.messages import (
    Kind,
    Reply,
    unpack_replies,
)
from hedgerow.gateway.transport.cancellations import Cancellations
from hedgerow.gateway.transport.protocol import ReplySink
from hedgerow.gateway.transport.queued_requests import QueuedRequests
from hedgerow.gateway.transport.queues import Queues
from hedgerow.gateway.transport.shared_parts import SharedParts
from hedgerow.gateway.transport.signs_of_life import SignsOfLife
from hedgerow.gateway.transport.slot_move import SlotMove

log = structlog.get_logger()

# Queries in one write. With all queries of a turn in one write, gateway and workers idle in turns:
# at 32 in flight, writes of 16 give half as many answers again.
MAX_COALESCED = 16


def _ignore(_reply: Any) -> None:
    """The callback of a command whose reply is not needed."""


class _Batch(NamedTuple):
    """Requests of one turn of the loop to the same shards, and the same end of their queues."""

    messages: list[bytes]
    query_ids: list[int]
    backlogs: dict[int, int]


class RedisTransport:
    """Carries requests to shards and replies back, over two connections.

    Requests that are scattered in the same turn of the loop leave in one write, up to a maximum,
    with one variadic RPUSH per shard. A push is never repeated, since after a stall it is unknown
    whether it was executed.
    """

    def __init__(
        self,
        redis: RedisSettings,
        limits: LimitSettings,
        keys: Keys,
        gateway_id: str,
        on_backlog: Callable[[int, int, float], None] | None = None,
        on_late: Callable[[Reply], None] | None = None,
        primary: Primary | None = None,
        shared: SharedParts | None = None,
    ) -> None:
        """Describe the connections; `start` opens them.

        Args:
            redis: the server's address.
            limits: its max_message_bytes counts.
            keys: the names of keys in Redis.
            gateway_id: part of the reply channel's name.
            on_backlog: called after each write of searches with the shard, the length of its queue,
                and the time.
            on_late: called for each reply that is no longer awaited.
            primary: where the server is, if it moves; None for the address of `redis`.
            shared: what it shares with the transports to other servers; None if there are none.
        """
        self._on_backlog = on_backlog
        self._on_late = on_late
        self.gateway_id = gateway_id
        self.reply_to = keys.reply_channel(gateway_id)
        self._keeps_clock = shared is None
        shared = shared or SharedParts(0, ServerClock(), Counters())
        slot, self.clock, self.counters, on_moved = shared
        self._move: SlotMove | None = None
        self._replies_on = self.reply_to
        self._publish, part = "PUBLISH", ""
        if keys.num_slots:
            self._replies_on = keys.reply_channel_in(slot, self.reply_to)
            self._publish, part = "SPUBLISH", f"-{slot}"
            self._move = SlotMove(
                lambda: self.is_connected, partial(on_moved, slot), self._lose_all
            )
        self._keys = keys
        self._max_bytes = limits.max_message_bytes
        self._expiry_s = redis.queue_expiry_s
        self._queue = Queues(keys, redis.queue_expiry_s).of
        self._sinks: dict[int, ReplySink] = {}
        self._waiting: dict[tuple[Kind, tuple[int, ...], bool], _Batch] = {}
        self._num_waiting = 0
        self._throttle = Throttle(60.0)
        self._loop = asyncio.get_running_loop()
        self._is_subscribed = asyncio.Event()
        self._clock_task: asyncio.Task[None] | None = None
        server = primary or Endpoint.of(redis)
        self._push = RedisConnection(
            server,
            name=f"hedgerow-gateway-push-{gateway_id}{part}",
            silence_s=redis.command_timeout_s,
            on_connect=self._read_clock if self._keeps_clock else None,
            on_disconnect=lambda: self._on_disconnect(self._push),
        )
        self._replies = RedisConnection(
            server,
            name=f"hedgerow-gateway-replies-{gateway_id}{part}",
            silence_s=redis.command_timeout_s,
            on_connect=self._subscribe,
            on_disconnect=lambda: self._on_disconnect(self._replies),
            on_message=self._on_message,
            is_sharded=bool(keys.num_slots),
        )
        self._asked = AskedNodes(
            server, f"hedgerow-gateway-asked-{gateway_id}", redis.command_timeout_s
        )
        self._queued = QueuedRequests(self._push)
        self._life = SignsOfLife(self._push, lambda: bool(self._sinks))
        self._cancellations = Cancellations(
            self._push,
            lambda shard: (self._publish, keys.cancel_channel(shard)),
            self.reply_to,
            before=self._push_waiting,
        )

    @property
    def num_reconnects(self) -> int:
        """How often one of the connections was restored."""
        return self._push.num_reconnects + self._replies.num_reconnects

    @property
    def is_connected(self) -> bool:
        """Whether both connections are open, so that a query could be answered."""
        return self._push.is_connected and self._replies.is_connected

    @property
    def is_moving(self) -> bool:
        """Whether it is about to connect to where its slot is now, and then calls `on_moved`."""
        return self._move is not None and self._move.is_under_way

    @property
    def num_in_flight(self) -> int:
        """The number of queries whose replies are awaited."""
        return len(self._sinks)

    async def start(self, timeout_s: float | None = None) -> None:
        """Open both connections.

        Raises:
            RedisUnavailableError: not connected within `timeout_s`; the connections keep trying.
        """
        if self._keeps_clock:
            self._clock_task = self._loop.create_task(
                keep_clock(self._push, self.clock), name="server clock"
            )
        await asyncio.gather(self._push.start(timeout_s), self._replies.start(timeout_s))

    async def close(self) -> None:
        """Close both connections; tells waiting queries that no reply will arrive."""
        if self._clock_task is not None:
            self._clock_task.cancel()
            await asyncio.gather(self._clock_task, return_exceptions=True)
        self._life.close()
        if self._move is not None:
            await self._move.close()
        await asyncio.gather(self._push.close(), self._replies.close())
        await self._asked.close()

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
        if not self.is_connected:
            for shard in shards:
                sink.on_unsent(shard, "there is no connection to Redis")
            return {}
        self._sinks[query_id] = sink
        if not self._life.is_watching:
            self._life.watch()
        waiting = self._waiting
        if not waiting:
            self._loop.call_soon(self._push_waiting)
        # Most queries ask the same shards, so work that is the same for all is done once.
        batch = waiting.get((kind, shards, goes_ahead))
        if batch is None:
            batch = waiting[kind, shards, goes_ahead] = _Batch([], [], {})
        batch.messages.append(message)
        batch.query_ids.append(query_id)
        self._num_waiting += 1
        if self._num_waiting == MAX_COALESCED:
            self._push_waiting()
        return batch.backlogs

    def ask_queue(
        self, kind: Kind, shard: int, message: bytes, on_answer: Callable[[bool], None]
    ) -> None:
        """Look for a request in its queue; see `Transport.ask_queue`."""
        self._queued.look_for(self._queue(kind, shard).key, message, on_answer)

    def hedge(self, kind: Kind, shard: int, message: bytes) -> None:
        """Push a second copy; see `Transport.hedge`."""
        queue = self._queue(kind, shard)
        self._push.send_now([unanswered("LPUSH", queue.key, message), queue.expire], [])

    def send_to(
        self, kind: Kind, worker: str, shard: int, query_id: int, message: bytes, sink: ReplySink
    ) -> None:
        """Send a request to one worker only; see `outlier_ejection.Line.send_to`."""
        if not self.is_connected:
            sink.on_lost("there is no connection to Redis")
            return

        def on_pushed(length: Any) -> None:
            if not isinstance(length, int):
                sink.on_lost(f"Redis did not take the request: {length}")

        self._sinks[query_id] = sink
        keys = self._keys
        is_search = kind is Kind.SEARCH
        queue_of = keys.worker_search_queue if is_search else keys.worker_fetch_queue
        queue = queue_of(worker, keys.slot(shard))
        commands = [pack("RPUSH", queue, message), unanswered("EXPIRE", queue, self._expiry_s)]
        self._push.send_now(commands, [on_pushed])

    def withdraw(
        self, kind: Kind, shard: int, message: bytes, on_answer: Callable[[bool], None]
    ) -> None:
        """Remove a second copy from its queue; see `Transport.withdraw`."""
        self._queued.remove(self._queue(kind, shard).key, message, on_answer)

    def cancel(self, query_id: int, shards: Iterable[int], expires_at_ms: int) -> None:
        """Notify the shards' workers; see `Transport.cancel`."""
        self._cancellations.add(query_id, shards, expires_at_ms)

    def is_silent(self) -> bool:
        """Whether the server hangs; see `Transport.is_silent`."""
        return self._life.is_silent()

    def release(self, query_id: int) -> None:
        """Forget a query; see `Transport.release`."""
        self._sinks.pop(query_id, None)

    def _push_waiting(self) -> None:
        waiting, self._waiting = self._waiting, {}
        self._num_waiting = 0
        if not waiting:
            return
        commands: list[bytes] = []
        on_replies: list[OnReply] = []
        for (kind, shards, goes_ahead), batch in waiting.items():
            queues = [self._queue(kind, shard) for shard in shards]
            # LPUSH puts its last value first.
            name, messages = (
                ("LPUSH", batch.messages[::-1]) if goes_ahead else ("RPUSH", batch.messages)
            )
            pushes = pack_for_each(name, [queue.key for queue in queues], messages)
            for shard, queue, push in zip(shards, queues, pushes, strict=True):
                commands += (push, queue.expire)
                on_replies.append(partial(self._on_pushed, kind, shard, batch, goes_ahead))
        self._push.send_now(commands, on_replies)

    def _push_again(
        self, kind: Kind, shard: int, batch: _Batch, goes_ahead: bool, node: tuple[str, int]
    ) -> None:
        """Push to where the queue's slot is being moved, as its node demands."""
        self.counters.add("pushes_redirected")
        # Workers wait where the slot was; an empty message has them look where it goes.
        channel = self._keys.cancel_channel(shard)
        self._push.send_now([unanswered(self._publish, channel, b"")], [])
        queue = self._queue(kind, shard)
        name, messages = (
            ("LPUSH", batch.messages[::-1]) if goes_ahead else ("RPUSH", batch.messages)
        )
        self._asked.send(
            node,
            [pack(name, queue.key, *messages), pack("EXPIRE", queue.key, self._expiry_s)],
            [partial(self._on_pushed, kind, shard, batch, goes_ahead), _ignore],
        )

    def _on_pushed(
        self, kind: Kind, shard: int, batch: _Batch, goes_ahead: bool, reply: Any
    ) -> None:
        if isinstance(reply, int):
            batch.backlogs[shard] = len(batch.messages) if goes_ahead else reply
            if self._on_backlog is not None and kind is Kind.SEARCH:
                self._on_backlog(shard, reply, self._loop.time())
            return
        if self._sends_again(reply):
            return
        if (node := asked_node(reply)) is not None:
            self._push_again(kind, shard, batch, goes_ahead, node)
            return
        self.counters.add("push_failed")
        if not isinstance(reply, RedisUnavailableError) and self._throttle.allows(
            "push", time.monotonic()
        ):
            log.warning("push_refused", shard=shard, error=str(reply))
        for query_id in batch.query_ids:
            if (sink := self._sinks.get(query_id)) is not None:
                sink.on_unsent(shard, f"Redis did not take the request: {reply}")

    def _on_message(self, message: Any) -> None:
        if not isinstance(message, list):
            # On this connection, only the subscription can be answered with an error.
            is_refused = isinstance(message, Exception) and not has_moved(message)
            if is_refused and self._throttle.allows("refused", time.monotonic()):
                log.error("replies_refused", channel=self.reply_to, error=str(message))
            return
        if message[0] in MESSAGES:
            try:
                worker, replies = unpack_replies(message[2], self._max_bytes)
            except WireError as error:
                self._count_malformed(error)
                return
            sinks, now = self._sinks, self._loop.time()
            for reply in replies:
                sink = sinks.get(reply.query_id)
                if sink is None:
                    self.counters.add("replies_late")
                    if self._on_late is not None:
                        self._on_late(reply)
                else:
                    sink.on_reply(reply, worker, now)
        elif message[0] in SUBSCRIBED:
            self._is_subscribed.set()
        elif message[0] == LEFT:
            self._replies.doubt()

    def _count_malformed(self, error: WireError) -> None:
        self.counters.add("replies_malformed")
        if self._throttle.allows("malformed", time.monotonic()):
            log.warning("reply_malformed", error=str(error))

    def _sends_again(self, reply: Any) -> bool:
        """Whether a push failed since the slot moves, so that all that is open is sent again."""
        if self._move is None:
            return False
        if has_moved(reply):
            self._move.begin()
        return self._move.is_under_way

    def _on_disconnect(self, connection: RedisConnection) -> None:
        if self._move is not None and connection.has_left:
            self._move.begin()
        elif not self.is_moving:
            self._lose_all()

    def _lose_all(self) -> None:
        # Workers may still answer, but the replies are lost: Pub/Sub stores nothing.
        for sink in list(self._sinks.values()):
            sink.on_lost("the connection to Redis was lost")

    async def _subscribe(self, link: Handshake) -> None:
        self._is_subscribed.clear()
        link.subscribe(self._replies_on)
        await self._is_subscribed.wait()

    async def _read_clock(self, link: Handshake) -> None:
        await read_clock(link, self.clock)
