"""How a replica starts that has not all it should: from the newest snapshot, then from the log.

    empty folder          ► newest snapshot that is whole
    missed a part of the log (`ShardLog.gap`) ► the same, if it has what is missing

A cluster whose Redis is lost has lost the collections' definitions as well; the stores have them.
"""

import sqlite3
from collections.abc import Iterable
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
from hedgerow.common.shard_log.log import START, ShardLog, position
from hedgerow.common.snapshots.manifest import STORE, Manifest
from hedgerow.common.snapshots.restore import has_store, restore, shard_folder
from hedgerow.common.snapshots.store import SnapshotStore
from hedgerow.common.state.registry import Registry
from hedgerow.shard_worker.executors.thread_pool.threads import ThreadLane
from hedgerow.shard_worker.indexing.shard_report import ShardState
from hedgerow.shard_worker.storage.store import Store

LOCK_WAIT_S = 10.0

_log = structlog.get_logger()


async def restore_shards(
    log: ShardLog,
    store: SnapshotStore,
    threads: ThreadLane,
    shards: Iterable[int],
    num_shards: int,
    settings: Settings,
) -> None:
    """Restore those shards that start with nothing, or have missed what a snapshot has.

    Before any of them is opened.

    Args:
        log: the logs of all shards.
        store: where snapshots lie.
        threads: where they are fetched.
        shards: those that this worker serves.
        num_shards: of the cluster.
        settings: data and snapshots.timeout_s count.

    Raises:
        SnapshotError: the target does not answer, or there are snapshots and none can be used. A
            worker that started empty instead would pass for one that has everything.
        ConfigurationError: somebody else has a folder, or the snapshots are another cluster's.
        RedisUnavailableError: there is no answer about a log.
    """
    timeout_s = settings.snapshots.timeout_s
    for shard in shards:
        held = await threads.run(partial(_held, settings.data, shard), timeout_s)
        needed = START
        if held is not None:
            if await log.gap(shard, *held) is None:
                continue
            needed = await log.trimmed(shard)
        restored = await threads.run(
            partial(restore_shard, store, settings.data, shard, num_shards, needed), timeout_s
        )
        if restored is None:
            continue
        if held is not None:  # that copy is no more, and the log need not wait for it
            await log.forget_replica(shard, held.replica_id)
        _log.info(
            "shard_restored",
            shard=shard,
            id=restored.id,
            position=restored.position,
            documents=restored.documents,
        )


def restore_shard(
    store: SnapshotStore, data: Path, shard: int, num_shards: int, needed: str
) -> Manifest | None:
    """Restore one shard from the newest snapshot that is whole; blocks.

    Args:
        store: where snapshots lie.
        data: the data folder.
        shard: which.
        num_shards: of the cluster.
        needed: only one that is as far as this is worth it; `START` for any.

    Returns:
        The snapshot that the shard now is; None where there is none.

    Raises:
        SnapshotError: see `restore_shards`.
        ConfigurationError: see `restore_shards`.
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
            restore(store, manifest, data, LOCK_WAIT_S)
        except SnapshotError as error:
            _log.error("snapshot_unusable", shard=shard, id=manifest.id, reason=str(error))
            reason = f": {error}"
        else:
            return manifest
    if complete and needed == START:
        raise SnapshotError(
            f"shard {shard} is empty here, and of its {len(complete)} snapshots in {store.place} "
            f"none can be used{reason}"
        )
    return None


class _Held(NamedTuple):
    """What a data folder has of a shard."""

    replica_id: str
    position: str


def _held(data: Path, shard: int) -> _Held | None:
    """What is there; None where there is no store, or nothing was ever applied to it."""
    if not has_store(data, shard):
        return None
    try:
        store = Store.open(shard_folder(data, shard) / STORE, read_only=True)
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):  # killed as it was made
            return None
        raise
    try:
        return None if store.position == START else _Held(store.replica_id, store.position)
    finally:
        store.close()


async def lost_shards(log: ShardLog, shards: Iterable[int]) -> set[int]:
    """The shards that Redis knows nothing of: it is new, or has been emptied.

    A Redis that knows a shard may have dropped a collection since the shard's last batch, so its
    word on definitions stands. To be asked before the shards are opened, which makes them known.

    Raises:
        RedisUnavailableError: there is no answer.
    """
    return {shard for shard in shards if not await log.is_known(shard)}


async def revive_definitions(
    registry: Registry, states: Iterable[ShardState], num_shards: int
) -> None:
    """Give Redis the collections that shards have of which it knew nothing (`lost_shards`).

    Raises:
        RedisUnavailableError: there is no answer.
    """
    for state in states:
        for report in state.collections:
            try:
                collection = Collection.from_json(report.definition)
                stored = await registry.create_collection(collection, num_shards)
                if stored.uid == collection.uid and not stored.fields and collection.fields:
                    stored = await registry.compare_and_set_fields(
                        collection, collection.fields, num_shards
                    )
            except (WireError, ConflictError, NotFoundError) as error:
                _log.error("definition_lost", shard=state.shard, reason=str(error))
                continue
            if stored.uid != collection.uid:
                _log.error(
                    "definition_lost",
                    shard=state.shard,
                    collection=collection.name,
                    uid=collection.uid,
                    reason="another collection has this name now",
                )
            else:
                _log.info("definition_revived", shard=state.shard, collection=collection.name)
