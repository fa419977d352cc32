"""Whatever a batch is refused or loses on the way, store and text index say the same.

A real indexer in this process, which fails as by a lack of memory between the commit of the index
and that of the store.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from hedgerow.common.collection import define
from hedgerow.common.errors import WorkError
from hedgerow.common.observability.telemetry import Counters
from hedgerow.common.shard_log.entries import Entry
from hedgerow.common.shard_log.operations import Create, Delete, Upsert, pack_op
from hedgerow.shard_worker.executors.process_pool.task import Task, TaskResult
from hedgerow.shard_worker.indexing.batches import Batches
from hedgerow.shard_worker.indexing.indexer import Indexer, IndexerConfig, make_indexer
from hedgerow.shard_worker.indexing.indexer_client import IndexerClient
from hedgerow.shard_worker.indexing.set_aside import SetAside
from hedgerow.shard_worker.indexing.set_aside_files import SetAsideFiles
from hedgerow.shard_worker.storage.store import Store
from hedgerow.shard_worker.storage.text_index import TextIndex
from tests.unit.shard_worker.indexing.test_set_aside import Notes

POISON = b"poison"
BOOKS = define("books", {"fields": {"title": "text"}}, "u0")


def body(one: str, title: str) -> bytes:
    """A document as JSON."""
    return json.dumps({"id": one, "title": title}).encode()


class FailingShard:
    """Shard 0 of a folder, with an indexer that has no memory for documents that say "poison"."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._indexer: Indexer = make_indexer(IndexerConfig(str(data)))
        self._indexer.open(0)
        self._budget: Any = None  # nothing asks for it
        files = SetAsideFiles(data, 1_000_000, Counters())
        aside = SetAside(files, Counters(), Notes().add, self._no_pause, lambda: ())
        self.batches = Batches(IndexerClient(self), aside, None)

    async def _no_pause(self, _seconds: float) -> None:
        pass

    async def run(self, work: Task) -> TaskResult:
        """Carry out a command in this process."""
        try:
            return TaskResult(self._indexer(work.payload, self._budget), 0, 0, 0, None)
        except MemoryError as error:
            raise WorkError(f"MemoryError: {error}") from error

    def close(self) -> None:
        """Close its files."""
        self._indexer.close()

    def stored(self) -> dict[str, str]:
        """Id → title, as the store has them."""
        store = Store.open(self._data / "shards" / "0" / "store.sqlite", read_only=True)
        found = {one: json.loads(document)["title"] for one, document in store.scan("u0")}
        store.close()
        return found

    def found(self, word: str) -> list[str]:
        """The ids that a search for a word finds."""
        index = TextIndex.open(self._data / "shards" / "0" / "u0")
        hits = index.searcher.search(index.parse_native(f"title:{word}"), 100).hits
        return sorted(index.ids([address for _, address in hits]))


@pytest.fixture
def shard(tmp_path: Path) -> Iterator[FailingShard]:
    """A shard whose store fails after its index has committed."""
    opened = FailingShard(tmp_path)
    apply = Store.apply

    def apply_or_fail(
        store: Store,
        position: str,
        *,
        documents: Mapping[str, Mapping[str, bytes | None]] | None = None,
        **changes: Any,
    ) -> None:
        bodies = [one for some in (documents or {}).values() for one in some.values()]
        if any(POISON in one for one in bodies if one is not None):
            raise MemoryError
        apply(store, position, documents=documents, **changes)

    with patch.object(Store, "apply", apply_or_fail):
        yield opened
    opened.close()


async def apply_all(shard: FailingShard, entries: list[Entry]) -> None:
    """Apply a batch, again and again as an applier does, until it is done with."""
    for _ in range(5):
        try:
            await shard.batches.apply(0, entries)
        except WorkError:
            continue
        return
    raise AssertionError("the batch was not applied")


async def test_what_is_set_aside_is_not_found_either(shard: FailingShard) -> None:
    """Of a document that is set aside, the index has what the store has: before it, or nothing."""
    entries = [
        Entry("1-0", pack_op(Create(BOOKS.to_json()))),
        Entry("2-0", pack_op(Upsert("u0", [("a", body("a", "old")), ("b", body("b", "old"))]))),
        Entry("3-0", pack_op(Upsert("u0", [("a", body("a", "poison")), ("c", body("c", "new"))]))),
        Entry("4-0", pack_op(Upsert("u0", [("d", body("d", "poison"))]))),
        Entry("5-0", pack_op(Delete("u0", ["b"]))),
    ]
    await apply_all(shard, entries)
    assert shard.stored() == {"a": "old", "c": "new"}
    assert shard.found("old") == ["a"]
    assert shard.found("new") == ["c"]
    assert shard.found("poison") == []
