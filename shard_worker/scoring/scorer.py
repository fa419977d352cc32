"""Runs in a scorer process: retrieves and ranks documents on the shards of one worker."""

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import tantivy
from msgspec.structs import replace

from hedgerow.common.document_ids import ID_FIELD
from hedgerow.common.errors import (
    BadQueryError,
    BadRequestError,
    ExpiredError,
    RankingError,
    WorkError,
)
from hedgerow.common.query.as_typed import AS_WRITTEN, Typing
from hedgerow.common.query.choices import restricted
from hedgerow.common.query.tree import Node, named_fields
from hedgerow.common.settings.rank_profiles import RankProfile
from hedgerow.common.settings.tracing import TracingSettings
from hedgerow.common.wire.messages import (
    Attach,
    SearchBody,
    SearchPayload,
    pack_body,
    unpack_search_payload,
)
from hedgerow.common.wire.search_options import SearchExtras, SearchOptions, Synonym
from hedgerow.shard_worker.scoring.absent_fields import AbsentFields
from hedgerow.shard_worker.scoring.attaching import Attaching, Part
from hedgerow.shard_worker.scoring.field_queries import both
from hedgerow.shard_worker.scoring.fused_candidates import add_leg_scores, candidates_of
from hedgerow.shard_worker.scoring.index_snapshot import Snapshot
from hedgerow.shard_worker.scoring.open_shards import OpenShards
from hedgerow.shard_worker.scoring.ranking import Budget, SecondPhase, second_phases
from hedgerow.shard_worker.scoring.retrieval import Found, Located, retrieve
from hedgerow.shard_worker.scoring.retrieval_options import (
    check_option_fields,
    retrieve_nearest,
    retrieve_with_options,
    without_index,
)
from hedgerow.shard_worker.scoring.second_phase_trace import SecondPhaseTrace, scorer_tracing
from hedgerow.shard_worker.scoring.slips import slips_in
from hedgerow.shard_worker.scoring.ties import Within
from hedgerow.shard_worker.vectors import library

# Interval at which a scorer closes files that it no longer needs, and looks for vector fields.
KEEP_READY_S = 1.0
# A query of a single word, or of more words than this, takes longer to build than it saves to
# restrict its words one by one.
_MOST_SPACES = 8


@dataclass(frozen=True)
class ScorerConfig:
    """The configuration of a scorer process.

    Attributes:
        data: the worker's data folder.
        profiles: name → rank profile.
        import_path: folders from which the users' functions are imported.
        max_candidate_bytes: limit of the candidates of one second phase together, as JSON.
        tracing: whether second phases are traced, and how.
        worker_id: the worker's name, which its spans carry.
    """

    data: str
    profiles: dict[str, RankProfile]
    import_path: tuple[str, ...] = ()
    max_candidate_bytes: int = 8_388_608
    tracing: TracingSettings = field(default_factory=TracingSettings)
    worker_id: str = ""


def make_handler(config: ScorerConfig) -> "Callable[[tuple[Any, ...], Budget], Result]":
    """Make the function that a scorer process runs for each search, and its thread beside them.

    It takes `(shard, generation, packed SearchPayload)`, followed by the fields of an `Attach` if
    documents are wanted, and by a packed `TraceContext` if the search is traced, and returns a
    packed `SearchBody`, or a function that returns it with the documents (`attaching`). A shard is
    opened when it is first searched, and reopened when a search asks for a newer generation or
    another opening (`opening`).

    Raises:
        ConfigurationError: a profile's second phase cannot be used, or OpenTelemetry is missing.
    """
    return make_scorer(config).search


def make_scorer(config: ScorerConfig) -> "Scorer":
    """Make what `make_handler` runs; raises what it raises."""
    for folder in config.import_path:
        if folder not in sys.path:
            sys.path.insert(0, folder)
    scorer = Scorer(config)
    scorer.look_for_vectors()
    scorer.start_thread()
    return scorer


Result = bytes | Callable[[], bytes]  # packed, or what packs it just before it is sent

# All shards of a query get the same payload, and a worker searches its shards one after the other.
_read = lru_cache(maxsize=256)(unpack_search_payload)


class Scorer:
    """Scores searches, one after the other."""

    def __init__(self, config: ScorerConfig) -> None:
        self._profiles = config.profiles
        self._second_phases = second_phases(config.profiles)
        self._tracing = None
        if self._second_phases:
            self._tracing = scorer_tracing(config.tracing, config.worker_id)
        self._data = Path(config.data)
        self._shards = OpenShards(self._data)
        self._attaching = Attaching(self._shards)
        self._has_loaded_vectors = False
        self._max_candidate_bytes = config.max_candidate_bytes
        self._absent = AbsentFields()
        self._turn = threading.Lock()  # held by a search, or by the thread that closes files
        self._has_ended = threading.Event()

    def start_thread(self) -> None:
        """Start a thread that does what searches should not wait for."""
        threading.Thread(target=self._keep_ready, name="keep-ready", daemon=True).start()

    def look_for_vectors(self) -> None:
        """Load the libraries for vectors once a shard of this worker has a vector field."""
        if not self._has_loaded_vectors and library.is_noted(self._data / "shards"):
            self._has_loaded_vectors = True
            library.load()

    def _keep_ready(self) -> None:
        while not self._has_ended.wait(KEEP_READY_S):
            with self._turn:
                unused = self._shards.take_unused(time.monotonic())
            unused.close()
            self.look_for_vectors()

    def __call__(self, payload: tuple[Any, ...], budget: Budget) -> bytes:
        """Score one search on one shard, and pack the result at once; raises as `search` does."""
        result = self.search(payload, budget)
        return result if isinstance(result, bytes) else result()

    def search(self, payload: tuple[Any, ...], budget: Budget) -> Result:
        """Score one search on one shard.

        Raises:
            ExpiredError: the budget ran out.
            RankingError: the profile's second phase failed.
            BadQueryError: the query cannot be searched for, here or on any other shard.
            WorkError: the shard cannot be searched.
        """
        with self._turn:
            return self._score(payload, budget)

    def _score(self, payload: tuple[Any, ...], budget: Budget) -> Result:
        began = time.monotonic()
        shard, generation, packed, *wanted = payload
        trace = None
        if wanted and type(wanted[-1]) is bytes:
            trace = SecondPhaseTrace.of(wanted.pop(), self._tracing, shard, began)
        search = _read(packed)
        profile = self._profiles.get(search.profile)
        if profile is None:
            raise WorkError(f"this worker has no rank profile {search.profile}")
        generation = self._shards.current(shard, generation)
        if profile.first_phase == "noop" and search.profile not in self._second_phases:
            now = time.monotonic()
            return self._shards.noop_body(shard, search.uid, generation, search.k, now)
        body, located = self._search(shard, generation, search, profile, budget, trace)
        # An `enrich` function needs the documents first; it runs in the threads of the fetch.
        if wanted and body.ids and profile.enrich is None:
            part = self._attaching.add(
                shard, packed, search.uid, body, located, Attach(*wanted), budget.expired
            )
            if part.merge is None:
                return self._attaching.finish(part)
            return partial(self._finish, part)
        return pack_body(body)

    def _finish(self, part: Part) -> bytes:
        with self._turn:
            return self._attaching.finish(part)

    def close(self) -> None:
        """Close the files. A scorer process may end without this call, and loses nothing."""
        self._has_ended.set()
        self._shards.close()

    def _search(
        self,
        shard: int,
        generation: int,
        search: SearchPayload,
        profile: RankProfile,
        budget: Budget,
        trace: SecondPhaseTrace | None,
    ) -> tuple[SearchBody, Located | None]:
        second_phase = self._second_phases.get(search.profile)
        extras = None
        # If a client wants more hits than there are candidates, the second phase scores that many.
        wanted = max(search.k, profile.candidates) if second_phase else search.k
        fused = search.options.candidates if search.options is not None else ()
        vectors: tuple[str, ...] = ()
        if fused:
            now = time.monotonic()
            snapshot = self._shards.snapshot(shard, search.uid, generation, now)
            documents, found, extras = 0, Found(0, []), SearchExtras()
            if snapshot is not None:
                documents, found = snapshot.index.num_documents, candidates_of(fused, shard)
                vectors = tuple(snapshot.definition.vectors)
        elif profile.first_phase == "noop":
            now = time.monotonic()
            documents, found = self._shards.first(shard, search.uid, generation, wanted, now)
        else:
            documents, found, extras = self._retrieve(shard, generation, search, wanted, budget)
        _check(budget)
        located = found.located
        if located is not None:
            vectors = tuple(located.snapshot.collection.vectors)
        unranked = 0
        if second_phase is not None and found.hits:
            candidates, unranked = self._shards.candidates(
                shard,
                search.uid,
                found.hits,
                profile.fields,
                max_bytes=self._max_candidate_bytes,
                is_late=budget.expired,
                vectors=vectors,
            )
            _check(budget)
            add_leg_scores(candidates, fused)
            if profile.fields:
                self._absent.look(search.profile, profile.fields, search.uid, candidates)
            try:
                if trace is None:
                    found = _rank(second_phase, search, found.total, candidates, budget)
                else:
                    with trace.ranking(search.profile, len(candidates)):
                        found = _rank(second_phase, search, found.total, candidates, budget)
            except RankingError:
                _check(budget)  # a function that gave up at the deadline has not failed
                raise
            _check(budget)
        hits = found.hits[: search.k]
        ids, scores = [one for _, one in hits], [score for score, _ in hits]
        body = SearchBody(documents, found.total, True, ids, scores, unranked, extras=extras)
        if trace is not None and trace.ranking_us is not None:
            body = replace(body, second_phase_us=trace.ranking_us)
        return body, located

    def _retrieve(
        self, shard: int, generation: int, search: SearchPayload, wanted: int, budget: Budget
    ) -> tuple[int, Found, SearchExtras | None]:
        now = time.monotonic()
        snapshot = self._shards.snapshot(shard, search.uid, generation, now)
        if snapshot is None:
            nothing = None if search.options is None else without_index(search.options)
            return 0, Found(0, []), nothing
        options, extras = search.options, None
        try:
            if options is not None and options.vector is not None:
                found, extras = retrieve_nearest(
                    snapshot.index,
                    self._restriction(snapshot, search, now),
                    wanted,
                    options,
                    lambda file: self._shards.graph(shard, file, now),
                    lambda: _check(budget),
                    {
                        name: self._restriction(snapshot, search, now, name)
                        for name in _widened(options)
                    },
                )
            elif options is not None:
                found, extras = retrieve_with_options(
                    snapshot.index,
                    snapshot.statistics,
                    self._build(snapshot, search, now),
                    self._within(snapshot, search, now),
                    wanted,
                    options,
                    lambda: _check(budget),
                    {name: self._build(snapshot, search, now, name) for name in _widened(options)},
                )
            else:
                query = self._build(snapshot, search, now)
                within = self._within(snapshot, search, now)
                found = retrieve(snapshot.index, query, wanted, within)
        except ValueError as error:  # tantivy raises it for a damaged index, too
            raise WorkError(f"the index cannot be searched: {error}") from error
        if options is not None and options.did_you_mean and extras is not None:
            tree = self._tree(snapshot, search, now)
            extras = replace(extras, slips=slips_in(tree, snapshot.index, snapshot.statistics))
        return snapshot.index.num_documents, found, extras

    def _tree(self, snapshot: Snapshot, search: SearchPayload, now: float) -> Node:
        """The query's tree, which `_build` has read before."""
        analysis = self._shards.query_analysis(snapshot.definition, now)
        return analysis.read(search.query, search.strict, _typing_of(search))

    def _build(
        self,
        snapshot: Snapshot,
        search: SearchPayload,
        now: float,
        left_out: str = "",
        within: tantivy.Query | None = None,
    ) -> tantivy.Query:
        """What is searched for, `within` few documents; without the choice of field `left_out`."""
        analysis = self._shards.query_analysis(snapshot.definition, now)
        try:
            node = analysis.read(
                search.query, search.strict, _typing_of(search), _synonyms_of(search)
            )
            filter_node = analysis.read_filter(search.filter)
            _check_fields(snapshot, search, node, filter_node)
            filter_node = _restricted(snapshot, filter_node, search.options, left_out)
            like = None if search.options is None else search.options.like
            if like is not None:
                query = snapshot.builder.build_like(like, filter_node)
                return query if within is None else both(query, within)
            return snapshot.builder.build(node, filter_node, within)
        except _UNFIT as error:
            raise _unfit(error) from error

    def _within(self, snapshot: Snapshot, search: SearchPayload, now: float) -> Within | None:
        """Restricts what is searched for word by word, if that is cheaper than as a whole."""
        if not 1 <= search.query.count(" ") <= _MOST_SPACES:
            return None
        return lambda within: self._build(snapshot, search, now, within=within)

    def _restriction(
        self, snapshot: Snapshot, search: SearchPayload, now: float, left_out: str = ""
    ) -> tantivy.Query | None:
        """What restricts a search by a vector, as of `_build`; None if nothing does."""
        analysis = self._shards.query_analysis(snapshot.definition, now)
        try:
            filter_node = analysis.read_filter(search.filter)
            _check_fields(snapshot, search, filter_node)
            filter_node = _restricted(snapshot, filter_node, search.options, left_out)
            return None if filter_node is None else snapshot.builder.restriction(filter_node)
        except _UNFIT as error:
            raise _unfit(error) from error


# The gateway has checked the query, but perhaps against a newer definition.
_UNFIT = (BadRequestError, ValueError, OverflowError, RecursionError)


def _unfit(error: Exception) -> BadQueryError:
    return BadQueryError(f"the query does not fit the index: {error}")


def _typing_of(search: SearchPayload) -> Typing:
    options = search.options
    return AS_WRITTEN if options is None else Typing(options.typos, options.prefix)


def _synonyms_of(search: SearchPayload) -> tuple[Synonym, ...]:
    return () if search.options is None else search.options.synonyms


def _widened(options: SearchOptions) -> set[str]:
    """The fields whose facets leave out the choice of their own field."""
    return {one.field for one in options.refine} & {one.field for one in options.facets}


def _restricted(
    snapshot: Snapshot, filter_node: Node | None, options: SearchOptions | None, left_out: str
) -> Node | None:
    """What documents must match beside the query, without the choice of one field."""
    if options is None or not options.refine:
        return filter_node
    choices = [one for one in options.refine if one.field != left_out]
    return restricted(filter_node, choices, snapshot.definition)


def _check_fields(snapshot: Snapshot, search: SearchPayload, *nodes: Node | None) -> None:
    """Refuse a search that names a field which this shard's index lacks.

    Raises:
        BadQueryError: it names one.
    """
    for node in nodes if snapshot.missing else ():
        for name in named_fields(node) if node is not None else ():
            if name in snapshot.missing:
                raise BadQueryError(f"the field {name} was added, and is being filled")
    if search.options is not None:
        check_option_fields(snapshot.index.collection, search.options)


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
