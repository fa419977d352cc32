"""The stores and indexes that a scorer process has open, and when it closes them.

An index that is searched stays open, since opening it takes 0.4 ms; it is mapped into memory. The
files of an index that was dropped, merged or rewritten occupy the disk until no process has them
mapped, and a process can have a limited number of maps (65,530 on Linux). An index is therefore
closed soon after its collection was dropped, some time after its last search, and when too many are
open.
"""

import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from pydantic_core import from_json

from hedgerow.common.collection import Collection
from hedgerow.common.document_ids import ID_FIELD
from hedgerow.common.errors import ConfigurationError, WorkError
from hedgerow.common.wire.messages import Attach, SearchBody, pack_body
from hedgerow.shard_worker.scoring.query_analysis import QueryAnalysis
from hedgerow.shard_worker.scoring.query_builder import QueryBuilder
from hedgerow.shard_worker.scoring.ranking import SCORE_FIELD
from hedgerow.shard_worker.scoring.recent_values import RecentValues
from hedgerow.shard_worker.scoring.retrieval import Found, Located
from hedgerow.shard_worker.storage.bodies import BodyReader
from hedgerow.shard_worker.storage.leading_documents import leading_of
from hedgerow.shard_worker.storage.picking import pick_of
from hedgerow.shard_worker.storage.store import Store
from hedgerow.shard_worker.storage.term_statistics import StatisticsFile, TermStatistics
from hedgerow.shard_worker.storage.text_index import TextIndex, TextIndexError

IDLE_S = 60.0  # an index that was not searched for so long is closed
MAX_OPEN_SEGMENTS = 2000  # of all open indexes, which count as one more each
MAX_OPEN_STATISTICS = 256  # each is a file descriptor
MAX_OPEN_BODIES = 256  # the same, or two
MAX_UNDERSTANDINGS = 64  # each keeps the last 256 queries as read
MAPPED_BYTES = 1 << 30  # of each store, at most; what is mapped is the system's page cache
MAX_FIRST = 256  # answers of noop, of up to a thousand ids each


class Snapshot:
    """One collection's index on one shard, with the objects that depend on it."""

    def __init__(self, index: TextIndex, statistics: TermStatistics | None) -> None:
        self.index = index
        self.statistics = statistics
        self.builder = QueryBuilder(index, statistics)


class OpenShards:
    """The stores and indexes of some shards, opened when they are first needed.

    Used by one thread at a time.
    """

    def __init__(self, data: Path, shards: Sequence[int]) -> None:
        self._data = data
        self._stores: dict[int, Store | None] = dict.fromkeys(shards)
        self._snapshots = RecentValues[tuple[int, str], Snapshot](MAX_OPEN_SEGMENTS)
        self._statistics = RecentValues[str, StatisticsFile](
            MAX_OPEN_STATISTICS, StatisticsFile.close
        )
        self._understandings = RecentValues[str, QueryAnalysis](MAX_UNDERSTANDINGS)
        self._first = RecentValues[tuple[int, str], _First](MAX_FIRST)
        self._bodies = RecentValues[tuple[int, str], BodyReader](MAX_OPEN_BODIES, BodyReader.close)

    def __contains__(self, shard: object) -> bool:
        return shard in self._stores

    def close(self) -> None:
        """Close the files."""
        for shard, store in self._stores.items():
            if store is not None:
                store.close()
            self._stores[shard] = None
        for uid in self._statistics:
            self._statistics.drop(uid)
        for key in self._bodies:
            self._bodies.drop(key)

    def let_go(self, now: float) -> None:
        """Close what belongs to a collection that is gone, and what was not used for long."""
        for kept in (
            self._snapshots,
            self._statistics,
            self._understandings,
            self._first,
            self._bodies,
        ):
            kept.drop_unused(now - IDLE_S)
        gone = {
            uid for shard, uid in self._snapshots if not self._index_folder(shard, uid).is_dir()
        }
        for uid in gone:
            self._understandings.drop(uid)
            self._statistics.drop(uid)
            for shard in self._stores:
                self._snapshots.drop((shard, uid))
                self._bodies.drop((shard, uid))
        for uid in self._statistics:
            if not self._statistics_path(uid).exists():
                self._statistics.drop(uid)

    def snapshot(self, shard: int, uid: str, generation: int, now: float) -> Snapshot | None:
        """The index as of `generation` or later; None when the shard has nothing of it yet."""
        statistics = self._current_statistics(uid, now)
        known = self._snapshots.get((shard, uid), now)
        if known is None or known.index.generation < generation:
            try:
                known = Snapshot(TextIndex.open(self._index_folder(shard, uid)), statistics)
            except TextIndexError as error:
                if generation == 0:
                    return None
                raise WorkError(f"the text index cannot be read: {error}") from error
        elif known.statistics is not statistics:
            known = Snapshot(known.index, statistics)
        else:
            return known
        self._snapshots.put((shard, uid), known, now, 1 + known.index.num_segments)
        return known

    def understanding(self, collection: Collection, now: float) -> QueryAnalysis:
        """What reads queries on a definition."""
        known = self._understandings.get(collection.uid, now)
        # Each index tells its own copy of the definition; they differ while a new one spreads.
        if known is None or (known.collection is not collection and known.collection != collection):
            known = QueryAnalysis(collection)
            self._understandings.put(collection.uid, known, now)
        return known

    def first(self, shard: int, uid: str, generation: int, k: int, now: float) -> tuple[int, Found]:
        """The first `k` ids, each with score 0; how many documents there are comes first."""
        known = self._first.get((shard, uid), now)
        if known is None or known.generation != generation or known.k < k:
            store = self._store(shard)
            if store is None:
                return 0, Found(0, [])
            known = _First(generation, k, store.count(uid), store.first_ids(uid, k))
            self._first.put((shard, uid), known, now)
        return known.documents, Found(known.documents, [(0.0, one) for one in known.ids[:k]])

    def noop_body(self, shard: int, uid: str, generation: int, k: int, now: float) -> bytes:
        """The packed answer of noop alone; kept, since noop is to measure everything else."""
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
    ) -> tuple[list[dict[str, Any]], int]:
        """The hits' documents, the best first, of `max_bytes` as JSON; how many are left out.

        A document that was deleted since its commit is left out too, and not counted.
        """
        store = self._store(shard)
        if store is None:
            return [], 0
        ids = [one for _, one in hits]
        bodies = store.read(uid, ids, max_bytes, pick_of(fields), is_late)
        candidates = []
        for (score, one), body in zip(hits, bodies, strict=True):
            if isinstance(body, bytes):
                document: dict[str, Any] = from_json(body)
                document[ID_FIELD] = one
                document[SCORE_FIELD] = score
                candidates.append(document)
        return candidates, sum(isinstance(body, int) for body in bodies)

    def attached(
        self,
        shard: int,
        uid: str,
        ids: Sequence[str],
        located: Located | None,
        attach: Attach,
        is_late: Callable[[], bool],
    ) -> list[bytes]:
        """The documents of the first ids, as `attach` asks for them.

        They are those that the index was made of, where they lie beside it; all others are read
        from the store. If that cannot be read, they end with the first that is missing: the fetch
        reads it then, or says why it cannot.
        """
        wanted = ids[: attach.num]
        bodies: list[bytes | None] = [None] * len(wanted)
        if located is not None:
            bodies = self._beside(shard, uid, wanted, located, is_late)
        if None in bodies:
            absent = [one for one, body in zip(wanted, bodies, strict=True) if body is None]
            read = iter(self._read_leading(shard, uid, absent, attach.max_bytes, is_late))
            bodies = [next(read, None) if body is None else body for body in bodies]
        taken = leading_of(bodies, attach.max_bytes)
        pick = pick_of(attach.fields)
        try:
            return taken if pick is None else [pick(body) for body in taken]
        except msgspec.MsgspecError:
            return []

    def _beside(
        self,
        shard: int,
        uid: str,
        ids: Sequence[str],
        located: Located,
        is_late: Callable[[], bool],
    ) -> list[bytes | None]:
        now = time.monotonic()
        reader = self._bodies.get((shard, uid), now)
        if reader is None:
            reader = BodyReader(self._index_folder(shard, uid))
            self._bodies.put((shard, uid), reader, now)
        try:
            places = located.places(ids)
        except ValueError:  # what tantivy raises for a damaged index
            return [None] * len(ids)
        read = reader.read
        return [None if place is None or is_late() else read(place) for place in places]

    def _read_leading(
        self, shard: int, uid: str, ids: Sequence[str], max_bytes: int, is_late: Callable[[], bool]
    ) -> list[bytes]:
        try:
            store = self._store(shard)
            return [] if store is None else store.leading(uid, ids, max_bytes, is_late)
        except (sqlite3.Error, ConfigurationError):
            return []

    def _store(self, shard: int) -> Store | None:
        store = self._stores[shard]
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
        return file.current()

    def _shard_folder(self, shard: int) -> Path:
        return self._data / "shards" / str(shard)

    def _index_folder(self, shard: int, uid: str) -> Path:
        return self._shard_folder(shard) / uid

    def _statistics_path(self, uid: str) -> Path:
        return self._data / "statistics" / f"{uid}.sqlite"


class _First:
    """The first ids of a collection in a shard, and the answer of noop for one k."""

    __slots__ = ("body", "body_k", "documents", "generation", "ids", "k")

    def __init__(self, generation: int, k: int, documents: int, ids: list[str]) -> None:
        self.generation = generation
        self.k = k
        self.documents = documents
        self.ids = ids
        self.body_k = -1
        self.body = b""
