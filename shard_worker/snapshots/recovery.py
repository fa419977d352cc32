"""Brings a replica that is empty or out of date up to date: from a snapshot, then from the log.

    empty folder                              ► newest complete snapshot
    missed a part of the log (`ShardLog.gap`) ► the same, if it contains the missing part

If Redis has lost its data, the collections' definitions are gone, too; the stores still have them.
"""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

import structlog

from hedgerow.common.collection import Collection
from hedgerow.common.errors import (
    ConfigurationError,
    ConflictError,
    NotFoundError,
    SnapshotError,
    WireError,
)
from hedgerow.common.settings.settings import Settings
from hedgerow.common.shard_log.entries import START, position
from hedgerow.common.shard_log.log import ShardLog
from hedgerow.common.snapshots.manifest import STORE, Manifest
from hedgerow.common.snapshots.restore import has_store, restore, shard_folder
from hedgerow.common.snapshots.store import SnapshotStore
from hedgerow.common.state.layout import LayoutStore
from hedgerow.common.state.registry import Registry
from hedgerow.shard_worker.context import Context
from hedgerow.shard_worker.executors.thread_pool.threads import ThreadLane
from hedgerow.shard_worker.indexing.shard_report import ShardState
from hedgerow.shard_worker.snapshots.restore_pace import RestorePace
from hedgerow.shard_worker.storage.store import Store

LOCK_WAIT_S = 10.0

_log = structlog.get_logger()


async def restore_if_needed(
    log: ShardLog,
    store: SnapshotStore,
    threads: ThreadLane,
    shard: int,
    num_shards: int,
    settings: Settings,
    pace: RestorePace | None = None,
) -> bool:
    """Restore a shard that is empty, or that lacks log entries which a snapshot contains.

    To be called before the shard is opened. If the caller is cancelled, or the time is over, the
    thread has ended when this returns.

    Args:
        log: all shards' logs.
        store: where the snapshots are.
        threads: the pool that downloads them.
        shard: the shard.
        num_shards: of the cluster.
        settings: of which `data` and `snapshots.timeout_s` are used.
        pace: bounds how fast it is restored; None for no bound.

    Returns:
        Whether it was restored.

    Raises:
        SnapshotError: the target does not answer, or there are snapshots but none is usable. If the
            worker started empty instead, it would seem to have all documents.
        ConfigurationError: another process uses a shard's folder, or the snapshots belong to
            another cluster.
        RedisUnavailableError: Redis does not answer.
    """
    timeout_s = settings.snapshots.timeout_s
    stored = await threads.run(partial(stored_replica, settings.data, shard), timeout_s)
    needed = START
    if stored is not None and stored.position != START:
        if await log.gap(shard, *stored) is None:
            return False
        needed = await log.trimmed(shard)
    restoring = _Restoring(store, settings.data, shard, num_shards, needed, pace)
    try:
        restored = await threads.run(restoring.run, timeout_s)
    finally:
        await restoring.end()
    if restored is None:
        return False
    if stored is not None:  # this replica is gone, and the log need not wait for it
        await log.forget_replica(shard, stored.replica_id)
    _log.info(
        "shard_restored",
        shard=shard,
        id=restored.id,
        position=restored.position,
        documents=restored.documents,
    )
    return True


async def check_not_split(
    context: Context, store: SnapshotStore, threads: ThreadLane, shard: int
) -> None:
    """Make sure that an empty shard was not split before Redis lost everything.

    Its snapshots would be from before the split; or there are none, and it would seem to be new.

    Raises:
        ConfigurationError: says how to go on.
        RedisUnavailableError: Redis does not answer.
    """
    settings, keys = context.settings, context.keys
    if keys.layout or await asyncio.to_thread(held_replica, settings.data, shard) is not None:
        return
    if await LayoutStore(context.control, keys).read() is not None:
        return
    if later := await threads.run(store.split_layouts, settings.snapshots.timeout_s):
        raise ConfigurationError(
            f"snapshots.url: beside {store.place} there is {later[-1]}, for shards into which "
            "these were split, and Redis knows of no split; to restore that, set redis.key_prefix "
            f"to {later[-1]}, with the number of shards after the split; or remove that folder"
        )


class _Restoring:
    """Restores a shard in a thread, and can stop it: another attempt uses the same folders."""

    def __init__(
        self,
        store: SnapshotStore,
        data: Path,
        shard: int,
        num_shards: int,
        needed: str,
        pace: RestorePace | None,
    ) -> None:
        self._restore = partial(restore_shard, store, data, shard, num_shards, needed)
        self._pace = pace
        self._loop = asyncio.get_running_loop()
        self._has_ended: asyncio.Future[None] = self._loop.create_future()
        self._lock = threading.Lock()
        self._is_running = False
        self._is_stopped = False

    def run(self) -> Manifest | None:
        """Restore it; in the thread."""
        with self._lock:
            self._check()
            self._is_running = True
        try:
            return self._restore(before_piece=self._before_piece)
        finally:
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._has_ended.set_result, None)

    async def end(self) -> None:
        """Stop the thread at its next piece, and wait until it has ended, without a limit."""
        with self._lock:
            self._is_stopped = True
        if self._is_running:
            await asyncio.shield(self._has_ended)

    def _before_piece(self, num_bytes: int) -> None:
        self._check()
        if self._pace is not None:
            self._pace.wait(num_bytes, self._check)

    def _check(self) -> None:
        if self._is_stopped:
            raise _StoppedError


class _StoppedError(Exception):
    """No result is wanted any more."""


def restore_shard(
    store: SnapshotStore,
    data: Path,
    shard: int,
    num_shards: int,
    needed: str,
    before_piece: Callable[[int], None] = lambda _num_bytes: None,
) -> Manifest | None:
    """Restore one shard from the newest complete snapshot; blocks.

    Args:
        store: where the snapshots are.
        data: the data folder.
        shard: the shard to restore.
        num_shards: of the cluster.
        needed: the log position that the snapshot must at least have; `START` for any.
        before_piece: called with the number of bytes of each piece before it is written; it may
            wait, and an error that it raises ends the restoring.

    Returns:
        The snapshot that was restored; None if there is no suitable one.

    Raises:
        SnapshotError: see `restore_if_needed`.
        ConfigurationError: see `restore_if_needed`.
    """
    complete = store.complete(shard)
    reason = ""
    for manifest in store.manifests(shard):
        if manifest.num_shards != num_shards:
            raise ConfigurationError(
                f"snapshots.url: {store.place} has the snapshots of a cluster of "
                f"{manifest.num_shards} shards, and this one has {num_shards}"
            )
        if position(manifest.position) < position(needed):
            return None
        try:
            restore(store, manifest, data, LOCK_WAIT_S, before_piece)
        except SnapshotError as error:
            _log.error("snapshot_unusable", shard=shard, id=manifest.id, reason=str(error))
            reason = f": {error}"
        else:
            return manifest
    if complete and needed == START:
        raise SnapshotError(
            f"shard {shard} is empty here; of its {len(complete)} snapshots in {store.place}, "
            f"none can be used{reason}"
        )
    return None


class Held(NamedTuple):
    """The replica of a shard in a data folder."""

    replica_id: str
    position: str


def held_replica(data: Path, shard: int) -> Held | None:
    """The replica in the folder; None if there is no store, or it has never applied an entry."""
    stored = stored_replica(data, shard)
    return None if stored is None or stored.position == START else stored


def stored_replica(data: Path, shard: int) -> Held | None:
    """The replica in the folder, whatever it has applied; None if there is no store."""
    if not has_store(data, shard):
        return None
    try:
        store = Store.open(shard_folder(data, shard) / STORE, read_only=True)
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):  # the process was killed while creating it
            return None
        raise
    try:
        return Held(store.replica_id, store.position)
    finally:
        store.close()


async def lost_shards(log: ShardLog, shards: Iterable[int]) -> set[int]:
    """The shards that Redis does not know, because it is new or has lost its data.

    For a shard that Redis knows, its definitions are right: a collection that it lacks was dropped
    after the shard's last batch. To be called before the shards are opened, which makes them known.

    Raises:
        RedisUnavailableError: Redis does not answer.
    """
    return {shard for shard in shards if not await log.is_known(shard)}


async def revive_definitions(
    registry: Registry, states: Iterable[ShardState], num_shards: int
) -> None:
    """Register the collections of shards that Redis did not know (`lost_shards`).

    Raises:
        RedisUnavailableError: Redis does not answer.
    """
    found = [(state.shard, report.definition) for state in states for report in state.collections]
    for shard, definition in found:
        try:
            collection = Collection.from_json(definition)
            stored = await registry.create_collection(collection, num_shards)
            if stored.uid == collection.uid and not stored.fields and collection.fields:
                stored = await registry.compare_and_set_fields(collection, num_shards)
            # A shard that was restored from an older snapshot may lack fields.
            if stored.uid == collection.uid and collection.revision > stored.revision:
                fields = collection.defined_fields or {}
                stored = await registry.add_fields(collection, fields, num_shards)
        except (WireError, ConflictError, NotFoundError) as error:
            _log.error("definition_lost", shard=shard, reason=str(error))
            continue
        if stored.uid != collection.uid:
            _log.error(
                "definition_lost",
                shard=shard,
                collection=collection.name,
                uid=collection.uid,
                reason="another collection has this name now",
            )
        else:
            _log.info("definition_revived", shard=shard, collection=collection.name)
