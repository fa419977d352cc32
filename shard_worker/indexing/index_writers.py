"""The writers of one shard's text indexes, of which each index has one at a time.

Either documents are written to an index, or it is rewritten in few segments. A write ends the
rewriting, so that the written documents are found at once.
"""

from collections.abc import Container
from pathlib import Path

import structlog

from hedgerow.common.collection import Collection
from hedgerow.common.errors import WorkError
from hedgerow.shard_worker.indexing.index_rewrite import IndexRewrite
from hedgerow.shard_worker.indexing.level_choice import (
    are_to_be_chosen,
    chosen,
    rewrite_with_levels,
)
from hedgerow.shard_worker.storage.store import Store
from hedgerow.shard_worker.storage.text_index_writer import TextIndexWriter
from hedgerow.shard_worker.storage.vector_writer import Embed

MAX_OPEN_WRITERS = 8

_log = structlog.get_logger()


class IndexWriters:
    """The writers of one shard's indexes, opened when they are first needed.

    Attributes:
        max_open: how many collections' writers stay open; each has a few threads.
    """

    def __init__(
        self,
        folder: Path,
        shard: int,
        store: Store,
        memory_bytes: int,
        rewrite_memory_bytes: int,
        embed: Embed,
    ) -> None:
        """Write to the indexes of a shard.

        Args:
            folder: the shard's.
            shard: its number.
            store: has the documents.
            memory_bytes: memory of one writer while it has uncommitted changes.
            rewrite_memory_bytes: most memory of the writer that rewrites an index.
            embed: as for `TextIndexWriter.open`.
        """
        self.max_open = MAX_OPEN_WRITERS
        self._folder = folder
        self._shard = shard
        self._store = store
        self._memory_bytes = memory_bytes
        self._rewrite_memory_bytes = rewrite_memory_bytes
        self._embed = embed
        self._open: dict[str, TextIndexWriter] = {}  # the last used is last
        self._rewrites: dict[str, IndexRewrite] = {}

    def of(self, collection: Collection) -> TextIndexWriter:
        """The writer of a collection's index, which is rebuilt if it is missing."""
        uid = collection.uid
        self.give_up_rewriting(uid)
        writer = self._open.pop(uid, None)
        if writer is not None and not collection.extends(writer.collection):
            writer.close()
            writer = None
        if writer is None:
            while len(self._open) >= self.max_open:
                self._open.pop(next(iter(self._open))).close()
            writer = TextIndexWriter.open(
                self._folder / uid, collection, self._memory_bytes, self._embed
            )
        self._open[uid] = writer
        if writer.is_new:
            num_documents = writer.rebuild(self._store.scan(uid), chosen(self._store, uid))
            if num_documents:
                _log.info("text_index_rebuilt", shard=self._shard, uid=uid, documents=num_documents)
        elif are_to_be_chosen(self._folder / uid, self._store.count(uid)):
            del self._open[uid]
            rewrite_with_levels(writer, self._store, uid)
            self._open[uid] = writer
        return writer

    def abandon(self, uid: str) -> None:
        """Close an index for one that takes its place; what is being merged would be in vain."""
        self.give_up_rewriting(uid)
        if writer := self._open.pop(uid, None):
            writer.abandon()

    def is_rewriting(self, uid: str) -> bool:
        """Whether the index of a collection is being rewritten."""
        return uid in self._rewrites

    def begin_rewriting(self, collection: Collection) -> None:
        """Begin to rewrite an index from the store.

        Raises:
            OSError: the index cannot be opened now.
        """
        uid = collection.uid
        self.abandon(uid)
        self._rewrites[uid] = IndexRewrite(
            self._folder / uid,
            collection,
            self._store.scan(uid),
            self._rewrite_memory_bytes,
            chosen(self._store, uid),
            self._embed,
        )

    def rewrite(self, uid: str) -> bool:
        """Take the next step; returns whether it was the last.

        Raises:
            WorkError: a write has ended it.
            OSError, ValueError: the index cannot be written; it is unchanged.
        """
        rewrite = self._rewrites.get(uid)
        if rewrite is None:
            raise WorkError("the collection was written to meanwhile")
        try:
            is_done = rewrite.step()
        except Exception:
            self.give_up_rewriting(uid)
            raise
        if is_done:
            del self._rewrites[uid]
        return is_done

    def give_up_rewriting(self, uid: str) -> None:
        """End the rewriting of an index, if it has begun; the index is unchanged."""
        if rewrite := self._rewrites.pop(uid, None):
            _log.info("optimising_given_up", shard=self._shard, uid=uid)
            rewrite.give_up()

    def keep_only(self, uids: Container[str]) -> None:
        """Close the indexes of all collections but these."""
        for uid in [uid for uid in self._rewrites if uid not in uids]:
            self.give_up_rewriting(uid)
        for uid in [uid for uid in self._open if uid not in uids]:
            self._open.pop(uid).close()

    def close(self, *, is_abandoned: bool) -> None:
        """Close all; waits for merges, unless the shard is abandoned."""
        for uid in list(self._rewrites):
            self.give_up_rewriting(uid)
        while self._open:
            writer = self._open.pop(next(iter(self._open)))
            if is_abandoned:
                writer.abandon()
            else:
                writer.close()
