"""The stores and indexes that a scorer process keeps open, and when it closes them.

An index stays open after a search, since opening it takes 0.4 ms; it is mapped into memory. The
files of an index that was dropped, merged or rewritten occupy the disk until no process maps them,
and a process can have only a limited number of maps (65,530 on Linux). An index is therefore closed
soon after its collection was dropped, when it has been idle for `IDLE_S`, and when too many are
open.
"""

import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic_core import from_json

from hedgerow.common.collection import Collection
from hedgerow.common.document_ids import ID_FIELD
from hedgerow.common.errors import ConfigurationError, WireError, WorkError
from hedgerow.common.wire.messages import SearchBody, pack_body
from hedgerow.shard_worker.scoring.index_snapshot import Snapshot
from hedgerow.shard_worker.scoring.opening import OPENING, split
from hedgerow.shard_worker.scoring.query_analysis import QueryAnalysis
from hedgerow.shard_worker.scoring.ranking import SCORE_FIELD
from hedgerow.shard_worker.scoring.recent_values import RecentValues
from hedgerow.shard_worker.scoring.retrieval import Found
from hedgerow.shard_worker.scoring.unused_files import UnusedFiles
from hedgerow.shard_worker.storage.bodies import BodyReader
from hedgerow.shard_worker.storage.index_files import TextIndexError
from hedgerow.shard_worker.storage.picking import pick_of
from hedgerow.shard_worker.storage.store import Store
from hedgerow.shard_worker.storage.term_statistics import (
    StatisticsFile,
    TermStatistics,
    statistics_path,
)
from hedgerow.shard_worker.storage.text_index import TextIndex
from hedgerow.shard_worker.vectors.files import RowFile, rows_path

if TYPE_CHECKING:
    from hedgerow.shard_worker.vectors.graph import Graph

IDLE_S = 60.0  # an index that has not been searched for this long is closed
MAX_OPEN_SEGMENTS = 2000  # over all open indexes; each index counts as one more
MAX_OPEN_STATISTICS = 256  # each is two file descriptors
MAX_OPEN_BODIES = 256  # each is one or two file descriptors
GRAPH_CHECK_S = 1.0  # how often to look whether there is a graph of more rows
MAX_OPEN_GRAPHS = 256
MAX_ANALYSES = 64  # each caches the last 64 queries and filters that it has parsed
MAPPED_BYTES = 1 << 30  # of each store, at most; the memory is the system's page cache
MAX_FIRST = 256  # cached results of `noop`, of up to a thousand ids each


class OpenShards:
    """The stores and indexes of a worker's shards, opened when they are first needed.

    Not thread-safe: only one thread may use it at a time.
    """

    def __init__(self, data: Path) -> None:
        self._data = data
        self._stores: dict[int, Store] = {}
        self._num_openings: dict[int, int] = {}  # shard → the opening that its files are of
        self._snapshots = RecentValues[tuple[int, str], Snapshot](MAX_OPEN_SEGMENTS)
        self._statistics = RecentValues[str, StatisticsFile](
            MAX_OPEN_STATISTICS, StatisticsFile.close
        )
        self._analyses = RecentValues[str, QueryAnalysis](MAX_ANALYSES)
        self._first = RecentValues[tuple[int, str], _First](MAX_FIRST)
        self._bodies = RecentValues[tuple[int, str], BodyReader](MAX_OPEN_BODIES, BodyReader.close)
        self._graphs = RecentValues[tuple[int, Path], "Graph"](MAX_OPEN_GRAPHS)

    def current(self, shard: int, generation: int) -> int:
        """Close the files of an earlier opening of a shard; returns the index's generation.

        Args:
            shard: the shard.
            generation: that a search asks for, with the number of openings (`opening`).
        """
        if generation < OPENING and not self._num_openings:
            return generation
        opening, generation = split(generation)
        if opening != self._num_openings.get(shard, 0):
            self.close_shard(shard)
            self._num_openings[shard] = opening
        return generation

    def close_shard(self, shard: int) -> None:
        """Close the files of a shard."""
        self._take_shard(shard).close()

    def graph(self, shard: int, file: RowFile, now: float) -> "Graph | None":
        """The graph of a field's rows; None if there is none, or it cannot be opened now."""
        from hedgerow.shard_worker.vectors.graph import Graph  # noqa: PLC0415 - loads faiss

        key = shard, rows_path(file.folder, file.number)
        known = self._graphs.get(key, now)
        if known is not None and now - known.checked_at < GRAPH_CHECK_S:
            return known
        found = file.graph()
        if found is not None and (known is None or known.path != found[1]):
            try:
                known = Graph(found[1], found[0])
            except OSError:  # it has just been replaced by one of more rows
                return known
            self._graphs.put(key, known, now)
        if known is not None:
            known.checked_at = now
        return known

    def _take_shard(self, shard: int) -> UnusedFiles:
        unused = UnusedFiles()
        if (store := self._stores.pop(shard, None)) is not None:
            unused.files.append(store)
        for key in self._snapshots:
            if key[0] == shard:
                unused.snapshots += self._snapshots.take(key)
        for key in self._bodies:
            if key[0] == shard:
                unused.files += self._bodies.take(key)
        for key in self._first:
            if key[0] == shard:
                self._first.drop(key)
        for graph_key in self._graphs:
            if graph_key[0] == shard:
                unused.graphs += self._graphs.take(graph_key)
        return unused

    def close(self) -> None:
        """Close the files."""
        for shard in list(self._stores):
            self._stores.pop(shard).close()
        for uid in self._statistics:
            self._statistics.drop(uid)
        for key in self._bodies:
            self._bodies.drop(key)

    def take_unused(self, now: float) -> UnusedFiles:
        """Take out files that were not used for `IDLE_S`, and those of what is gone.

        That is of collections that were dropped, and of shards that the worker has let go of.

        Args:
            now: seconds on the clock of `time.monotonic`.

        Returns:
            The files, which are to be closed; any thread may do that.
        """
        since = now - IDLE_S
        unused = UnusedFiles(
            [*self._statistics.take_unused(since), *self._bodies.take_unused(since)],
            self._snapshots.take_unused(since),
            self._graphs.take_unused(since),
        )
        for graph_key in self._graphs:  # of rows that were written again, or dropped
            if not graph_key[1].exists():
                unused.graphs += self._graphs.take(graph_key)
        self._analyses.take_unused(since)
        self._first.take_unused(since)
        for shard in {*self._stores, *(shard for shard, _ in self._snapshots)}:
            if not self._shard_folder(shard).is_dir():
                unused.add(self._take_shard(shard))
        gone = {
            uid for shard, uid in self._snapshots if not self._index_folder(shard, uid).is_dir()
        }
        for uid in gone:
            self._analyses.drop(uid)
            unused.files += self._statistics.take(uid)
        for key in self._snapshots:
            if key[1] in gone:
                unused.snapshots += self._snapshots.take(key)
                unused.files += self._bodies.take(key)
        for uid in self._statistics:
            if not self._statistics_path(uid).exists():
                unused.files += self._statistics.take(uid)
        return unused

    def snapshot(self, shard: int, uid: str, generation: int, now: float) -> Snapshot | None:
        """The index as of `generation` or later; None if the shard has no index of it yet."""
        statistics = self._current_statistics(uid, now)
        known = self._snapshots.get((shard, uid), now)
        if known is None or known.index.generation < generation:
            try:
                index = TextIndex.open(self._index_folder(shard, uid))
                known = Snapshot(index, statistics, self._definition(shard, uid, index))
            except TextIndexError as error:
                if generation == 0 and self._shard_folder(shard).is_dir():
                    return None
                raise WorkError(f"the text index cannot be read: {error}") from error
        elif known.statistics is not statistics:
            known = Snapshot(known.index, statistics, known.definition)
        else:
            return known
        self._snapshots.put((shard, uid), known, now, 1 + known.index.num_segments)
        return known

    def _definition(self, shard: int, uid: str, index: TextIndex) -> Collection:
        """The collection's definition in the store, if it has more fields than the index."""
        try:
            store = self._store(shard)
            stored = None if store is None else store.definition(uid)
            if stored is None or stored == index.definition:
                return index.collection
            definition = Collection.from_json(stored)
        except (sqlite3.Error, ConfigurationError, WireError):
            return index.collection  # the store cannot be read, or is of a newer version
        return definition if definition.extends(index.collection) else index.collection

    def query_analysis(self, collection: Collection, now: float) -> QueryAnalysis:
        """The analysis of queries for this definition of a collection."""
        known = self._analyses.get(collection.uid, now)
        # Each index holds its own copy of the definition; they differ while a new one spreads.
        if known is None or (known.collection is not collection and known.collection != collection):
            known = QueryAnalysis(collection)
            self._analyses.put(collection.uid, known, now)
        return known

    def first(self, shard: int, uid: str, generation: int, k: int, now: float) -> tuple[int, Found]:
        """The number of documents, and the first `k` ids, each with score 0."""
        known = self._first.get((shard, uid), now)
        if known is None or known.generation != generation or known.k < k:
            store = self._store(shard)
            if store is None:
                if not self._shard_folder(shard).is_dir():
                    raise WorkError(f"this worker does not hold shard {shard}")
                return 0, Found(0, [])
            known = _First(generation, k, store.count(uid), store.first_ids(uid, k))
            self._first.put((shard, uid), known, now)
        return known.documents, Found(known.documents, [(0.0, one) for one in known.ids[:k]])

    def noop_body(self, shard: int, uid: str, generation: int, k: int, now: float) -> bytes:
        """The packed result of `noop`; cached, since `noop` serves to measure all other costs."""
        known = self._first.get((shard, uid), now)
        if known is not None and known.generation == generation and known.body_k == k:
            return known.body
        documents, found = self.first(shard, uid, generation, k, now)
        ids = [one for _, one in found.hits]
        body = pack_body(SearchBody(documents, found.total, True, ids, [0.0] * len(ids)))
        known = self._first.get((shard, uid), now)
        if known is not None:
            known.body_k, known.body = k, body
        return body

    def candidates(
        self,
        shard: int,
        uid: str,
        hits: Sequence[tuple[float, str]],
        fields: Sequence[str] | None,
        *,
        max_bytes: int,
        is_late: Callable[[], bool],
        vectors: Sequence[str] = (),
    ) -> tuple[list[dict[str, Any]], int]:
        """The documents of the hits, best first, and how many did not fit into `max_bytes` of JSON.

        Vectors are left out unless `fields` names them, and are then lists of numbers.

        A document that has been deleted since the index was committed is skipped and not counted.
        """
        store = self._store(shard)
        if store is None:
            return [], 0
        ids = [one for _, one in hits]
        bodies = store.read(uid, ids, max_bytes, pick_of(fields, vectors), is_late)
        candidates = []
        for (score, one), body in zip(hits, bodies, strict=True):
            if isinstance(body, bytes):
                document: dict[str, Any] = from_json(body)
                document[ID_FIELD] = one
                document[SCORE_FIELD] = score
                candidates.append(document)
        return candidates, sum(isinstance(body, int) for body in bodies)

    def bodies(self, shard: int, uid: str) -> BodyReader:
        """The documents beside the index."""
        now = time.monotonic()
        reader = self._bodies.get((shard, uid), now)
        if reader is None:
            reader = BodyReader(self._index_folder(shard, uid))
            self._bodies.put((shard, uid), reader, now)
        return reader

    def leading(
        self, shard: int, uid: str, ids: Sequence[str], max_bytes: int, is_late: Callable[[], bool]
    ) -> list[bytes]:
        """See `Store.leading`; no documents if there is no store.

        Raises:
            sqlite3.Error: the store cannot be read.
            ConfigurationError: it is of a newer version.
        """
        store = self._store(shard)
        return [] if store is None else store.leading(uid, ids, max_bytes, is_late)

    def _store(self, shard: int) -> Store | None:
        store = self._stores.get(shard)
        if store is None:
            path = self._shard_folder(shard) / "store.sqlite"
            if path.is_file():
                store = Store.open(path, read_only=True, mapped_bytes=MAPPED_BYTES)
                self._stores[shard] = store
        return store

    def _current_statistics(self, uid: str, now: float) -> TermStatistics | None:
        file = self._statistics.get(uid, now)
        if file is None:
            file = StatisticsFile(self._statistics_path(uid))
            self._statistics.put(uid, file, now)
        return file.current(now)

    def _shard_folder(self, shard: int) -> Path:
        return self._data / "shards" / str(shard)

    def _index_folder(self, shard: int, uid: str) -> Path:
        return self._shard_folder(shard) / uid

    def _statistics_path(self, uid: str) -> Path:
        return statistics_path(self._data, uid)


class _First:
    """The first ids of a collection in a shard, and the packed result of `noop` for one k."""

    __slots__ = ("body", "body_k", "documents", "generation", "ids", "k")

    def __init__(self, generation: int, k: int, documents: int, ids: list[str]) -> None:
        self.generation = generation
        self.k = k
        self.documents = documents
        self.ids = ids
        self.body_k = -1
        self.body = b""
