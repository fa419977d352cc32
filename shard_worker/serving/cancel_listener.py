"""Receives cancellations of queries, on a connection of its own."""

import time
from collections.abc import Callable
from typing import Any

import structlog

from hedgerow.common.errors import WireError
from hedgerow.common.observability.telemetry import Counters, Throttle
from hedgerow.common.redis.commands import has_moved
from hedgerow.common.redis.connection import LEFT, MESSAGES, RedisConnection
from hedgerow.common.redis.handshake import Handshake
from hedgerow.common.redis.keys import Keys
from hedgerow.common.redis.primary import Primary
from hedgerow.common.settings.redis import RedisSettings
from hedgerow.shard_worker.serving.in_flight import InFlight

log = structlog.get_logger()


class CancelListener:
    """Listens on the cancel channels of this worker's shards.

    A cancellation that is published while the connection is down is lost, and its query is
    answered in vain.
    """

    def __init__(
        self,
        redis: RedisSettings,
        primary: Primary,
        keys: Keys,
        worker_id: str,
        in_flight: InFlight,
        counters: Counters,
        slot: int = 0,
        on_look_again: Callable[[], None] = lambda: None,
    ) -> None:
        """Describe the connection to the server that has a slot's shards; `start` makes it.

        Gateways send an empty message when they push where the slot is being moved to;
        `on_look_again` is then called.
        """
        self._on_look_again = on_look_again
        self._keys = keys
        self._shards: dict[bytes, int] = {}  # by channel
        self._in_flight = in_flight
        self._counters = counters
        self._throttle = Throttle(60.0)
        self._connection = RedisConnection(
            primary,
            name=f"hedgerow-worker-cancel-{worker_id}" + (f"-{slot}" if keys.num_slots else ""),
            silence_s=redis.command_timeout_s,
            on_connect=self._subscribe,
            on_message=self._on_message,
            is_sharded=bool(keys.num_slots),
        )

    async def start(self, timeout_s: float) -> None:
        """Connect.

        Raises:
            RedisUnavailableError: not connected within `timeout_s`; the connection keeps trying.
        """
        await self._connection.start(timeout_s)

    async def close(self) -> None:
        """Stop listening."""
        await self._connection.close()

    def add(self, shard: int) -> None:
        """Listen on a shard's channel, too."""
        channel = self._keys.cancel_channel(shard)
        self._shards[channel.encode()] = shard
        self._connection.subscribe(channel)

    def remove(self, shard: int) -> None:
        """Listen on a shard's channel no longer."""
        channel = self._keys.cancel_channel(shard)
        self._shards.pop(channel.encode(), None)
        self._connection.unsubscribe(channel)

    async def _subscribe(self, handshake: Handshake) -> None:
        for channel in self._shards:
            handshake.subscribe(channel.decode())

    def _on_message(self, message: Any) -> None:
        if not isinstance(message, list):
            is_refused = isinstance(message, Exception) and not has_moved(message)
            if is_refused and self._throttle.allows("refused", time.monotonic()):
                log.error("cancellations_refused", error=str(message))
            return
        if (shard := self._shards.get(message[1])) is None:
            return
        if message[0] == LEFT:
            self._connection.doubt()
        if message[0] not in MESSAGES:
            return
        if not message[2]:
            self._on_look_again()
            return
        try:
            self._in_flight.on_cancel(shard, message[2], time.monotonic())
        except WireError as error:
            self._counters.add("cancellations_malformed")
            if self._throttle.allows("malformed", time.monotonic()):
                log.warning("cancellation_malformed", error=str(error))
