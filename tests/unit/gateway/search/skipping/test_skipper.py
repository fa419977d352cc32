"""A shard is skipped only while its summary is valid; the answer then counts it as searched."""

import asyncio
import math
from collections.abc import Sequence

import pytest
from msgspec import UNSET

from hedgerow.common.collection import define
from hedgerow.common.errors import InsufficientCoverageError, RedisUnavailableError
from hedgerow.common.outcome import Outcome
from hedgerow.common.query.shard_summary import summarise
from hedgerow.common.query.word_frequencies import pack_frequencies, unpack_frequencies
from hedgerow.common.settings.rank_profiles import RankProfile
from hedgerow.common.wire.search_options import Choice, FacetKind, SearchOptions, WantedFacet
from hedgerow.gateway.search.result import SearchQuery
from hedgerow.gateway.search.skipping.collection_summaries import MOST_REMEMBERED, RankedBy
from hedgerow.gateway.search.skipping.skipper import LONGEST, MOST_CHOICES, Skipper
from hedgerow.gateway.search.validation import Admitted
from tests.support.virtual_time import run_virtually
from tests.unit.support.scripted import Script, ScriptedTransport
from tests.unit.support.searchers import searcher_over

COLLECTION = define("things", {"fields": {"text": "text"}, "language": "none"}, uid="u1")
PROFILES = {
    "bm25": RankProfile(),
    "noop": RankProfile(first_phase="noop", lane="loop"),
    "careful": RankProfile(canary=True),
    "ranked": RankProfile(second_phase="some:function"),
}
WORDS = (("red", "lamp"), ("red",), ("blue",))  # of three shards


class Stamps:
    """The stamps of the shards, as they are in Redis now."""

    def __init__(self) -> None:
        self.now: dict[int, bytes | None] = {shard: b"s%d" % shard for shard in range(len(WORDS))}
        self.is_silent = self.is_away = False
        self.num_read = 0
        self.version = b"v1"  # of the term statistics

    async def read(self, uid: str, shards: Sequence[int]) -> list[bytes | None]:
        """What they are."""
        self.num_read += 1
        if self.is_silent:
            await asyncio.sleep(60)
        if self.is_away:
            raise RedisUnavailableError("away")
        return [self.now[shard] for shard in shards]

    async def statistics(self, uid: str) -> bytes:
        """Their version."""
        return self.version


def skipper_of(stamps: Stamps, *, retracts: bool = True, ranked_by: bytes = b"v1") -> Skipper:
    """One that has the summaries of all three shards, whose workers rank by some statistics."""
    skipper = Skipper(
        stamps, lambda: retracts, PROFILES, lambda: None, lambda *asked: asked[-1] == ranked_by
    )
    admitted = Admitted("bm25", (), None)  # type: ignore[arg-type]  # its cost does not matter
    skipper.excluded(SearchQuery("things", "red"), COLLECTION, admitted, now=0.0)
    held = skipper.collections["u1"]
    for shard, words in enumerate(WORDS):
        held.take(shard, b"s%d" % shard, summarise(5, {"text": words, "_present": ()}, {}, 100))
    return skipper


async def skipped(
    skipper: Skipper, query: str, profile: str = "bm25", options: SearchOptions | None = None
) -> set[int]:
    """The shards that are skipped."""
    admitted = Admitted(profile, (), None, options)  # type: ignore[arg-type]  # as above
    excluded = skipper.excluded(SearchQuery("things", query), COLLECTION, admitted, now=0.0)
    return set() if excluded is None else set(await skipper.confirmed(excluded, 0.3))


@pytest.mark.parametrize(
    ("query", "expected"),
    [("red", {2}), ("lamp", {1, 2}), ("+red +lamp", {1, 2}), ("red blue", set()), ("x", {0, 1, 2})],
)
async def test_shards_without_a_match_are_skipped(query: str, expected: set[int]) -> None:
    """By the words that each has; and Redis is asked only if any seems to have no match."""
    stamps = Stamps()
    assert await skipped(skipper_of(stamps), query) == expected
    assert stamps.num_read == bool(expected)


async def test_a_shard_that_was_written_to_is_asked() -> None:
    """Its stamp is gone, or another; from then on, its summary says nothing."""
    stamps = Stamps()
    skipper = skipper_of(stamps)
    stamps.now[1] = None
    stamps.now[2] = b"another"
    assert await skipped(skipper, "x") == {0}
    stamps.now[1] = b"s1"  # even if it were valid again
    assert await skipped(skipper, "x") == {0}


def test_without_an_answer_of_redis_every_shard_is_asked() -> None:
    """After a part of the deadline at most."""

    async def scenario() -> None:
        stamps = Stamps()
        skipper = skipper_of(stamps)
        stamps.is_away = True
        assert await skipped(skipper, "x") == set()
        stamps.is_away, stamps.is_silent = False, True
        assert await skipped(skipper, "x") == set()
        assert asyncio.get_running_loop().time() <= 0.03

    run_virtually(scenario())


async def test_what_is_not_understood_is_asked_everywhere() -> None:
    """Workers that do not retract, profiles without an index, canaries, long queries, options."""
    stamps = Stamps()
    skipper = skipper_of(stamps)
    assert await skipped(skipper_of(stamps, retracts=False), "x") == set()
    assert await skipped(skipper, "x", "noop") == set()
    assert await skipped(skipper, "x", "careful") == set()
    assert await skipped(skipper, "x " * LONGEST) == set()
    assert await skipped(skipper, "x", options=SearchOptions(group_by="text")) == {0, 1, 2}
    assert await skipped(skipper, "rid", options=SearchOptions(typos=2)) == {0, 1, 2}
    assert await skipped(skipper, "lemps", options=SearchOptions(typos=2)) == set()
    skipper.forget_all()
    assert await skipped(skipper, "x") == set()


async def test_a_choice_skips_the_shards_without_it_unless_a_facet_leaves_it_out() -> None:
    """A shard without a hit may have documents that the facet of the same field counts."""
    skipper = skipper_of(Stamps())
    lamp = Choice("text", ("lamp",))
    facet = WantedFacet("text", FacetKind.TERMS, 10)
    other = WantedFacet("other", FacetKind.TERMS, 10)
    assert await skipped(skipper, "red", options=SearchOptions(refine=(lamp,))) == {1, 2}
    counted = SearchOptions((other,), refine=(lamp,))
    assert await skipped(skipper, "red", options=counted) == {1, 2}
    counted = SearchOptions((other, facet), refine=(lamp,))
    assert await skipped(skipper, "red", options=counted) == {2}
    neither = Choice("text", ("red", "lamp"))
    assert await skipped(skipper, "*", options=SearchOptions(refine=(neither,))) == {2}
    many = Choice("text", tuple(f"w{number}" for number in range(MOST_CHOICES + 1)))
    assert await skipped(skipper, "red", options=SearchOptions(refine=(many,))) == set()


async def test_the_hits_are_exact_by_all_choices() -> None:
    """Of the missing shards, only documents with what was chosen could be among the hits."""
    skipper = skipper_of(Stamps())
    facet = WantedFacet("text", FacetKind.TERMS, 10)
    options = SearchOptions((facet,), refine=(Choice("text", ("lamp",)),))
    admitted = Admitted("bm25", (), None, options)  # type: ignore[arg-type]  # its cost does not matter
    query = SearchQuery("things", "red")
    assert await skipper.exactness(query, COLLECTION, admitted, [1], []) is not None
    assert await skipper.exactness(query, COLLECTION, admitted, [0], []) is None


async def test_the_memory_of_queries_is_bounded() -> None:
    """However many different ones are asked."""
    skipper = skipper_of(Stamps())
    for number in range(MOST_REMEMBERED + 10):
        await skipped(skipper, f"x{number}")
    assert len(skipper.collections["u1"]._known) <= MOST_REMEMBERED


def test_a_skipped_shard_counts_as_searched() -> None:
    """Whether its worker is alive or not; all others are asked."""

    async def scenario() -> None:
        transport = ScriptedTransport({0: Script(hits=(("a", 1.0),)), 1: Script()})
        searcher = searcher_over(transport, [10, 10, 10], skipper=skipper_of(Stamps()))
        searcher._view.live[2] = False  # type: ignore[index]  # a list
        query = SearchQuery("things", "lamp", rank_profile="bm25", fields=False)
        result = await searcher.search(query, COLLECTION)
        assert [hit.id for hit in result.hits] == ["a"]
        assert result.outcomes[Outcome.OK] == 1
        assert result.outcomes[Outcome.SKIPPED] == 2
        assert (result.coverage.fraction, result.coverage.is_full) == (1.0, True)
        assert (result.coverage.documents, result.coverage.degraded) == (30, {})
        assert (result.total_hits.relation, list(result.skipped)) == ("eq", [1, 2])
        assert result.detail == []
        none = await searcher.search(
            SearchQuery("things", "x", rank_profile="bm25", explain=True), COLLECTION
        )
        assert (none.hits, none.coverage.is_full) == ([], True)
        assert [part.outcome for part in none.detail] == [Outcome.SKIPPED] * 3
        assert [shards for _, shards in transport.scattered] == [(0,)]

    run_virtually(scenario())


def test_a_shard_that_is_asked_and_fails_is_still_missing() -> None:
    """Skipped shards do not hide it, and it is the only one in the detail."""

    async def scenario() -> None:
        transport = ScriptedTransport({0: Script(kind="failed")})
        searcher = searcher_over(transport, [10, 10, 20], skipper=skipper_of(Stamps()))
        query = SearchQuery("things", "lamp", rank_profile="bm25", fields=False)
        result = await searcher.search(query, COLLECTION)
        assert (result.coverage.fraction, result.coverage.is_full) == (0.75, False)
        assert result.coverage.degraded == {"failed": 1}
        assert [part.shard for part in result.detail] == [0]
        with pytest.raises(InsufficientCoverageError):
            await searcher.search(
                SearchQuery(
                    "things", "lamp", rank_profile="bm25", fields=False, minimum_coverage=0.8
                ),
                COLLECTION,
            )

    run_virtually(scenario())


WORDS_OF_100 = unpack_frequencies(pack_frequencies(100, {"text": {"red": 50, "lamp": 50}}))
MOST_OF_RED = 2.3 * math.log(2)


@pytest.mark.parametrize(
    ("last", "k", "profile", "ranked_by", "version", "bound"),
    [
        (1.7, 1, "bm25", b"v1", b"v1", MOST_OF_RED),
        (1.5, 1, "bm25", b"v1", b"v1", None),  # a document of the shard may score more
        (1.7, 2, "bm25", b"v1", b"v1", None),  # there is room for another hit
        (1.7, 1, "ranked", b"v1", b"v1", None),  # a user's function ranks
        (1.7, 1, "bm25", b"v0", b"v1", None),  # a worker ranks by other statistics
        (1.7, 1, "bm25", b"v1", b"v2", None),  # or may do so since its last heartbeat
    ],
)
def test_hits_are_exact_if_no_missing_document_scores_as_much(
    last: float, k: int, profile: str, ranked_by: bytes, version: bytes, bound: float | None
) -> None:
    """Of the two words, the missing shard has one; the order is that by score."""

    async def scenario() -> None:
        stamps = Stamps()
        stamps.version = version
        skipper = skipper_of(stamps, ranked_by=ranked_by)
        skipper.collections["u1"].rank_by(RankedBy(b"v1", WORDS_OF_100))
        scripts = {0: Script(hits=(("a", last),)), 1: Script(kind="failed")}
        searcher = searcher_over(ScriptedTransport(scripts), [10, 10, 10], skipper=skipper)
        query = SearchQuery("things", "red lamp", k=k, rank_profile=profile, fields=False)
        coverage = (await searcher.search(query, COLLECTION)).coverage
        assert not coverage.is_full
        if bound is None:
            assert coverage.exact is UNSET
        else:
            assert coverage.exact is True
            assert isinstance(coverage.bound, float)
            assert bound < coverage.bound < min(last, bound * 1.0002)

    run_virtually(scenario())
