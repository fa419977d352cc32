"""The shards that a split divides, as the workers of one process serve them."""

from collections.abc import Callable, Mapping
from pathlib import Path

from hedgerow.common.placement.store import PlacementStore
from hedgerow.common.shard_log.entries import position
from hedgerow.common.snapshots.restore import shard_folder
from hedgerow.common.state.layout import ClusterLayout, Layout, Split
from hedgerow.shard_worker.worker import Worker


class ServedOldShards:
    """What the worker of a split's target may clone (`shard_worker.splitting.cloner.OldShards`)."""

    def __init__(
        self,
        placements: Callable[[Layout], PlacementStore],
        data: Path,
        target: Layout,
        present: Callable[[], ClusterLayout],
        workers: Mapping[int, Worker],
        worker_id: str,
    ) -> None:
        """Look for old shards.

        Args:
            placements: returns where the placement of a layout is.
            data: the process's data folder.
            target: the layout of the new shards.
            present: returns the cluster's layout.
            workers: those of this process, by the id of their layout.
            worker_id: their name in the cluster.
        """
        self._placements = placements
        self._data = data
        self._target = target
        self._present = present
        self._workers = workers
        self._worker_id = worker_id

    @property
    def is_copying(self) -> bool:
        """Whether the new shards are being filled."""
        return self._split is not None

    @property
    def are_there(self) -> bool:
        """Whether the new shards are being filled, or this process still serves old ones."""
        return self.is_copying or any(layout < self._target.id for layout in self._workers)

    @property
    def divided(self) -> frozenset[int]:
        """The new shards whose documents old ones here have."""
        split = self._split
        worker = self._workers.get(split.source.id) if split is not None else None
        if split is None or worker is None:
            return frozenset()
        later = split.source.num_shards  # how much greater the number of the second half is
        return frozenset(new for old in worker.served for new in (old, old + later))

    async def workers(self) -> frozenset[str]:
        """The owners of the old shards; none if the new ones are not being filled."""
        if (split := self._split) is None:
            return frozenset()
        # Not by their heartbeats, which are late while they start the processes of the new shards.
        placement = await self._placements(split.source).read()
        shards = () if placement is None else placement.shards
        return frozenset(worker for shard in shards for worker in shard.owners)

    def folder(self, shard: int) -> Path | None:
        """The folder of the old shard that has a new one's documents.

        None if it is not served, or its log was never written to: then there is nothing to clone.
        """
        if (split := self._split) is None:
            return None
        worker, old = self._workers.get(split.source.id), shard % split.source.num_shards
        applied = worker.applied(old) if worker is not None else None
        if applied is None or position(applied)[0] == 0:
            return None
        return shard_folder(split.source.data(self._data), old)

    async def is_late(self, shard: int) -> bool:
        """Whether this worker owns the old shard with a new one's documents, and lacks it now.

        So it is in a process that has started again, until it has opened its shards, and until
        these have caught up.
        """
        if (split := self._split) is None:
            return False
        worker, old = self._workers.get(split.source.id), shard % split.source.num_shards
        if worker is not None and worker.applied(old) is not None:
            return False
        placement = await self._placements(split.source).read()
        return placement is not None and self._worker_id in placement.of(old).owners

    @property
    def _split(self) -> Split | None:
        layout = self._present()
        if layout.split is None or layout.split.target != self._target:
            return None
        return layout.split if layout.is_copying else None
