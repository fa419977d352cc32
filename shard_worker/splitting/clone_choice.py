"""Decides whether the documents of an old shard need not be copied, since all have them already."""

import asyncio
import math
from collections.abc import Collection, Mapping
from typing import Final

from hedgerow.common.placement.document import Placement
from hedgerow.common.placement.store import PlacementStore
from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.keys import Keys
from hedgerow.common.state.layout import Split
from hedgerow.common.state.registry import Registry
from hedgerow.common.wire.heartbeat import Heartbeat

LOOK_S: Final = 0.25


def can_clone(
    placement: Placement | None,
    source: Mapping[str, Heartbeat],
    old: int,
    new: Collection[int],
) -> bool:
    """Whether every worker that is to serve the new shards can clone them from the old one.

    Args:
        placement: of the new shards; None if there is none yet.
        source: the live workers of the old shards, by id.
        old: the shard that is divided.
        new: the shards that replace it; each must have as many workers as it has.
    """
    if placement is None:
        return False
    serving = [beat for beat in source.values() if old in beat.shards]
    able = {beat.id for beat in serving if beat.clones}
    holders = [placement.of(shard).holders for shard in new]
    return all(len(found) >= len(serving) > 0 and able.issuperset(found) for found in holders)


class CloneChoice:
    """Observes what `can_clone` needs, every `LOOK_S` at most for all copiers of a process.

    Attributes:
        is_placed: whether workers were chosen for the new shards, when it was last observed.
    """

    def __init__(self, control: RedisClient, keys: Keys, split: Split, expiry_s: float) -> None:
        """Observe the workers of a split, which are live for `expiry_s` after a heartbeat."""
        self._placement = PlacementStore(control, keys.of_layout(split.target.id))
        self._registry = Registry(control, keys.of_layout(split.source.id))
        self._expiry_s = expiry_s
        self._turn = asyncio.Lock()
        self._seen: tuple[Placement | None, Mapping[str, Heartbeat]] = None, {}
        self._seen_at = -math.inf
        self.is_placed = False

    async def are_possible(self, old: int, new: Collection[int]) -> bool:
        """`can_clone`, at most `LOOK_S` ago.

        Raises:
            RedisUnavailableError: there was no answer.
        """
        async with self._turn:
            now = asyncio.get_running_loop().time()
            if now - self._seen_at >= LOOK_S:
                self._seen = await self._look()
                self._seen_at = now
        placement, source = self._seen
        return can_clone(placement, source, old, new)

    async def _look(self) -> tuple[Placement | None, Mapping[str, Heartbeat]]:
        placement = await self._placement.read()
        self.is_placed = placement is not None
        if placement is None:  # the heartbeats are many, and would say nothing yet
            return None, {}
        return placement, await self._registry.live_heartbeats(self._expiry_s)
