"""Applies batches of the log to one shard's store and text indexes.

The order makes a kill at any instruction harmless: first each index commits, then one SQLite
transaction stores the documents and the position. After a kill between the two, the index is ahead
of the store and gets the same entries again, each of which replaces or removes by id. An index that
is missing, or has other fields, is rebuilt from the store before anything is applied to it.
"""

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import structlog

from hedgerow.common.collection import Collection
from hedgerow.common.errors import NewerVersionError, WireError, WorkError
from hedgerow.common.machine.folder_lock import FolderLock
from hedgerow.common.query.shard_summary import summarise
from hedgerow.common.shard_log.entries import position
from hedgerow.common.shard_log.operations import Op, unpack_op
from hedgerow.common.snapshots.manifest import STORE
from hedgerow.shard_worker.embedding.embedder import EmbedConfig, Embedder
from hedgerow.shard_worker.indexing.collection_report import report_of
from hedgerow.shard_worker.indexing.combined_batch import CombinedBatch
from hedgerow.shard_worker.indexing.definitions import Definitions
from hedgerow.shard_worker.indexing.document_writes import write_documents
from hedgerow.shard_worker.indexing.field_filling import Fillings
from hedgerow.shard_worker.indexing.graph_building import GraphBuilds
from hedgerow.shard_worker.indexing.index_writers import IndexWriters
from hedgerow.shard_worker.indexing.level_choice import chosen
from hedgerow.shard_worker.indexing.mirror_reports import mirror_reports
from hedgerow.shard_worker.indexing.shard_report import CollectionReport, ShardState
from hedgerow.shard_worker.indexing.stored_before import judged_before
from hedgerow.shard_worker.storage.index_files import TextIndexError, segments_of
from hedgerow.shard_worker.storage.index_replacement import finish_replacing
from hedgerow.shard_worker.storage.length_padding import balance, is_balanced
from hedgerow.shard_worker.storage.store import Store
from hedgerow.shard_worker.storage.store_copy import StoreCopy, link_index, rows_to_copy
from hedgerow.shard_worker.storage.summary import summary_of
from hedgerow.shard_worker.storage.term_statistics import collect, pack
from hedgerow.shard_worker.storage.text_index import TextIndex

OPTIMISE_MEMORY_BYTES = 512_000_000
LOCK_WAIT_S = 10.0  # for the indexer of a worker that drains
# Most disk space of an index's `bodies`: a multiple of the store's size, and some bytes more.
# Beyond it, they would consist mostly of holes; documents that are written then are read from the
# store until the index is optimised.
MAX_BODY_SHARE = 2
SPARE_BODY_BYTES = 64_000_000
DROP_SLICE = 5000  # documents removed in one transaction
NUM_REPORTED_AGAIN = 1000  # judgements, when a shard is opened

_log = structlog.get_logger()


class ShardIndexer:
    """One shard's store and text indexes, opened for writing.

    Attributes:
        writers: of its text indexes.
    """

    def __init__(
        self,
        folder: Path,
        shard: int,
        memory_bytes: int,
        lock_wait_s: float = LOCK_WAIT_S,
        optimise_memory_bytes: int = OPTIMISE_MEMORY_BYTES,
        embedder: Embedder | None = None,
    ) -> None:
        """Open a shard.

        Args:
            folder: the shard's.
            shard: its number.
            memory_bytes: memory of one text index's writer while it has uncommitted changes.
            lock_wait_s: how long to wait while another indexer uses the folder, in s.
            optimise_memory_bytes: most memory of the writer that optimises an index.
            embedder: makes vectors from texts; None for one that may call no function.

        Raises:
            ConfigurationError: another indexer uses the folder, or its store has another format.
        """
        self.shard = shard
        self._folder = folder
        self._embedder = embedder or Embedder(EmbedConfig())
        embed = self._embedder.of_field
        self._reports: dict[str, CollectionReport] = {}
        # uid → its index, when it was found to have these average lengths
        self._balanced: dict[str, tuple[bytes, dict[str, float]]] = {}
        self._lock = FolderLock(folder, lock_wait_s)
        try:
            self._store = Store.open(folder / STORE)
            self._definitions = Definitions(folder, shard, self._store)
            self.writers = IndexWriters(
                folder, shard, self._store, memory_bytes, optimise_memory_bytes, embed
            )
            self._fillings = Fillings(folder, shard, self._store, optimise_memory_bytes, embed)
            self._graphs = GraphBuilds(folder)
            for uid in self._store.collections():
                finish_replacing(folder / uid)
            self._remove_orphans()
        except BaseException:
            self._lock.release()
            raise

    def close(self, *, is_abandoned: bool = False) -> None:
        """Close everything; waits for merges, unless the shard is abandoned."""
        try:
            self._fillings.keep_only(())
            self.writers.close(is_abandoned=is_abandoned)
            self._store.close()
        finally:
            self._lock.release()

    def state(self) -> ShardState:
        """What the shard holds now."""
        definitions = self._store.collections()
        for uid, definition in definitions.items():
            if uid not in self._reports:
                self._reports[uid] = self._report(uid, definition)
        return ShardState(
            self.shard,
            self._store.replica_id,
            self._store.position,
            [self._reports[uid] for uid in definitions],
            mirrors=mirror_reports(self._store),
            embedded=self._embedder.take_counts(),
        )

    def opened(self) -> ShardState:
        """What the shard holds, with judgements that an earlier worker may not have reported."""
        newest = self._store.judgements.newest(NUM_REPORTED_AGAIN)
        return self.state()._replace(judgements=newest)

    def apply(self, last_entry_id: str | None, ops: Iterable[bytes]) -> ShardState:
        """Apply the operations of log entries up to and including `last_entry_id`.

        None is for a part of the next entry: the position stays, and the whole entry follows later.
        """
        if last_entry_id is None:
            last_entry_id = self._store.position
        elif position(last_entry_id) <= position(self._store.position):
            # Applied by an earlier attempt whose answer was lost.
            return self.state()._replace(judgements=judged_before(self._store, self._read(ops)))
        batch = CombinedBatch.of(self._read(ops), self._store, self._definitions)
        changes, documents = batch.changes, batch.documents
        for uid in changes.dropped & batch.definitions.keys():
            self._empty(uid)
        for uid in {**changes.definitions, **documents}:
            collection = self._definitions.read(uid, batch.definitions[uid])
            if collection is not None:
                self._index(collection, documents.get(uid, {}))
            else:  # its documents are kept; a version that can read it rebuilds the index
                self.writers.give_up_rewriting(uid)
                self._fillings.stop(uid)
                shutil.rmtree(self._folder / uid, ignore_errors=True)
        self._store.apply(
            last_entry_id,
            definitions=changes.definitions,
            documents=documents,
            dropped=changes.dropped,
            judged=changes.judged.values(),
            mirrors=changes.mirroring.changed,
            fits=batch.fits,
        )
        for uid in {**changes.definitions, **documents, **dict.fromkeys(changes.dropped)}:
            self._reports.pop(uid, None)
        if changes.dropped:
            self._remove_orphans()
        return self.state()._replace(skipped=batch.skipped, judgements=changes.judgements)

    def define(self, definitions: Iterable[str]) -> ShardState:
        """Add collections, or fields, that may not be in the log; the position stays."""
        read = {Collection.from_json(one).uid: one for one in definitions}
        new = {uid: one for uid, one in read.items() if self._definitions.is_newer(uid, one)}
        for one in new.values():
            self._index(Collection.from_json(one), {})
        self._store.apply(self._store.position, definitions=new)
        for uid in new:
            self._reports.pop(uid, None)
        return self.state()

    def reindex(self, uid: str, ids: Sequence[str]) -> ShardState:
        """Index some documents again, as the store has them; the position stays."""
        collection = self._definitions.current(uid)
        if collection is not None:
            self._index(collection, dict(zip(ids, self._store.get(uid, ids), strict=True)))
            self._reports.pop(uid, None)
        return self.state()

    def may_be_unbalanced(self, uid: str, averages: Mapping[str, float]) -> bool:
        """Whether a collection's index was not found to have these average lengths as it is."""
        return self._balanced.get(uid) != (segments_of(self._folder / uid), averages)

    def balance(self, uid: str, averages: Mapping[str, float]) -> ShardState:
        """Fit a collection's index to the average lengths over all shards."""
        # An index that is being optimised is balanced afterwards.
        collection = None if self.writers.is_rewriting(uid) else self._definitions.current(uid)
        if collection is not None and self.may_be_unbalanced(uid, averages):
            before = segments_of(self._folder / uid)  # a merge may end meanwhile
            if self._is_balanced(uid, averages):
                self._balanced[uid] = before, dict(averages)
            else:  # merges may follow: it is looked at once more
                balance(self.writers.of(collection), averages)
            self._reports.pop(uid, None)
        return self.state()

    def begin_optimising(self, uid: str) -> bool:
        """Begin to rewrite a collection's index, in few segments.

        A write to the collection ends it, so that the written documents are found at once.

        Returns:
            Whether there is anything to do.

        Raises:
            WorkError: the index lacks fields; when they are filled, it is in few segments.
            OSError: the index cannot be opened now.
        """
        collection = self._definitions.current(uid)
        if collection is None or collection.fields is None or not self._store.count(uid):
            return False
        if self._definitions.not_indexed(collection):
            raise WorkError("fields of the collection are being filled")
        self.writers.begin_rewriting(collection)
        return True

    def optimise(self, uid: str) -> bool:
        """Take the next step of what `begin_optimising` has begun, some 50 ms.

        Returns:
            Whether it was the last: the new index can be searched, but is not balanced yet.

        Raises:
            WorkError: a write has ended it.
            OSError, ValueError: the index cannot be written; it is unchanged.
        """
        is_done = self.writers.rewrite(uid)
        if is_done:
            self._reports.pop(uid, None)
        return is_done

    def begin_filling(self, uid: str) -> bool:
        """Begin to index a collection by its newest definition, beside its index.

        Returns:
            Whether the index lacks fields of the definition.

        Raises:
            OSError: the new index cannot be made.
        """
        collection = self._definitions.current(uid)
        if collection is None or not self._definitions.not_indexed(collection):
            return False
        self._fillings.begin(collection, chosen(self._store, uid))
        return True

    def fill(self, uid: str) -> bool:
        """Take the next step of what `begin_filling` has begun, some 50 ms.

        Returns:
            Whether it was the last: the new index is searched. It is still to be balanced.

        Raises:
            WorkError: the collection was dropped, or fields were added; it has to begin again.
            OSError, ValueError: the new index cannot be written; the other stays in use.
        """
        try:
            if not self._fillings.step(uid):
                return False
            self.writers.abandon(uid)
            self._fillings.finish(uid)
        except Exception:
            self._fillings.stop(uid)
            raise
        self._store.count_as_changed(uid)  # so that its term statistics are collected
        self._reports.pop(uid, None)
        return True

    def begin_graphs(self, uid: str, *, is_quiet: bool) -> bool:
        """Begin to build the graphs of a collection's vectors; see `GraphBuilds.begin`."""
        return self._graphs.begin(uid, is_quiet=is_quiet)

    def build_graphs(self, uid: str) -> bool:
        """Take the next step of what `begin_graphs` has begun; see `GraphBuilds.step`."""
        is_done = self._graphs.step(uid)
        if is_done:
            self._reports.pop(uid, None)
        return is_done

    def statistics(self, uid: str) -> bytes:
        """This shard's term statistics of a collection, packed; b"" if there is no index."""
        try:
            index = TextIndex.open(self._folder / uid)
        except TextIndexError:
            return b""
        return pack(collect(index))

    def summary(self, uid: str, max_bytes: int) -> bytes:
        """A summary of what this shard holds of a collection, packed.

        Returns:
            b"" if documents are missing from the index: other replicas may have them in theirs.
        """
        try:
            index = TextIndex.open(self._folder / uid)
        except TextIndexError:
            return summarise(0, {}, {}, 0).pack() if not self._store.count(uid) else b""
        if index.num_documents != self._store.count(uid):
            return b""
        return summary_of(index, max_bytes).pack()

    def freeze(self, folder: Path) -> StoreCopy:
        """Begin a copy of the shard as it is now, in an empty folder on the same file system.

        The indexes are linked at once; the store and the rows of vectors follow in a thread.
        """
        for uid in self._store.collections():
            if (self._folder / uid).is_dir():
                link_index(self._folder / uid, folder / uid)
        rows = [
            copy
            for uid in self._store.collections()
            if (self._folder / uid).is_dir()
            for copy in rows_to_copy(self._folder / uid, folder / uid)
        ]
        return StoreCopy(self._folder / STORE, folder / STORE, rows)

    def _read(self, ops: Iterable[bytes]) -> Iterator[Op]:
        for op in ops:
            try:
                yield unpack_op(op)
            except NewerVersionError as error:  # skipped, it would be missing for ever
                raise WorkError(str(error)) from error
            except WireError as error:
                # No gateway writes such an entry; a foreign one must not block all others.
                _log.error("log_entry_skipped", shard=self.shard, reason=str(error))

    def _index(self, collection: Collection, documents: dict[str, bytes | None]) -> None:
        if collection.fields is None:
            return  # no documents are accepted before its fields are known
        writer = self.writers.of(collection)
        # While fields are being filled, this is the index by the definition without them.
        if writer.collection.analysis != collection.analysis:
            writer.renew()  # so that searches learn of the definition
        with_bodies = writer.body_bytes < self._max_body_bytes()
        write_documents(writer, documents, with_bodies=with_bodies)
        writer.commit()
        self._fillings.apply(collection, documents)

    def _is_balanced(self, uid: str, averages: Mapping[str, float]) -> bool:
        """Whether a collection's index has these average lengths, and needs no writer."""
        try:
            return is_balanced(TextIndex.open(self._folder / uid), averages)
        except TextIndexError:  # its writer makes it again
            return False

    def _max_body_bytes(self) -> int:
        # The store's size is about that of all documents: it reuses the space of replaced ones.
        return MAX_BODY_SHARE * (self._folder / STORE).stat().st_size + SPARE_BODY_BYTES

    def _report(self, uid: str, definition: str) -> CollectionReport:
        collection = self._definitions.read(uid, definition)
        index = None
        if collection is not None and collection.fields is not None:
            try:
                index = TextIndex.open(self._folder / uid)
            except TextIndexError:
                self.writers.of(collection)  # rebuilds it
                index = TextIndex.open(self._folder / uid)
        return report_of(uid, definition, self._store, collection, index)

    def _empty(self, uid: str) -> None:
        """Remove a collection's documents in slices, which bounds the size of each transaction.

        The position stays, so that after a kill half-way the drop is applied again.
        """
        documents = (one for one, _ in self._store.scan(uid))
        while ids := list(islice(documents, DROP_SLICE)):
            self._store.apply(self._store.position, documents={uid: dict.fromkeys(ids)})

    def _remove_orphans(self) -> None:
        """Remove the indexes of collections that the store does not have, or no longer has."""
        kept = self._store.collections()
        self._fillings.keep_only(kept)
        self._graphs.keep_only(kept)
        self.writers.keep_only(kept)
        names = {*kept, *self._fillings.folders()}
        for folder in self._folder.iterdir():
            if folder.is_dir() and folder.name not in names:
                shutil.rmtree(folder, ignore_errors=True)
