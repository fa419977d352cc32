"""Passes batches of a shard's log to the indexer, and handles those that crash it."""

from collections import Counter
from collections.abc import Sequence
from typing import Final

import structlog

from hedgerow.common.errors import WorkError
from hedgerow.common.shard_log.entries import Entry
from hedgerow.shard_worker.indexing.indexer_client import IndexerClient
from hedgerow.shard_worker.indexing.set_aside import SetAside, ends_the_indexer
from hedgerow.shard_worker.indexing.shard_report import ShardState
from hedgerow.shard_worker.indexing.storage_watch import StorageWatch

_SUSPECT_AFTER: Final = 2  # a batch that has ended the indexer this often is applied in parts

_log = structlog.get_logger()


class Batches:
    """Has the indexer apply batches; a batch that crashes it repeatedly is applied in parts."""

    def __init__(
        self, indexer: IndexerClient, set_aside: SetAside, storage: StorageWatch | None
    ) -> None:
        """Apply batches through `indexer`.

        Args:
            indexer: applies a batch, or parts of one.
            set_aside: applies a suspect batch entry by entry, and skips what cannot be applied.
            storage: knows whether the disk has room; if not, no batch is suspect.
        """
        self._indexer = indexer
        self._set_aside = set_aside
        self._storage = storage
        self._deaths: dict[int, int] = {}  # shard → times in a row that its batch ended the indexer

    async def apply(self, shard: int, entries: Sequence[Entry]) -> ShardState:
        """Apply entries; returns what the shard holds then.

        Raises:
            WorkError: some could be neither applied nor set aside; the others remain applied.
        """
        last, ops = entries[-1].id, [entry.op for entry in entries]
        try:
            state = await self._indexer.apply(shard, last, ops)
        except WorkError as error:
            if not ends_the_indexer(error) or not await self._has_disk():
                raise
            self._deaths[shard] = self._deaths.get(shard, 0) + 1
            if self._deaths[shard] < _SUSPECT_AFTER:
                raise
            _log.warning("batch_suspect", shard=shard, last=last, error=str(error))
            state = await self._apply_pieces(shard, entries)
        self._deaths.pop(shard, None)
        return state

    async def _apply_pieces(self, shard: int, entries: Sequence[Entry]) -> ShardState:
        pieces = _Pieces(self._indexer, shard)
        await self._set_aside.apply(shard, entries, pieces)
        return (await self._indexer.open(shard))._replace(skipped=pieces.skipped)

    async def _has_disk(self) -> bool:
        if self._storage is None:
            return True
        await self._storage.look()
        return self._storage.has_disk()


class _Pieces:
    """A shard to which a suspect batch is applied in parts.

    Attributes:
        skipped: as in `ShardState`, for all parts together.
    """

    def __init__(self, indexer: IndexerClient, shard: int) -> None:
        self.skipped: Counter[str] = Counter()
        self._indexer = indexer
        self._shard = shard

    async def apply(self, entry_id: str | None, ops: Sequence[bytes]) -> None:
        state = await self._indexer.apply(self._shard, entry_id, ops)
        self.skipped.update(state.skipped)

    async def reindex(self, uid: str, ids: Sequence[str]) -> None:
        await self._indexer.reindex(self._shard, uid, ids)
