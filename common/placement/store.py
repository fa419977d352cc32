"""The placement in Redis, and the workers that are draining.

What is decided here is written as safely as documents are (`durability`): if `redis.min_replicas`
is set, a failover loses neither a version of the placement nor a drain that was acknowledged.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from hedgerow.common.placement.document import Placement
from hedgerow.common.placement.members import Observation
from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.commands import Command
from hedgerow.common.redis.keys import Keys
from hedgerow.common.shard_log import durability
from hedgerow.common.state.registry import Registry
from hedgerow.common.state.versioned import VersionedStore, hold_lease

PLACED: Final = "placement"  # the event `placement:<version>`: there is a new version
DRAINING: Final = "draining"  # the event: workers have begun to drain, or no longer do


class PlacementStore(VersionedStore[Placement]):
    """Reads and writes the placement; in a cluster of pinned workers, there is none.

    Every method raises RedisUnavailableError if there is no answer in time.
    """

    def __init__(self, control: RedisClient, keys: Keys) -> None:
        super().__init__(
            control,
            keys,
            keys.placement,
            Placement.from_json,
            channel=keys.events,
            event=lambda placement: f"{PLACED}:{placement.version}",
        )

    async def begin(self, placement: Placement | None) -> None:
        """Set what workers that are about to start will find: no worker drains or is lost.

        Only for a cluster without a worker that runs, since another version may be overwritten.

        Args:
            placement: what they are to carry out; None for no placement.
        """
        stored: Command = ("DEL", self._keys.placement)
        if placement is not None:
            stored = ("SET", self._keys.placement, placement.to_json())
        records: Command = ("DEL", self._keys.draining, self._keys.departed)
        await self._control.pipeline([stored, records], atomic=True)

    async def draining(self) -> frozenset[str]:
        """The workers that are draining."""
        members: list[bytes] = await self._control.execute("SMEMBERS", self._keys.draining)
        return frozenset(worker.decode(errors="replace") for worker in members)

    async def set_draining(self, worker: str, *, is_draining: bool) -> None:
        """Let a worker drain, or no longer, and announce it."""
        change = "SADD" if is_draining else "SREM"
        commands: list[Command] = [
            (change, self._keys.draining, worker),
            ("PUBLISH", self._keys.events, DRAINING),
        ]
        await durability.write(self._control, self._keys, commands, retry=True)

    async def departed(self) -> dict[str, int]:
        """Worker → since when it has been known to be gone, in ms on the server's clock."""
        stored: dict[bytes, bytes] = await self._control.execute("HGETALL", self._keys.departed)
        return {worker.decode(errors="replace"): int(at_ms) for worker, at_ms in stored.items()}

    async def note_departed(self, since_ms: Mapping[str, int], forgotten: Iterable[str]) -> None:
        """Record since when workers have been gone, and forget others.

        Args:
            since_ms: worker → since when; replaces what was recorded.
            forgotten: workers that are back, or that the placement no longer names.
        """
        commands: list[Command] = [
            *(("HSET", self._keys.departed, worker, at_ms) for worker, at_ms in since_ms.items()),
            *(("HDEL", self._keys.departed, worker) for worker in forgotten),
        ]
        await self._control.pipeline(commands)

    async def announce(self, event: str) -> None:
        """Announce an event to all gateways and workers."""
        await self._control.execute("PUBLISH", self._keys.events, event)

    async def hold_lease(self, worker: str, hold_s: float) -> bool:
        """Take or renew the lease of the worker that watches; return whether it has it now."""
        return await hold_lease(self._control, self._keys.placement_lease, worker, hold_s)

    async def observe(self, registry: Registry, num_shards: int) -> Observation:
        """Read what the policy decides by, except for the placement itself."""
        heartbeats = await registry.heartbeats()
        draining, departed = await self.draining(), await self.departed()
        now_ms = await self._control.now_ms()
        dated = registry.dated(heartbeats, now_ms)
        return Observation(num_shards, dated, draining, departed, now_ms)


def placed_version(event: bytes) -> int | None:
    """The version that an event announces; None if it is another event."""
    kind, _, version = event.decode(errors="replace").partition(":")
    return int(version) if kind == PLACED and version.isdecimal() else None
