"""Shards are asked for a few more hits than their share, and again where they may have more."""

import asyncio
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.common.errors import InsufficientCoverageError
from hedgerow.common.outcome import Outcome
from hedgerow.common.settings.rank_profiles import RankProfile
from hedgerow.common.wire.messages import SearchBody
from hedgerow.gateway.search.result import Hit, SearchQuery, SearchResult
from hedgerow.gateway.search.top_up import may_have_more, num_asked
from tests.support.virtual_time import run_virtually
from tests.unit.support.scripted import Script, ScriptedTransport
from tests.unit.support.searchers import COLLECTION, searcher_over

BM25 = RankProfile()
DEADLINE_MS = 300

Hits = tuple[tuple[str, float], ...]


def search(
    transport: ScriptedTransport,
    num_shards: int,
    k: int,
    profile: str = "bm25",
    text: str = "x",
) -> SearchResult:
    """What the gateway answers."""

    async def ask() -> SearchResult:
        query = SearchQuery(
            collection=COLLECTION.name,
            query=text,
            k=k,
            deadline_ms=DEADLINE_MS,
            fields=False,
            rank_profile=profile,
            explain=True,
        )
        try:
            searcher = searcher_over(transport, [1_000_000] * num_shards)
            return await searcher.search(query, COLLECTION)
        except InsufficientCoverageError as error:
            refused: SearchResult = error.result
            return refused

    return run_virtually(ask())


def spread(scores: Sequence[tuple[int, float]], num_shards: int) -> Mapping[int, Hits]:
    """Shard → its hits in order, of (shard, score) pairs that are documents d0, d1, …."""
    parts: dict[int, list[tuple[str, float]]] = {shard: [] for shard in range(num_shards)}
    for number, (shard, score) in enumerate(scores):
        parts[shard].append((f"d{number}", score))
    return {
        shard: tuple(sorted(hits, key=lambda hit: (-hit[1], hit[0])))
        for shard, hits in parts.items()
    }


def scripts_of(parts: Mapping[int, Hits], **changes: object) -> dict[int, Script]:
    """Shards that have these hits."""
    return {shard: Script(hits=hits, **changes) for shard, hits in parts.items()}  # type: ignore[arg-type]


@given(
    st.lists(st.tuples(st.sampled_from([0, 3, 5]), st.sampled_from([1.0, 2.0, 3.0])), max_size=60),
    st.integers(1, 20),
)
def test_the_answer_is_that_of_all_hits(scores: list[tuple[int, float]], k: int) -> None:
    """However the winners are spread, and whatever ties, none is missing."""
    parts = spread(scores, 8)
    result = search(ScriptedTransport(scripts_of(parts)), 8, k)
    every = sorted((-score, one) for hits in parts.values() for one, score in hits)
    assert [(-hit.score, hit.id) for hit in result.hits] == every[:k]
    assert result.coverage.is_full


def test_an_even_spread_is_asked_for_once() -> None:
    """Eight shards with an eighth of the winners each are asked for fewer hits than are wanted."""
    parts = spread([(number % 8, 100.0 - number) for number in range(80)], 8)
    transport = ScriptedTransport(scripts_of(parts))
    search(transport, 8, 10)
    assert transport.asked == [num_asked(10, 8, 8, BM25)]
    assert transport.asked[0] < 10


def test_who_may_have_more_is_asked_again_alone() -> None:
    """A shard that has all winners is asked for all of them, ahead of what waits."""
    parts = spread([(3, 100.0 - number) for number in range(20)] + [(5, 1.0)], 8)
    transport = ScriptedTransport(scripts_of(parts))
    search(transport, 8, 10)
    assert [shards for _, shards in transport.scattered] == [tuple(range(8)), (3,)]
    assert transport.asked[1] == 10
    assert transport.ahead == {2}


@pytest.mark.parametrize(("is_exact", "shards"), [(True, ()), (False, (3,))])
def test_a_total_that_is_a_lower_bound_hides_no_hits(
    is_exact: bool, shards: tuple[int, ...]
) -> None:
    """A shard that sent as many hits as its total is asked again unless that total is exact."""
    ids, scores = ["a", "b", "c"], [3.0, 2.0, 1.0]
    body = SearchBody(documents=100, total=3, is_exact=is_exact, ids=ids, scores=scores)
    hits = [Hit(document_id, score, 3) for document_id, score in zip(ids, scores, strict=True)]
    assert may_have_more(hits, [(3, body)], asked=3, k=10) == shards


def test_without_its_other_hits_a_shard_is_not_covered() -> None:
    """A shard that does not answer the second question in time has timed out."""
    parts = spread([(3, 100.0 - number) for number in range(20)] + [(5, 1.0)], 8)
    transport = ScriptedTransport(scripts_of(parts, silent_for=frozenset({10})))
    result = search(transport, 8, 10)
    assert [hit.id for hit in result.hits] == ["d20"]
    assert result.outcomes[Outcome.TIMED_OUT] == 1
    assert not result.coverage.is_full
    assert result.detail[3].outcome is Outcome.TIMED_OUT


def test_a_caller_that_leaves_while_a_shard_is_asked_again_has_it_cancelled() -> None:
    """What runs for the second question is stopped, and nothing of it is remembered."""
    parts = spread([(3, 100.0 - number) for number in range(20)], 8)
    transport = ScriptedTransport(scripts_of(parts, silent_for=frozenset({10})))

    async def leave() -> None:
        query = SearchQuery(
            collection=COLLECTION.name,
            query="x",
            k=10,
            deadline_ms=DEADLINE_MS,
            fields=False,
            rank_profile="bm25",
        )
        asking = asyncio.create_task(searcher_over(transport, [10] * 8).search(query, COLLECTION))
        await asyncio.sleep(DEADLINE_MS / 2000)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)

    run_virtually(leave())
    assert [(query_id, shards) for query_id, shards, _ in transport.cancelled] == [(2, (3,))]
    assert transport.num_remembered == 0


@pytest.mark.parametrize("profile", ["noop", "ranked"])
def test_some_profiles_are_asked_for_all(profile: str) -> None:
    """Ranking twice would cost more than extra hits, and those of noop cost nothing."""
    transport = ScriptedTransport(scripts_of(spread([(0, 1.0)], 8)))
    search(transport, 8, 10, profile)
    assert transport.asked == [10]


def test_a_heavy_query_is_asked_for_all() -> None:
    """One that a scorer takes long for is not run twice for the sake of a few hits."""
    transport = ScriptedTransport(scripts_of(spread([(0, 1.0)], 8)))
    search(transport, 8, 10, text="xylophone~2")
    assert transport.asked == [10]


@pytest.mark.parametrize(
    ("num_shards", "num_open", "is_less"),
    [(1, 1, False), (8, 8, True), (8, 6, True), (8, 5, False), (8, 0, False)],
)
def test_few_shards_are_asked_for_all(num_shards: int, num_open: int, is_less: bool) -> None:
    """Where many shards are missing, those that are left have more of the winners each."""
    assert (num_asked(100, num_shards, num_open, BM25) < 100) == is_less
