"""Which workers are on probation, by which gateway's word, as the cluster sees it.

One hash in Redis: worker id → the word of the gateway that was first to say so. A word holds until
an instant on the server's clock and is renewed before; so that of a gateway that has died ends by
itself. Gateways judge each on its own, and what they say together is bounded: a gateway adds to the
hash only while that is as it has read it.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec
import structlog

from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.keys import Keys

EVENT: Final = "probation"

_log = structlog.get_logger()

# Change the hash if it has the fields that were read, whatever they hold: words are renewed often.
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


class Word(msgspec.Struct, frozen=True, gc=False):
    """What a gateway says of a worker that it has on probation; a MessagePack map.

    Attributes:
        gateway: whose word it is.
        reason: why, for people.
        since_ms: when it began, an instant on the Redis server's clock.
        until_ms: when the word ends if it is not renewed, on the same clock.
    """

    gateway: str
    reason: str
    since_ms: int
    until_ms: int


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Word).decode
_UNREADABLE: Final = Word("", "", 0, 0)  # has ended, so that the next gateway removes it


class ProbationStore:
    """Reads and writes of the hash.

    Every method raises RedisUnavailableError when there is no answer in time.
    """

    def __init__(self, control: RedisClient, keys: Keys) -> None:
        self._control = control
        self._keys = keys

    async def words(self) -> dict[str, Word]:
        """Worker id → what is said of it, those words included that have ended."""
        stored: dict[bytes, bytes] = await self._control.execute("HGETALL", self._keys.probation)
        words = {}
        for worker, packed in stored.items():
            try:
                word = _decode(packed)
            except msgspec.DecodeError as error:
                _log.debug("word_ignored", worker=worker, reason=str(error))
                word = _UNREADABLE
            words[worker.decode(errors="replace")] = word
        return words

    async def swap(
        self, read: Iterable[str], removed: Iterable[str], put: Mapping[str, Word]
    ) -> bool:
        """Change the hash, unless its workers are no longer those that were read.

        Args:
            read: the workers that were in it.
            removed: those that go.
            put: those that come, or whose word is renewed.

        Returns:
            Whether it was changed.
        """
        known, gone = list(read), list(removed)
        fields = [part for worker, word in put.items() for part in (worker, _encode(word))]
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
        """Tell workers and gateways that other workers are on probation than before."""
        await self._control.publish(self._keys.events, EVENT.encode())
