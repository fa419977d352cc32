"""Reads what a shard's store has at one moment, as operations for the logs of the new shards."""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from hedgerow.common.partition import shard_of
from hedgerow.common.shard_log.judgement import KEPT_JUDGEMENTS
from hedgerow.common.shard_log.log import MAX_ENTRY_BYTES
from hedgerow.common.shard_log.op_parts import parts_of
from hedgerow.common.shard_log.operations import (
    Create,
    Delete,
    Drop,
    Remember,
    Upsert,
    pack_op,
)
from hedgerow.shard_worker.storage.store import Store

_MAX_DOCUMENTS = 500  # of one operation
_OVERHEAD_BYTES = 16  # of MessagePack, for each document


class ShardDocuments:
    """A read transaction of a store: what is written meanwhile is not seen.

    Use it in one thread at a time, from `open` to `close`.

    Attributes:
        position: the last entry of the log that the store had applied.
    """

    def __init__(self, path: Path, num_shards: int) -> None:
        """Begin the transaction.

        Args:
            path: the store's file.
            num_shards: over how many shards the documents are to be spread.

        Raises:
            ConfigurationError: there is no store, or it has another format.
            sqlite3.Error: it cannot be read.
        """
        self._num_shards = num_shards
        self._store = Store.open(path, read_only=True)
        try:
            self.position = self._store.begin_reading()
        except BaseException:
            self._store.close()
            raise

    def close(self) -> None:
        """End the transaction."""
        self._store.close()

    def operations(self) -> Iterator[tuple[int | None, bytes]]:
        """The packed operations that make the new shards; each with its shard, or None for all.

        Raises:
            sqlite3.Error: the store cannot be read.
        """
        definitions = self._store.collections()
        for definition in definitions.values():
            yield None, pack_op(Create(definition))
        # Before the documents, and what was written since: repeated writes must find them.
        judged = self._store.judgements.newest(KEPT_JUDGEMENTS)[::-1]
        for start in range(0, len(judged), _MAX_DOCUMENTS):
            yield None, pack_op(Remember([*judged[start : start + _MAX_DOCUMENTS]]))
        for uid in definitions:
            yield from self._documents(uid)

    def missing(self, touched: Mapping[str, Collection[str]]) -> list[tuple[int | None, bytes]]:
        """Operations that remove what the store does not have, each with its shard.

        Args:
            touched: collection uid → ids of documents that it may have had before.
        """
        definitions = self._store.collections()
        ops: list[tuple[int | None, bytes]] = []
        for uid, ids in touched.items():
            if uid not in definitions:
                ops.append((None, pack_op(Drop(uid))))
                continue
            some = list(ids)
            found = self._store.get(uid, some)
            gone = [one for one, body in zip(some, found, strict=True) if body is None]
            for start in range(0, len(gone), _MAX_DOCUMENTS):
                parts = parts_of(
                    Delete(uid, gone[start : start + _MAX_DOCUMENTS]), self._num_shards
                )
                ops += [(shard, pack_op(part)) for shard, part in (parts or {}).items()]
        return ops

    def _documents(self, uid: str) -> Iterator[tuple[int, bytes]]:
        some: dict[int, list[tuple[str, bytes]]] = {}
        sizes: dict[int, int] = {}
        for document_id, body in self._store.scan(uid):
            shard = shard_of(document_id, self._num_shards)
            batch, size = some.setdefault(shard, []), sizes.get(shard, 0)
            if batch and (len(batch) >= _MAX_DOCUMENTS or size + len(body) > MAX_ENTRY_BYTES):
                yield shard, pack_op(Upsert(uid, batch))
                batch = some[shard] = []
                size = 0
            batch.append((document_id, body))
            sizes[shard] = size + len(document_id) + len(body) + _OVERHEAD_BYTES
        for shard, batch in some.items():
            yield shard, pack_op(Upsert(uid, batch))
