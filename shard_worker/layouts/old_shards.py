"""The shards that a split divides, as the workers of one process serve them."""

from collections.abc import Callable, Mapping
from pathlib import Path

from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.keys import Keys
from hedgerow.common.settings.settings import Settings
from hedgerow.common.shard_log.entries import position
from hedgerow.common.snapshots.restore import shard_folder
from hedgerow.common.state.layout import ClusterLayout, Layout, Split
from hedgerow.common.state.registry import Registry
from hedgerow.shard_worker.worker import Worker


class ServedOldShards:
    """What the worker of a split's target may clone (`shard_worker.splitting.cloner.OldShards`)."""

    def __init__(
        self,
        control: RedisClient,
        settings: Settings,
        target: Layout,
        present: Callable[[], ClusterLayout],
        workers: Mapping[int, Worker],
    ) -> None:
        """Look for old shards.

        Args:
            control: Redis.
            settings: of the process.
            target: the layout of the new shards.
            present: returns the cluster's layout.
            workers: those of this process, by the id of their layout.
        """
        self._control = control
        self._keys = Keys.of(settings.redis)
        self._data = settings.data
        self._expiry_s = settings.worker.heartbeat_expiry_s
        self._target = target
        self._present = present
        self._workers = workers

    @property
    def is_copying(self) -> bool:
        """Whether the new shards are being filled."""
        return self._split is not None

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
        """The live workers that serve old shards; none if the new ones are not being filled."""
        if (split := self._split) is None:
            return frozenset()
        registry = Registry(self._control, self._keys.of_layout(split.source.id))
        live = await registry.live_heartbeats(self._expiry_s)
        return frozenset(worker for worker, beat in live.items() if beat.shards)

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

    @property
    def _split(self) -> Split | None:
        layout = self._present()
        if layout.split is None or layout.split.target != self._target:
            return None
        return layout.split if layout.is_copying else None
