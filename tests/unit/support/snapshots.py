"""Shards on disk, to make snapshots of without a worker."""

import json
from pathlib import Path
from typing import Any

from hedgerow.common.collection import define
from hedgerow.common.shard_log.operations import Create, Upsert, pack_op
from hedgerow.common.snapshots.manifest import (
    STORE,
    CollectionFacts,
    FileFacts,
    Manifest,
    snapshot_id,
)
from hedgerow.common.snapshots.store import SnapshotStore
from hedgerow.shard_worker.indexing.shard_indexer import ShardIndexer
from hedgerow.shard_worker.storage.store import Store
from hedgerow.shard_worker.storage.store_copy import StoreCopy
from hedgerow.shard_worker.storage.text_index import TextIndex
from tests.support.waiting import block_until

BOOKS = define("books", {"fields": {"t": "text"}}, "books-uid")


def indexer(folder: Path) -> ShardIndexer:
    """A shard for writing, with the collection defined where it is new."""
    shard = ShardIndexer(folder, 0, 15_000_000)
    if not shard.state().collections:
        shard.apply("1-0", [pack_op(Create(BOOKS.to_json()))])
    return shard


def write(shard: ShardIndexer, number: int, count: int = 10) -> None:
    """Apply the batch of a number: `count` documents, whose text tells the number."""
    documents = [
        (f"d{number}-{one}", json.dumps({"id": f"d{number}-{one}", "t": f"all n{number}"}).encode())
        for one in range(count)
    ]
    shard.apply(f"{number + 2}-0", [pack_op(Upsert(BOOKS.uid, documents))])


def wait(copy: StoreCopy) -> None:
    """Wait for a copy's thread."""
    block_until(copy.is_done, what="the copy is made")


def held(folder: Path) -> tuple[str, list[str], list[str]]:
    """A shard's position, the ids in its store, and those that its index finds."""
    store = Store.open(folder / STORE, read_only=True)
    try:
        stored = [one for one, _ in store.scan(BOOKS.uid)]
        position = store.position
    finally:
        store.close()
    index = TextIndex.open(folder / BOOKS.uid)
    hits = index.searcher.search(index.parse_native("t:all"), 100_000).hits
    return position, stored, sorted(index.ids([address for _, address in hits]))


def upload(store: SnapshotStore, folder: Path, at_ms: int, **changes: Any) -> Manifest:
    """Put a frozen shard's folder on the target, up to but without the manifest."""
    snapshot = snapshot_id(at_ms, "0a1b2c")
    found = {str(one.relative_to(folder)): one for one in folder.rglob("*") if one.is_file()}
    files: list[FileFacts] = store.upload(0, snapshot, found)
    facts = {
        "shard": 0,
        "num_shards": 1,
        "position": "3-0",
        "made_at_ms": at_ms,
        "version": "1",
        "collections": (CollectionFacts(BOOKS.uid, "books", 10),),
        "files": tuple(files),
        **changes,
    }
    return Manifest(snapshot, **facts)
