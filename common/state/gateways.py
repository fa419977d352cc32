"""The live gateways of a cluster in Redis: a hash of heartbeats, which each gateway renews."""

import asyncio
from collections.abc import Iterable
from typing import Final

import msgspec
import structlog

from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.keys import Keys
from hedgerow.common.state.beat_dates import BeatDates

BEAT_S: Final = 1.0
EXPIRY_S: Final = 5.0  # without a heartbeat, after which a gateway is not live
FORGET_AFTER_S: Final = 60.0

_log = structlog.get_logger()


class GatewayHeartbeat(msgspec.Struct, frozen=True, gc=False):
    """What a gateway reports about itself, once a second; a MessagePack map.

    Attributes:
        id: changes at each start.
        pid: its process.
        host: the machine that it runs on.
        version: Hedgerow's version.
        beat_at_ms: when it was sent, an instant on the Redis server's clock.
        started_at_ms: when the gateway started, on the same clock.
        in_flight: searches in flight.
        process: its number among the processes that share a port, from 0.
        processes: how many share that port.
        process_port: the port at which it alone can be reached; 0 for none.
        is_leaving: whether it is about to stop.
        layout: the id of the layout that it searches; -1 from a version that knows no layouts.
        leaving_layouts: other layouts in which it still has searches.
        splits_servers: whether it can take part in a split of shards whose logs are on servers of
            their own.
    """

    id: str
    pid: int
    host: str
    version: str
    beat_at_ms: int
    started_at_ms: int
    in_flight: int = 0
    process: int = 0
    processes: int = 1
    process_port: int = 0
    is_leaving: bool = False
    layout: int = -1
    leaving_layouts: list[int] = msgspec.field(default_factory=list)
    splits_servers: bool = False


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(GatewayHeartbeat).decode


class GatewayStore:
    """Reads and writes the hash.

    Every method raises RedisUnavailableError if there is no answer in time.
    """

    def __init__(self, control: RedisClient, keys: Keys) -> None:
        self._control = control
        self._keys = keys
        self._dates = BeatDates()

    async def beat(self, heartbeat: GatewayHeartbeat) -> None:
        """Store a heartbeat."""
        await self._control.execute("HSET", self._keys.gateways, heartbeat.id, _encode(heartbeat))

    async def forget(self, ids: Iterable[str]) -> None:
        """Remove the heartbeats of gateways that have ended."""
        gone = list(ids)
        if gone:
            await self._control.execute("HDEL", self._keys.gateways, *gone)

    async def live(self, now_ms: int) -> list[GatewayHeartbeat]:
        """Return the live gateways, by host and process; removes those that ended long ago.

        Args:
            now_ms: the Redis server's clock.
        """
        stored: dict[bytes, bytes] = await self._control.execute("HGETALL", self._keys.gateways)
        heartbeats = []
        for gateway, packed in stored.items():
            try:
                heartbeat = _decode(packed)
            except msgspec.DecodeError as error:  # of a version that writes it differently
                _log.debug("gateway_heartbeat_ignored", gateway=gateway, reason=str(error))
                continue
            heartbeats.append(heartbeat)
        sent_ms = {one.id: one.beat_at_ms for one in heartbeats}
        dates = self._dates.dated(sent_ms, now_ms, asyncio.get_running_loop().time())
        ages_s = {gateway: (now_ms - at_ms) / 1000 for gateway, at_ms in dates.items()}
        await self.forget(gateway for gateway, age_s in ages_s.items() if age_s >= FORGET_AFTER_S)
        live = [one for one in heartbeats if ages_s[one.id] < EXPIRY_S]
        return sorted(live, key=lambda one: (one.host, one.process, one.started_at_ms, one.id))
