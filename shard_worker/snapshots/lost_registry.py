"""Registers the collections of shards again if the control plane's server alone has lost its data.

With `redis.control_url`, definitions and logs are on different servers. If both servers are empty,
the shards are unknown, and their definitions come back when they are opened (`recovery`). If only
that of the control plane is, the logs know the shards, and say nothing of it. So that server has an
identity, which is made at random where there is none, and beside each log is the one with which
the shard's collections are registered. If the two differ, the server has lost its data since.

The log may have more than the shard: collections that were created or dropped last. So the shard
first applies what its log has.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Final, NamedTuple

import structlog

from hedgerow.common.errors import WriteRefusedError
from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.keys import Keys
from hedgerow.common.redis.reconcile import reconcile
from hedgerow.common.shard_log.entries import position
from hedgerow.common.shard_log.log import ShardLog
from hedgerow.common.state.registry import Registry
from hedgerow.shard_worker.indexing.applier import Applier
from hedgerow.shard_worker.snapshots.recovery import revive_definitions

_EVENT: Final = "definitions_wait"

_log = structlog.get_logger()


class _Due(NamedTuple):
    """What is to be registered.

    Attributes:
        identity: of the server that has lost the definitions.
        newest: the log's last entry when the shard was opened.
    """

    identity: bytes
    newest: str


class LostRegistry:
    """Does so for the shards of one worker."""

    def __init__(
        self,
        control: RedisClient,
        keys: Keys,
        registry: Registry,
        applier: Applier,
        num_shards: Callable[[], int],
    ) -> None:
        """Watch nothing yet.

        Args:
            control: both servers; if there is one, nothing is ever to be done.
            keys: the names of everything in Redis.
            registry: gets the definitions.
            applier: knows what the shards hold.
            num_shards: returns the number of shards in the cluster.
        """
        self._control = control
        self._keys = keys
        self._registry = registry
        self._log = ShardLog(control, keys)
        self._applier = applier
        self._num_shards = num_shards
        self._due: dict[int, _Due] = {}
        self._opened = asyncio.Event()

    async def open(self, shard: int) -> None:
        """Compare the servers for a shard that was opened; if it was unknown, it is registered.

        Raises:
            RedisUnavailableError: one of them does not answer.
        """
        if not self._control.is_split:
            return
        identity = await self._registry.identity()
        if not identity:
            return
        known = await self._control.data(shard).execute("GET", self._keys.registered(shard))
        if known is None:
            await self._set(shard, identity)
        elif known != identity:
            _log.warning("registry_lost", shard=shard)
            self._due[shard] = _Due(identity, await self._log.newest(shard))
            self._opened.set()

    def close(self, shard: int) -> None:
        """Forget a shard; the next worker that opens it goes on."""
        self._due.pop(shard, None)

    def parts(self) -> dict[str, Coroutine[None, None, None]]:
        """What has to run, until cancelled."""
        if not self._control.is_split:
            return {}
        pause_s = self._control.settings.reconnect_max_s
        return {"lost_registry": reconcile(_EVENT, self._look, self._opened, pause_s)}

    async def _look(self) -> None:
        for shard, due in list(self._due.items()):
            state = self._applier.states.get(shard)
            # A shard that has missed entries may have missed that a collection was dropped.
            if state is None or shard in self._applier.gaps:
                continue
            if position(state.position) >= position(due.newest):
                await revive_definitions(self._registry, [state], self._num_shards())
                await self._set(shard, due.identity)
                self._due.pop(shard, None)

    async def _set(self, shard: int, identity: bytes) -> None:
        with suppress(WriteRefusedError):  # then the next worker that opens the shard does it
            await self._control.data(shard).execute("SET", self._keys.registered(shard), identity)
