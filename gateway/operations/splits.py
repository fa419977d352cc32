"""Splits of the cluster's shards, for operators: begins one, cancels it, says how far it is."""

from collections.abc import Callable
from typing import Any, Final

from hedgerow.common.errors import ConflictError, NotFoundError, WireError
from hedgerow.common.partition import MAX_SHARDS
from hedgerow.common.placement.store import PlacementStore
from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.keys import Keys
from hedgerow.common.splitting.policy import abandon, begin
from hedgerow.common.state.gateways import GatewayStore
from hedgerow.common.state.layout import ClusterLayout, Layout, LayoutStore, Split
from hedgerow.common.state.registry import Registry
from hedgerow.common.state.reindexing import ReindexStore

_CHANGED: Final = "the split has changed just now; look at it again"


class SplitAdmin:
    """Doubles the number of shards of a running cluster (docs/splitting.md).

    Every method raises RedisUnavailableError if Redis does not answer in time.
    """

    def __init__(
        self,
        control: RedisClient,
        keys: Keys,
        registry: Registry,
        num_shards: int,
        expiry_s: float,
        check_room: Callable[[], None] = lambda: None,
    ) -> None:
        """Split the shards of a cluster.

        Args:
            control: the Redis client.
            keys: the names of the keys of the layout that this gateway searches.
            registry: has the heartbeats of that layout's workers.
            num_shards: its shards.
            expiry_s: `worker.heartbeat_expiry_s`.
            check_room: raises if a disk or memory runs out: a split needs twice the disk space.
        """
        self._check_room = check_room
        self._control = control
        self._keys = keys
        self._registry = registry
        self._num_shards = num_shards
        self._expiry_s = expiry_s
        self._store = LayoutStore(control, keys)
        self._gateways = GatewayStore(control, keys)

    async def describe(self) -> dict[str, Any]:
        """The layout, and the split in progress, as `LayoutAnswer`."""
        layout = await self._read()
        split, last = layout.split, layout.last
        return {
            "version": layout.version,
            "num_shards": layout.current.num_shards,
            "split": None if split is None else await self._split_json(split),
            "last_split": None
            if last is None
            else {
                "from_shards": last.from_shards,
                "to_shards": last.to_shards,
                "took_s": last.took_ms / 1000,
                "writes_held_s": last.held_ms / 1000,
                "ended_at_ms": last.ended_at_ms,
                "error": last.error or None,
            },
        }

    async def running(self) -> dict[str, Any] | None:
        """The split in progress, as `RunningSplit`; None if there is none that can be read."""
        try:
            split = (await self._read()).split
        except WireError:  # of a newer version
            return None
        return None if split is None else await self._split_json(split)

    async def begin(self) -> dict[str, Any]:
        """Begin to double the number of shards; returns at once, as `describe`.

        Raises:
            ConflictError: a split is in progress, or some process cannot take part in one.
            InsufficientStorageError: a disk or memory runs out.
        """
        layout = await self._read()
        await self._check(layout)
        self._check_room()
        await self._registry.allow_layouts()
        begun = begin(layout, await self._control.now_ms())
        if not await self._store.write(begun, layout.version):
            raise ConflictError(_CHANGED)
        return await self.describe()

    async def cancel(self) -> dict[str, Any]:
        """Give up the split in progress, as long as it copies; returns at once, as `describe`.

        Raises:
            NotFoundError: there is none.
            ConflictError: the new shards are about to take over, or have done so.
        """
        layout = await self._read()
        if layout.split is None:
            raise NotFoundError("no split is in progress")
        given_up = abandon(layout, "it was cancelled", await self._control.now_ms())
        if given_up is None:
            raise ConflictError(
                f"the split is {layout.split.state.value}; it can be cancelled while it is copying"
            )
        if not await self._store.write(given_up, layout.version):
            raise ConflictError(_CHANGED)
        return await self.describe()

    async def _read(self) -> ClusterLayout:
        stored = await self._store.read()
        return stored or ClusterLayout(0, Layout(self._keys.layout, self._num_shards))

    async def _check(self, layout: ClusterLayout) -> None:
        if layout.split is not None:
            raise ConflictError(
                f"a split to {layout.split.target.num_shards} shards is in progress"
            )
        await self._check_reindex()
        if layout.current.id != self._keys.layout:
            raise ConflictError(_CHANGED)
        if 2 * layout.current.num_shards > MAX_SHARDS:
            raise ConflictError(f"a cluster has at most {MAX_SHARDS} shards")
        workers = await self._registry.live_heartbeats(self._expiry_s)
        if not workers:
            raise ConflictError("no worker is live")
        if pinned := sorted(worker for worker, beat in workers.items() if not beat.joins):
            raise ConflictError(
                f"the shards of {', '.join(pinned)} are pinned (--shards), and pinned shards "
                "cannot be split: start the workers with --join first, or gateway up with "
                "--replicas 2 (docs/splitting.md)"
            )
        has_servers = self._control.is_split
        if old := sorted(
            worker
            for worker, beat in workers.items()
            if not (beat.splits_servers if has_servers else beat.splits)
        ):
            raise ConflictError(f"{', '.join(old)}: this version cannot split; upgrade it first")
        now_ms = await self._control.now_ms()
        gateways = await self._gateways.live(now_ms)
        if unable := sorted(
            one.id for one in gateways if one.layout < 0 or (has_servers and not one.splits_servers)
        ):
            raise ConflictError(
                f"gateways {', '.join(unable)}: this version cannot split; upgrade them first"
            )
        if draining := await PlacementStore(self._control, self._keys).draining():
            raise ConflictError(
                f"{', '.join(sorted(draining))} is draining or drained; stop it when it holds no "
                "shard, or cancel its drain (gateway drain WORKER --cancel)"
            )

    async def _check_reindex(self) -> None:
        reindex = await ReindexStore(self._control, self._keys).read()
        if reindex is not None and reindex.is_running:
            hint = f"end it, or remove {reindex.old}, first"
            raise ConflictError(
                f"a reindex of {reindex.old} into {reindex.new} is {reindex.state.value}; "
                + (hint if reindex.switched_at_ms else "split the shards when it has ended")
            )

    async def _split_json(self, split: Split) -> dict[str, Any]:
        now_ms = await self._control.now_ms()
        progress = await self._store.progress()
        return {
            "from_shards": split.source.num_shards,
            "to_shards": split.target.num_shards,
            "state": split.state.value,
            "running_s": max(0, now_ms - split.began_at_ms) / 1000,
            "copied_shards": progress.copied if progress else 0,
            "waits_for": progress.waits_for if progress else "a worker to move it on",
            "fell_back": split.reason or None,
        }
