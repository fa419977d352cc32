"""The gateway's part of optimising text indexes: it asks the workers, which do it."""

from collections.abc import Callable, Iterable
from typing import Any

from msgspec import to_builtins

from hedgerow.common.state.optimising import Optimising, OptimisingStore
from hedgerow.gateway.members.membership import Membership
from hedgerow.gateway.shapes.collection import Filling
from hedgerow.gateway.writes.collections import Collections


class Optimiser:
    """Asks the workers to optimise collections, and reports the progress."""

    def __init__(
        self,
        store: OptimisingStore,
        collections: Collections,
        check_room: Callable[[], None] = lambda: None,
    ) -> None:
        """Ask through `store`, unless `check_room` raises: rewriting an index takes disk space."""
        self._store = store
        self._collections = collections
        self._check_room = check_room

    async def ask(self, name: str) -> dict[str, Any]:
        """Ask every replica to optimise its index of a collection; returns at once.

        Returns:
            `wanted_at_ms`, an instant by the Redis server's clock: optimising is done once the
            status shows an `index.wanted_at_ms` of the collection that is not earlier, and no
            waiting replica.

        Raises:
            NotFoundError: there is no collection of that name.
            InsufficientStorageError: a disk or memory runs out.
            RedisUnavailableError: Redis does not answer.
        """
        self._check_room()
        collection = await self._collections.current(name)
        return {"wanted_at_ms": await self._store.want(collection.uid)}

    async def progress(self, uids: Iterable[str]) -> dict[str, Optimising]:
        """Return the progress, by collection.

        Raises:
            RedisUnavailableError: Redis does not answer.
        """
        return await self._store.status(uids)


def index_json(
    uid: str, membership: Membership, progress: Optimising | None, filling: Filling | None = None
) -> dict[str, Any]:
    """Describe a collection's text indexes, for the status.

    Args:
        uid: the collection's uid.
        membership: the view of the workers.
        progress: the progress of its optimising; None if Redis does not answer.
        filling: the progress of fields that were added to it.
    """
    # Include shards without documents, since a heartbeat may be older than the last applied entry.
    served = [(worker, shard) for worker in membership.workers.values() for shard in worker.shards]
    segments = [worker.segments.get(shard, {}).get(uid, 0) for worker, shard in served]
    waiting = None
    if progress is not None:
        replicas = [worker.replicas.get(shard, "") for worker, shard in served]
        num_absent = membership.live.count(False) if progress.wanted_at_ms else 0
        waiting = sum(map(progress.is_waiting, replicas)) + num_absent
    return {
        "segments": max(segments, default=0),
        "wanted_at_ms": (progress.wanted_at_ms or None) if progress else None,
        "waiting": waiting,
        "filling": None if filling is None else to_builtins(filling),
    }
