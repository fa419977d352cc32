"""The gateway's part of snapshots: it asks the workers, which make them."""

from collections.abc import Callable, Mapping
from typing import Any

from hedgerow.common.errors import BadRequestError
from hedgerow.common.settings.snapshots import SnapshotSettings
from hedgerow.common.snapshots.status import SnapshotRecords, SnapshotStatus


class Snapshots:
    """Asks for snapshots of every shard, and reports their state."""

    def __init__(
        self,
        store: SnapshotRecords,
        num_shards: int,
        settings: SnapshotSettings,
        check_room: Callable[[], None] = lambda: None,
    ) -> None:
        """Ask through `store`, unless `check_room` raises: the copy of a store takes disk space."""
        self._check_room = check_room
        self._store = store
        self._num_shards = num_shards
        self._is_on = bool(settings.url)

    async def create(self) -> dict[str, Any]:
        """Ask for a snapshot of every shard; returns at once.

        Returns:
            `wanted_at_ms`, an instant by the Redis server's clock: a shard has its snapshot once
            the `made_at_ms` of its newest one is not earlier; and `shards`, the number of shards.

        Raises:
            BadRequestError: snapshots are off.
            InsufficientStorageError: a disk or memory runs out.
            RedisUnavailableError: Redis does not answer.
        """
        if not self._is_on:
            raise BadRequestError("snapshots.url", "is not set, so no snapshots are made")
        self._check_room()
        wanted_at_ms = await self._store.want(range(self._num_shards))
        return {"wanted_at_ms": wanted_at_ms, "shards": self._num_shards}

    async def status(self) -> dict[int, SnapshotStatus]:
        """Return the state, by shard.

        Raises:
            RedisUnavailableError: Redis does not answer.
        """
        return await self._store.status(range(self._num_shards))


def snapshots_json(states: Mapping[int, SnapshotStatus]) -> list[dict[str, Any]]:
    """Describe the snapshots, for the status."""
    return [
        {
            "shard": shard,
            "id": state.newest.id if state.newest else None,
            "position": state.newest.position if state.newest else None,
            "made_at_ms": state.newest.made_at_ms if state.newest else None,
            "documents": state.newest.documents if state.newest else None,
            "bytes": state.newest.num_bytes if state.newest else None,
            "log_kept": state.num_kept,
            "is_running": state.is_running,
            "failed_at_ms": state.failed_at_ms or None,
            "error": state.error,
        }
        for shard, state in sorted(states.items())
    ]
