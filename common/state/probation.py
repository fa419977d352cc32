"""Which workers are on probation in the cluster, and which gateway put them there.

This is a hash in Redis: worker id → the entry of the first gateway that put the worker on
probation (`ProbationEntry`). An entry is valid until an instant on the server's clock, and its
gateway renews it before that, so the entries of a dead gateway expire. Each gateway judges on its
own, but together they respect a bound: a gateway adds to the hash only if the hash is still as the
gateway has read it.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec
import structlog

from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.keys import Keys

EVENT: Final = "probation"
MOST_LEFT_MS: Final = 600_000  # of an entry's time when it is written

_log = structlog.get_logger()

# Change the hash if it has the fields that were read, whatever their values, which change often.
_SWAP = """
local num_read, num_removed = tonumber(ARGV[1]), tonumber(ARGV[2])
if redis.call('HLEN', KEYS[1]) ~= num_read then return 0 end
for i = 3, 2 + num_read do
    if redis.call('HEXISTS', KEYS[1], ARGV[i]) == 0 then return 0 end
end
for i = 3 + num_read, 2 + num_read + num_removed do redis.call('HDEL', KEYS[1], ARGV[i]) end
for i = 3 + num_read + num_removed, #ARGV, 2 do
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
end
return 1
"""


class ProbationEntry(msgspec.Struct, frozen=True, gc=False):
    """A gateway's entry for a worker that it has put on probation; a MessagePack map.

    Attributes:
        gateway: the gateway.
        reason: why, for people.
        since_ms: when it began, an instant on the Redis server's clock.
        until_ms: when the entry expires if it is not renewed, on the same clock.
    """

    gateway: str
    reason: str
    since_ms: int
    until_ms: int

    def is_valid(self, now_ms: int) -> bool:
        """Whether it is in force at `now_ms` on the Redis server's clock.

        One that would be for longer than any that is written now is of before the clock was set
        back. Its gateway, if it still lives, renews it within seconds.
        """
        return now_ms < self.until_ms <= now_ms + MOST_LEFT_MS


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(ProbationEntry).decode
_UNREADABLE: Final = ProbationEntry("", "", 0, 0)  # has expired, so the next gateway removes it


class ProbationStore:
    """Reads and writes the hash.

    Every method raises RedisUnavailableError if there is no answer in time.
    """

    def __init__(self, control: RedisClient, keys: Keys) -> None:
        self._control = control
        self._keys = keys

    async def entries(self) -> dict[str, ProbationEntry]:
        """Worker id → its entry, including entries that have expired."""
        stored: dict[bytes, bytes] = await self._control.execute("HGETALL", self._keys.probation)
        entries = {}
        for worker, packed in stored.items():
            try:
                entry = _decode(packed)
            except msgspec.DecodeError as error:
                _log.debug("probation_entry_ignored", worker=worker, reason=str(error))
                entry = _UNREADABLE
            entries[worker.decode(errors="replace")] = entry
        return entries

    async def swap(
        self, read: Iterable[str], removed: Iterable[str], put: Mapping[str, ProbationEntry]
    ) -> bool:
        """Change the hash, unless its workers are no longer those that were read.

        Args:
            read: the workers that were in it.
            removed: the workers to remove.
            put: the entries to add or renew.

        Returns:
            Whether it was changed.
        """
        known, gone = list(read), list(removed)
        fields = [part for worker, entry in put.items() for part in (worker, _encode(entry))]
        is_done = await self._control.execute(
            "EVAL",
            _SWAP,
            1,
            self._keys.probation,
            len(known),
            len(gone),
            *known,
            *gone,
            *fields,
        )
        return bool(is_done)

    async def announce(self) -> None:
        """Announce to workers and gateways that the workers on probation have changed."""
        await self._control.publish(self._keys.events, EVENT.encode())
