"""What runs in a scorer process: retrieval and ranking on the shards of one worker."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from common.collection import ID_FIELD, Collection
from common.config import RankProfile
from common.errors import BadRequestError, ExpiredError, RankingError, WorkError
from common.wire import SearchBody, SearchPayload, pack_body, unpack_search_payload
from shard_worker.picking import pick_of
from shard_worker.query_builder import QueryBuilder
from shard_worker.ranking import SCORE_FIELD, Budget, SecondPhase, second_phases
from shard_worker.retrieval import Found, retrieve
from shard_worker.store import Store
from shard_worker.term_statistics import StatisticsFile, TermStatistics
from shard_worker.text_index import TextIndex, TextIndexError
from shard_worker.understanding import Understanding


@dataclass(frozen=True)
class ScorerConfig:
    """What a scorer process is started with.

    Attributes:
        data: the worker's data folder.
        shards: the shards that it serves.
        profiles: name → rank profile.
        import_path: folders from which the users' functions are imported.
        max_candidate_bytes: what the candidates of one second phase may weigh, as JSON.
    """

    data: str
    shards: tuple[int, ...]
    profiles: dict[str, RankProfile]
    import_path: tuple[str, ...] = ()
    max_candidate_bytes: int = 8_388_608


def make_scorer(config: ScorerConfig) -> "Scorer":
    """Make the function that a scorer process runs for each search.

    It takes `(shard, generation, packed SearchPayload)` and returns a packed `SearchBody`.
    Shards are opened when they are first searched, and again when a newer generation is asked for.

    Raises:
        ConfigurationError: a profile's second phase cannot be used.
    """
    for folder in config.import_path:
        if folder not in sys.path:
            sys.path.insert(0, folder)
    return Scorer(config)


# A query's shards get the same payload, one after the other where they are of one worker.
_read = lru_cache(maxsize=256)(unpack_search_payload)


class Scorer:
    """Scores searches, one after the other."""

    def __init__(self, config: ScorerConfig) -> None:
        self._data = Path(config.data)
        self._profiles = config.profiles
        self._second_phases = second_phases(config.profiles)
        self._shards = {shard: _Shard(self._data, shard) for shard in config.shards}
        self._max_candidate_bytes = config.max_candidate_bytes
        self._statistics: dict[str, StatisticsFile] = {}
        self._understandings: dict[str, Understanding] = {}

    def __call__(self, payload: tuple[int, int, bytes], budget: Budget) -> bytes:
        """Score one search on one shard.

        Raises:
            ExpiredError: the budget ran out.
            RankingError: the profile's second phase failed.
            WorkError: the shard cannot be searched.
        """
        shard, generation, packed = payload
        search = _read(packed)
        profile = self._profiles.get(search.profile)
        if profile is None:
            raise WorkError(f"this worker has no rank profile {search.profile}")
        if shard not in self._shards:
            raise WorkError(f"this worker does not serve shard {shard}")
        if profile.first_phase == "noop" and search.profile not in self._second_phases:
            return self._shards[shard].noop_body(search.uid, generation, search.k)
        try:
            body = self._search(self._shards[shard], generation, search, profile, budget)
        except (BadRequestError, ValueError) as error:
            # The gateway has checked the query, perhaps against a newer definition than the index.
            raise WorkError(f"the query does not fit the index: {error}") from error
        return pack_body(body)

    def close(self) -> None:
        """Close the files; a scorer process ends without, and loses nothing."""
        for shard in self._shards.values():
            shard.close()
        for file in self._statistics.values():
            file.close()

    def _search(
        self,
        shard: "_Shard",
        generation: int,
        search: SearchPayload,
        profile: RankProfile,
        budget: Budget,
    ) -> SearchBody:
        second_phase = self._second_phases.get(search.profile)
        # A client that wants more than the candidates gets them, all scored alike.
        wanted = max(search.k, profile.candidates) if second_phase else search.k
        if profile.first_phase == "noop":
            documents, found = shard.first(search.uid, generation, wanted)
        else:
            documents, found = self._retrieve(shard, generation, search, wanted)
        _check(budget)
        unranked = 0
        if second_phase is not None and found.hits:
            candidates, unranked = shard.candidates(
                search.uid, found.hits, profile.fields, self._max_candidate_bytes, budget
            )
            _check(budget)
            try:
                found = _rank(second_phase, search, found.total, candidates, budget)
            except RankingError:
                _check(budget)  # a function that gave up in time has not failed
                raise
            _check(budget)
        hits = found.hits[: search.k]
        ids, scores = [one for _, one in hits], [score for score, _ in hits]
        return SearchBody(documents, found.total, True, ids, scores, unranked)

    def _retrieve(
        self, shard: "_Shard", generation: int, search: SearchPayload, wanted: int
    ) -> tuple[int, Found]:
        snapshot = shard.snapshot(search.uid, generation, self._current_statistics(search.uid))
        if snapshot is None:
            return 0, Found(0, [])
        read = self._understanding(snapshot.index.collection).read
        node, is_constant = read(search.query, search.strict)
        filter_node = read(search.filter, True).node if search.filter else None
        query = snapshot.builder.build(node, filter_node)
        found = retrieve(snapshot.index, query, wanted, all_tie=is_constant)
        return snapshot.index.num_documents, found

    def _understanding(self, collection: Collection) -> Understanding:
        known = self._understandings.get(collection.uid)
        # Each index tells its own copy of the definition; they differ while a new one spreads.
        if known is None or (known.collection is not collection and known.collection != collection):
            known = self._understandings[collection.uid] = Understanding(collection)
        return known

    def _current_statistics(self, uid: str) -> TermStatistics | None:
        file = self._statistics.get(uid)
        if file is None:
            file = StatisticsFile(self._data / "statistics" / f"{uid}.sqlite")
            self._statistics[uid] = file
        return file.current()


class _Snapshot:
    """One collection's index on one shard, with what depends on it."""

    def __init__(self, index: TextIndex, statistics: TermStatistics | None) -> None:
        self.index = index
        self.statistics = statistics
        self.builder = QueryBuilder(index, statistics)


class _Shard:
    """One shard's store and indexes, opened when they are first needed."""

    def __init__(self, data: Path, shard: int) -> None:
        self._folder = data / "shards" / str(shard)
        self._store: Store | None = None
        self._snapshots: dict[str, _Snapshot] = {}
        self._first: dict[str, tuple[int, int, int, list[str]]] = {}
        self._noop_bodies: dict[str, tuple[int, int, bytes]] = {}

    def _open_store(self) -> Store | None:
        if self._store is None:
            path = self._folder / "store.sqlite"
            if not path.is_file():
                return None
            self._store = Store.open(path, read_only=True)
        return self._store

    def close(self) -> None:
        """Close the store."""
        if self._store is not None:
            self._store.close()

    def snapshot(
        self, uid: str, generation: int, statistics: TermStatistics | None
    ) -> _Snapshot | None:
        """The index as of `generation` or later; None when the shard has nothing of it yet."""
        known = self._snapshots.get(uid)
        if known is None or known.index.generation < generation:
            try:
                known = _Snapshot(TextIndex.open(self._folder / uid), statistics)
            except TextIndexError as error:
                if generation == 0:
                    return None
                raise WorkError(f"the text index cannot be read: {error}") from error
            self._snapshots[uid] = known
        elif known.statistics is not statistics:
            known = _Snapshot(known.index, statistics)
            self._snapshots[uid] = known
        return known

    def first(self, uid: str, generation: int, k: int) -> tuple[int, Found]:
        """The first `k` ids, each with score 0; how many documents there are comes first."""
        known = self._first.get(uid)
        if known is None or known[0] != generation or known[1] < k:
            store = self._open_store()
            if store is None:
                return 0, Found(0, [])
            known = (generation, k, store.count(uid), store.first_ids(uid, k))
            self._first[uid] = known
        _, _, documents, ids = known
        return documents, Found(documents, [(0.0, one) for one in ids[:k]])

    def noop_body(self, uid: str, generation: int, k: int) -> bytes:
        """The packed answer of noop alone; kept, since noop is to measure everything else."""
        known = self._noop_bodies.get(uid)
        if known is None or known[:2] != (generation, k):
            documents, found = self.first(uid, generation, k)
            ids = [one for _, one in found.hits]
            body = SearchBody(documents, found.total, True, ids, [0.0] * len(ids))
            known = self._noop_bodies[uid] = (generation, k, pack_body(body))
        return known[2]

    def candidates(
        self,
        uid: str,
        hits: Sequence[tuple[float, str]],
        fields: Sequence[str] | None,
        max_bytes: int,
        budget: Budget,
    ) -> tuple[list[dict[str, Any]], int]:
        """The hits' documents, the best first, of `max_bytes` as JSON; how many are left out.

        A document that was deleted since its commit is left out too, and not counted.
        """
        store = self._open_store()
        if store is None:
            return [], 0
        ids = [one for _, one in hits]
        bodies = store.read(uid, ids, max_bytes, pick_of(fields), budget.expired)
        candidates = []
        for (score, one), body in zip(hits, bodies, strict=True):
            if isinstance(body, bytes):
                document: dict[str, Any] = from_json(body)
                document[ID_FIELD] = one
                document[SCORE_FIELD] = score
                candidates.append(document)
        return candidates, sum(isinstance(body, int) for body in bodies)


def _rank(
    second_phase: SecondPhase,
    search: SearchPayload,
    total: int,
    candidates: list[dict[str, Any]],
    budget: Budget,
) -> Found:
    ids = [candidate[ID_FIELD] for candidate in candidates]
    scores = second_phase.score(search.query, candidates, budget)
    ranked = sorted(zip(scores, ids, strict=True), key=lambda hit: (-hit[0], hit[1]))
    return Found(total, ranked)


def _check(budget: Budget) -> None:
    if budget.expired():
        raise ExpiredError("the deadline passed, or the query was cancelled, during scoring")
