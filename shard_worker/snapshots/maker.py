"""Makes one snapshot of one shard.

    indexer: link the indexes and begin to copy the store (milliseconds)
      ► the copy completes while writes go on ► upload in a thread ► is the lease still ours?
        ► write the manifest ► record the snapshot in Redis ► remove older snapshots

If the process is killed at any moment, it leaves a folder without a manifest at the target, which
never counts as a snapshot and which the next snapshot removes; and a folder on this machine, which
the next attempt empties.
"""

import asyncio
import secrets
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import structlog

from hedgerow.common import __version__
from hedgerow.common.collection import Collection
from hedgerow.common.errors import HedgerowError, SnapshotError, WireError
from hedgerow.common.settings.settings import Settings
from hedgerow.common.snapshots.manifest import STORE, CollectionFacts, Manifest, snapshot_id
from hedgerow.common.snapshots.status import SnapshotFacts, SnapshotRecords
from hedgerow.common.snapshots.store import SnapshotStore
from hedgerow.common.tasks import end
from hedgerow.shard_worker.executors.thread_pool.threads import ThreadLane
from hedgerow.shard_worker.indexing.indexer_client import IndexerClient

RENEW_S = 5.0
POLL_S = 0.05

T = TypeVar("T")

_log = structlog.get_logger()


class SnapshotMaker:
    """Makes snapshots of this worker's shards, one at a time."""

    def __init__(
        self,
        settings: Settings,
        store: SnapshotStore,
        records: SnapshotRecords,
        indexer: IndexerClient,
        threads: ThreadLane,
    ) -> None:
        """Create a maker; `make` does the work.

        Args:
            settings: of which `data` and `snapshots` are used.
            store: where snapshots go.
            records: what Redis knows of them.
            indexer: copies a shard while it writes to it.
            threads: the pool for calls that take minutes.
        """
        self._folder = settings.data / "snapshots"
        self._keep = settings.snapshots.keep
        self._timeout_s = settings.snapshots.timeout_s
        self._store = store
        self._records = records
        self._indexer = indexer
        self._threads = threads

    async def make(self, shard: int, begun: int, num_shards: int) -> SnapshotFacts | None:
        """Make a snapshot, unless another replica does.

        Args:
            shard: the shard to copy.
            begun: the number of earlier attempts.
            num_shards: of the cluster.

        Returns:
            The snapshot; None if another replica was first, or took over.

        Raises:
            HedgerowError: the snapshot could not be made; the reason is recorded in Redis.
        """
        lease = _Lease(secrets.token_hex(8))
        if not await self._records.begin(shard, begun, lease.holder):
            return None
        renewing = asyncio.create_task(self._hold(shard, lease), name="snapshot lease")
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._make(shard, num_shards, lease)
        except TimeoutError:
            raise await self._failed(
                shard, SnapshotError(f"not made within {self._timeout_s:g} s")
            ) from None
        except HedgerowError as error:
            raise await self._failed(shard, error) from error
        finally:
            await end([renewing])
            await self._records.release(shard, lease.holder)

    async def _make(self, shard: int, num_shards: int, lease: "_Lease") -> SnapshotFacts | None:
        made_at_ms = await self._records.next_made_at_ms(shard)
        snapshot = snapshot_id(made_at_ms, secrets.token_hex(3))
        folder = self._folder / str(shard) / snapshot
        await self._call(lambda: shutil.rmtree(folder.parent, ignore_errors=True))
        try:
            frozen = await self._indexer.freeze(shard, str(folder.absolute()))
            while not await self._indexer.is_frozen(shard):  # noqa: ASYNC110 - in another process
                await asyncio.sleep(POLL_S)
            files = await self._call(
                lambda: self._store.upload(shard, snapshot, _files(folder), lease.check)
            )
            manifest = Manifest(
                snapshot,
                shard,
                num_shards,
                frozen.position,
                made_at_ms,
                __version__,
                tuple(
                    CollectionFacts(one.uid, _name(one.definition), one.documents)
                    for one in frozen.collections
                ),
                tuple(files),
            )
            if not await self._records.renew(shard, lease.holder):
                _log.warning("snapshot_given_up", shard=shard, reason="another replica took over")
                return None
            await self._call(lambda: self._store.commit(manifest))
            facts = SnapshotFacts.of(manifest)
            await self._records.set_newest(shard, facts)
            _log.info("snapshot_made", **facts._asdict(), shard=shard)
            await self._prune(shard, snapshot)
            return facts
        finally:
            lease.end()  # a thread that still uploads stops at the next piece
            await self._indexer.thaw(shard)
            await self._call(lambda: shutil.rmtree(folder.parent, ignore_errors=True))

    async def _prune(self, shard: int, newest: str) -> None:
        try:
            gone = await self._call(lambda: self._store.prune(shard, self._keep, newest))
        except SnapshotError as error:  # the next snapshot tries again
            _log.warning("snapshots_not_pruned", shard=shard, error=str(error))
        else:
            if gone:
                _log.info("snapshots_pruned", shard=shard, ids=gone)

    async def _failed(self, shard: int, error: HedgerowError) -> HedgerowError:
        _log.error("snapshot_failed", shard=shard, reason=str(error))
        await self._records.fail(shard, str(error))
        return error

    async def _hold(self, shard: int, lease: "_Lease") -> None:
        while True:
            await asyncio.sleep(RENEW_S)
            try:
                if not await self._records.renew(shard, lease.holder):
                    lease.end()
            except HedgerowError as error:  # Redis may come back before the lease runs out
                _log.debug("lease_not_renewed", shard=shard, error=str(error))

    async def _call(self, call: Callable[[], T]) -> T:
        try:
            return await self._threads.run(call, self._timeout_s)
        except OSError as error:
            raise SnapshotError(str(error)) from error


class _Lease:
    """The right to make a snapshot, which the uploading thread checks."""

    def __init__(self, holder: str) -> None:
        self.holder = holder
        self._ended = threading.Event()

    def end(self) -> None:
        """End the lease."""
        self._ended.set()

    def check(self) -> None:
        """Raise an error if the lease has ended.

        Raises:
            SnapshotError: the lease has ended.
        """
        if self._ended.is_set():
            raise SnapshotError("stopped before it was complete")


def _files(folder: Path) -> dict[str, Path]:
    """Path in the snapshot → file; the largest file, the store, comes last."""
    found = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    return dict(sorted(found.items(), key=lambda item: (item[0] == STORE, item[0])))


def _name(definition: str) -> str:
    """A collection's name; "" if this version cannot read the definition."""
    try:
        return Collection.from_json(definition).name
    except WireError:
        return ""
