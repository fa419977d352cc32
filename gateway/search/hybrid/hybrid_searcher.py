"""The walk of a hybrid search: check, both legs, fuse, second phase, fetch, answer.

Each leg is an ordinary search, with admission, breakers, hedging and outcomes of its own.
"""

import asyncio
from collections.abc import Collection as AbstractCollection
from collections.abc import Mapping

from msgspec import UNSET
from msgspec.structs import replace

from hedgerow.common.collection import Collection
from hedgerow.common.errors import (
    BadRequestError,
    EmbeddingError,
    ExpiredError,
    InsufficientCoverageError,
    OverloadedError,
    UnavailableError,
)
from hedgerow.common.outcome import Outcome
from hedgerow.common.settings.rank_profiles import RankProfile
from hedgerow.common.wire.search_options import Candidate, Highlighting
from hedgerow.gateway.embedding.query_embedder import QueryEmbedder
from hedgerow.gateway.search.documents.answer_memory import Lease
from hedgerow.gateway.search.documents.fetch import drop_fields
from hedgerow.gateway.search.hybrid.answer import make_answer, unasked
from hedgerow.gateway.search.hybrid.deadlines import deadlines_of
from hedgerow.gateway.search.hybrid.fusion import FusedHit
from hedgerow.gateway.search.hybrid.leg_end import LegEnd
from hedgerow.gateway.search.hybrid.legs import LegRunner
from hedgerow.gateway.search.hybrid.wanted import (
    SECOND_PHASE,
    TEXT,
    VECTOR,
    Legs,
    Limits,
    embed_of,
    legs_of,
)
from hedgerow.gateway.search.options.highlighting import highlighting_of
from hedgerow.gateway.search.options.vector import field_of
from hedgerow.gateway.search.result import Hit, SearchQuery, SearchResult
from hedgerow.gateway.search.search_settings import SearchSettings
from hedgerow.gateway.search.searcher import Searcher
from hedgerow.gateway.search.validation import Admitted
from hedgerow.gateway.search.view import View
from hedgerow.gateway.shapes.answer import Fetch


class HybridSearcher:
    """Answers hybrid searches, and searches by a vector that is yet to be made of the query."""

    def __init__(
        self,
        searcher: Searcher,
        embedder: QueryEmbedder,
        view: View,
        settings: SearchSettings,
        functions: AbstractCollection[str],
    ) -> None:
        """Run the legs with `searcher`.

        Args:
            searcher: answers ordinary searches.
            embedder: makes vectors of texts.
            view: the state of the cluster.
            settings: what a search may ask for.
            functions: those that fields may name to embed.
        """
        self._searcher = searcher
        self._legs = LegRunner(searcher, embedder)
        self._view = view
        self._profiles: Mapping[str, RankProfile] = settings.profiles
        most = min(settings.gateway.max_k, settings.limits.max_vector_k)
        self._limits = Limits(most, frozenset(functions))
        self._loop = asyncio.get_running_loop()

    async def search(self, query: SearchQuery, collection: Collection) -> SearchResult:
        """Answer one query, as `Searcher.search` does.

        Raises:
            BadRequestError: the query cannot be answered by any shard.
            UnavailableError: no leg could be asked, or the function of a search by vector alone
                has failed.
            InsufficientCoverageError: the answer reflects less than the caller demands, or nothing
                at all; it carries the result.
        """
        if query.hybrid is None:
            return await self._by_vector(query, collection)
        started = self._loop.time()
        legs = legs_of(query, query.hybrid, collection, self._profiles, self._limits)
        text = self._check(query, legs, collection)
        deadlines = deadlines_of(
            started,
            query.deadline_ms / 1000,
            self._fetch_reserve_s(query),
            has_second_phase=legs.num_scored > 0,
        )
        ends = await self._legs.run(legs, query.query, collection, started, deadlines.legs)
        _check_answered(ends)
        found = {name: end.hits for name, end in ends.items()}
        fused = legs.fusion.fuse(found, max(query.num_ranked, legs.num_scored))
        if legs.num_scored and fused:
            fused, ends[SECOND_PHASE] = await self._second_phase(
                legs, fused, collection, started, deadlines.second_phase
            )
        hits = [_hit_of(one) for one in fused[query.offset : query.num_ranked]]
        highlighting = highlighting_of(query, text.options, text.wanted.highlights)
        fetch, lease = await self._fetch(
            query, legs, hits, collection, deadlines.answer, highlighting
        )
        return make_answer(
            query,
            legs,
            ends,
            fused,
            hits,
            (fetch, lease),
            self._view.counts_of(collection.uid),
            self._loop.time() - started,
        )

    def refusal_of(self, query: SearchQuery, collection: Collection) -> OverloadedError | None:
        """As `Searcher.refusal_of`; a hybrid search counts as its two legs."""
        refusal = self._searcher.refusal_of(query, collection)
        if refusal is None and query.hybrid is not None:
            refusal = self._searcher.refusal_of(query, collection)
        return refusal

    def use_profiles(self, profiles: Mapping[str, RankProfile]) -> None:
        """From now on, rank by these; searches that have begun end as they began."""
        self._profiles = profiles

    def _check(self, query: SearchQuery, legs: Legs, collection: Collection) -> Admitted:
        """Check both legs before a shard is asked; returns the leg by text."""
        # Neither leg highlights; the hits of both do.
        text = replace(legs.text, highlight=query.highlight)
        admitted = self._searcher.checker.check(text, collection)
        vector = legs.vector
        if legs.embed and vector.vector is not None:  # with a vector in the place of its own
            field = field_of(vector.vector, collection)
            value = replace(vector.vector, value=[1.0] * field.dimensions)
            vector = replace(vector, vector=value)
        self._searcher.checker.check(vector, collection)
        return admitted

    async def _by_vector(self, query: SearchQuery, collection: Collection) -> SearchResult:
        """Answer a search by vector alone; without a vector, that of the query's text."""
        wanted, text = query.vector, query.query
        if wanted is None or wanted.value is not UNSET:
            return await self._searcher.search(query, collection)
        started = self._loop.time()
        name = query.rank_profile or collection.rank_profile
        profile = self._profiles.get(name, RankProfile())
        function = embed_of(wanted, collection, profile, self._limits.functions)
        if not text.strip():
            raise BadRequestError("vector.value", "is missing, and so is a query to make it of")
        deadline = started + query.deadline_ms / 1000
        query = replace(query, query="")
        try:
            query = await self._legs.with_vector(query, function, text, collection, deadline)
        except EmbeddingError as error:
            raise UnavailableError(f"the query could not be embedded: {error}") from error
        except ExpiredError as error:
            raise self._late(query, collection, started, str(error)) from error
        left_ms = (deadline - self._loop.time()) * 1000
        if left_ms <= 0:
            reason = "the query's text was embedded too late for its deadline"
            raise self._late(query, collection, started, reason)
        result = await self._searcher.search(replace(query, deadline_ms=left_ms), collection)
        took_ms = (self._loop.time() - started) * 1000
        return replace(result, took_ms=took_ms, deadline_ms=query.deadline_ms)

    def _late(
        self, query: SearchQuery, collection: Collection, started: float, reason: str
    ) -> InsufficientCoverageError:
        """The error of a search for which no time was left to ask a shard."""
        counts = self._view.counts_of(collection.uid)
        result = unasked(query, counts, Outcome.TIMED_OUT, reason, self._loop.time() - started)
        return InsufficientCoverageError(f"no shard was asked: {reason}", result)

    async def _second_phase(
        self,
        legs: Legs,
        fused: list[FusedHit],
        collection: Collection,
        started: float,
        deadline: float,
    ) -> tuple[list[FusedHit], LegEnd]:
        """Have the best of the fused hits scored by the rank profile's second phase.

        Those that it could not score follow those that it has, in the order of the fusion.
        """
        best = fused[: legs.num_scored]
        end = await self._legs.search(
            replace(
                legs.text,
                rank_profile=legs.profile,
                facets={},
                typos="off",
                prefix=False,
                wait_for=1.0,
                k=len(best),
                candidates=tuple(_candidate_of(one) for one in best),
            ),
            collection,
            started,
            deadline,
        )
        scores = {hit.id: hit.score for hit in end.hits}
        scored = [one._replace(score=scores[one.id]) for one in best if one.id in scores]
        scored.sort(key=lambda one: (-one.score, one.id))
        return [*scored, *(one for one in fused if one.id not in scores)], end

    async def _fetch(
        self,
        query: SearchQuery,
        legs: Legs,
        hits: list[Hit],
        collection: Collection,
        deadline: float,
        highlighting: Highlighting | None,
    ) -> tuple[Fetch | None, Lease | None]:
        """Read the hits' documents from the shards that have them."""
        if not query.reads_documents:
            return None, None
        fetcher = self._searcher.fetcher
        lease = fetcher.memory.lease(query.caller.party(query.peer))
        if not hits:
            return Fetch(0, 0), lease
        fetch = await fetcher.fill(
            hits,
            collection.uid,
            query.read_fields,
            legs.profile,
            deadline,
            lease,
            vectors=tuple(collection.vectors),
            highlighting=highlighting,
        )
        if query.fields is False:
            drop_fields(hits)
        return fetch, lease

    def _fetch_reserve_s(self, query: SearchQuery) -> float:
        if not query.reads_documents:
            return 0.0
        return self._searcher.fetcher.reserve.reserve_s(query.deadline_ms / 1000)


def _hit_of(fused: FusedHit) -> Hit:
    return Hit(fused.id, fused.score, fused.shard, legs=fused.legs)


def _candidate_of(fused: FusedHit) -> Candidate:
    scores = [fused.legs[name].score if name in fused.legs else None for name in (TEXT, VECTOR)]
    return Candidate(fused.shard, fused.id, fused.score, (scores[0], scores[1]))


def _check_answered(ends: Mapping[str, LegEnd]) -> None:
    """Check that a shard was asked in any leg, or could have been with more time.

    Raises:
        UnavailableError: none could, as the first leg says.
    """
    if all(end.result is None for end in ends.values()):
        errors = [end.error for end in ends.values() if end.error is not None]
        if errors:
            raise errors[0]
