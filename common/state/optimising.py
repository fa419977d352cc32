"""When optimising a collection's text indexes was last requested, and which replicas have done it.

Each replica of a shard has its own index, and compares the two to see whether it must optimise it.
A lost event, or a worker that is killed meanwhile, therefore makes no difference.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.commands import Command
from hedgerow.common.redis.keys import Keys
from hedgerow.common.state.batched import batched

EVENT = "optimise"

_ASKED_AT_ONCE = 200  # collections, which take some 2 ms of CPU
_WANTED = b"wanted_at_ms"

# Nothing must remain of a collection that was dropped meanwhile.
_SET_DONE = """
if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) end
"""


class Optimising(NamedTuple):
    """The state of optimising a collection's indexes.

    Attributes:
        wanted_at_ms: when it was last requested, on the Redis server's clock; 0 for never.
        done: replica id → `wanted_at_ms` of the latest request that it has carried out.
    """

    wanted_at_ms: int = 0
    done: Mapping[str, int] = MappingProxyType({})

    def is_waiting(self, replica_id: str) -> bool:
        """Whether a replica has yet to optimise its index."""
        return self.done.get(replica_id, 0) < self.wanted_at_ms


class OptimisingStore:
    """Reads and writes the state of optimising.

    Every method raises RedisUnavailableError if there is no answer in time.
    """

    def __init__(self, control: RedisClient, keys: Keys) -> None:
        self._control = control
        self._keys = keys

    async def status(self, uids: Iterable[str]) -> dict[str, Optimising]:
        """The state of these collections, in a round trip for every few of them."""
        found: dict[str, Optimising] = {}
        for some in batched(uids, _ASKED_AT_ONCE):
            replies = await self._control.pipeline(
                [("HGETALL", self._keys.optimising(uid)) for uid in some]
            )
            found |= zip(some, map(_status_of, replies), strict=True)
        return found

    async def want(self, uid: str) -> int:
        """Request it; return when that was, in ms."""
        now_ms = await self._control.now_ms()
        key = self._keys.optimising(uid)
        commands: list[Command] = [
            ("DEL", key),  # so that replicas that no longer exist are not kept for ever
            ("HSET", key, _WANTED, now_ms),
            ("PUBLISH", self._keys.events, EVENT),
        ]
        await self._control.pipeline(commands, atomic=True)
        return now_ms

    async def set_done(self, uid: str, replica_id: str, wanted_at_ms: int) -> None:
        """Record that a replica has carried out a request."""
        key = self._keys.optimising(uid)
        await self._control.execute("EVAL", _SET_DONE, 1, key, replica_id, wanted_at_ms)


def _status_of(stored: Mapping[bytes, bytes]) -> Optimising:
    done = {one.decode(): int(at_ms) for one, at_ms in stored.items() if one != _WANTED}
    return Optimising(int(stored.get(_WANTED, 0)), done)
